"""Does a bundle fit a target, and what to lower where it does not: an estimate against the target's memory.

Reads the bundle's manifest and graphs, and asks nothing of a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...engines.errors import BundleError
from ...engines.targets import GPUS, Target, check_sms, require
from ..bundle.files import Bundle
from ..decode.cache import CHUNK
from .memory_model import CPU, Estimate, Widths, estimate, shapes_of
from .precisions import FLOATS, PREFERENCE, SOURCES
from .profiles import Sizes, sizes

__all__ = [
    "GIB",
    "SHARE",
    "SHARE_UNIFIED",
    "MemoryPlan",
    "MemorySize",
    "Question",
    "best_precision",
    "planned",
    "source_of",
]

SHARE, SHARE_UNIFIED = 0.9, 0.75
"""Parts of a card's memory, and of one that the system shares, that are planned with. Margins, not measurements."""

GIB = 1 << 30


@dataclass(frozen=True)
class MemorySize:
    """One size of memory."""

    bytes: int
    usable_bytes: int
    """Part of it that is planned with, in bytes."""
    fits: bool


@dataclass(frozen=True)
class MemoryPlan:
    """A bundle on a target."""

    target: str
    precision: str
    variant: str
    """The bundle's variant whose files were looked at."""
    to_be_made: bool
    """The bundle does not hold that precision yet: weights are counted from what it will hold."""
    sizes: Sizes
    estimate: Estimate
    memories: tuple[MemorySize, ...]
    """Smallest first."""
    lower: tuple[str, ...]
    """Changes that make it fit the largest memory it does not fit, each by itself; empty where it fits all."""

    @property
    def fits(self) -> bool:
        """In the largest memory that was looked at."""
        return self.memories[-1].fits


@dataclass(frozen=True)
class Question:
    """A plan's givens: bundle, target and memories; precision and sizes come later."""

    bundle: Bundle
    target: Target
    memories: tuple[int, ...]
    """Bytes."""
    sampling: bool = False
    """Count the graph that temperatures need as well."""


def planned(
    question: Question,
    *,
    precision: str | None = None,
    sms: tuple[int, ...] = (),
    context: int | None = None,
    block: int | None = None,
    sessions: int | None = None,
) -> MemoryPlan:
    """The plan of a bundle on a target, against some sizes of memory.

    `precision` None is the best that can be built of the bundle for all of `sms`, by default the target's own.
    Raises RequestError (a precision that the target does not run, sizes that the model does not have), BundleError.
    """
    chosen = precision or best_precision(question, sms)
    require(question.target.name, chosen, sms)
    made = _plan(question, chosen, sizes(question.bundle.manifest, context, block, sessions))
    short = [memory.bytes for memory in made.memories if not memory.fits]
    if not short:
        return made
    lower = _lower(replace(question, memories=(short[-1],)), made)
    return replace(made, lower=tuple(lower) or ("neither a shorter context nor a lighter precision: a smaller model",))


def _plan(question: Question, precision: str, held: Sizes) -> MemoryPlan:
    bundle, target = question.bundle, question.target
    variant, widths = source_of(bundle, target, precision)
    graphs = [name for name in bundle.variant(variant).graphs if name != "sample" or question.sampling]
    taken = estimate(bundle.manifest, shapes_of(bundle.manifest, bundle.variant(variant), graphs), held, widths)
    share = SHARE if widths.apart else SHARE_UNIFIED
    fits = tuple(MemorySize(size, int(size * share), taken.peak <= size * share) for size in sorted(question.memories))
    return MemoryPlan(target.name, precision, variant, widths.codes is not None, held, taken, fits, ())


def best_precision(question: Question, sms: tuple[int, ...]) -> str:
    """The best precision that can be had for every GPU that is meant, or for a CPU."""
    held, target = question.bundle.manifest.variants, question.target
    if not target.sms:
        return next((p for p in PREFERENCE["cpu"] if p in held), next(iter(held)))
    check_sms(target, sms)
    meant = [GPUS[sm].precisions for sm in sms or target.default_sms or target.sms]
    able = [p for p in target.precisions if all(p in precisions for precisions in meant)]
    return next((p for p in able if any(name in held for name in SOURCES.get(p, ()))), able[0])


def source_of(bundle: Bundle, target: Target, precision: str) -> tuple[str, Widths]:
    """The variant whose files tell the size, and how wide its numbers will be."""
    if not target.sms:
        return precision, replace(CPU, cache=bundle.variant(precision).kv_dtype)
    held, sources = bundle.manifest.variants, SOURCES.get(precision, (precision,))
    name = next((name for name in (*sources, *FLOATS) if name in held), None)
    if name is None or (precision == "fp32" and name != "fp32"):
        raise BundleError(
            f"{bundle.path} holds {', '.join(held)}, from which {precision} cannot be planned: expected "
            f"{' or '.join(dict.fromkeys((*sources, *FLOATS)))}; export the checkpoint again to {bundle.path}"
        )
    codes = None if name in sources else 1
    floats, computed, cache = (4, 4, "float32") if precision == "fp32" else (2, 2, "float16")
    whole = Widths(floats=floats, codes=codes, computed=computed, cache=cache, mapped=False, apart=True, logits=12)
    return name, replace(whole, apart=not target.unified)


def _lower(question: Question, plan: MemoryPlan) -> Iterator[str]:
    """Changes that make it fit, each by itself: a shorter context, a lighter precision."""
    context = plan.sizes.context // 2
    while context >= CHUNK:
        rows = -(-context // CHUNK) * CHUNK
        if _plan(question, plan.precision, replace(plan.sizes, context=rows)).fits:
            yield f"[context={rows}]"
            break
        context //= 2
    fewer = (count for count in range(plan.sizes.sessions - 1, 0, -1))
    fits = (count for count in fewer if _plan(question, plan.precision, replace(plan.sizes, sessions=count)).fits)
    if (count := next(fits, None)) is not None:
        yield f"[sessions={count}]"
    target = question.target
    for precision in (*target.precisions, *target.emulated):
        lighter = None if precision == plan.precision else _other(question, precision, plan.sizes)
        if lighter is not None and lighter.fits:
            calibrate = f", after a2d calibrate {question.bundle.path} [precision={precision}]"
            yield f"[precision={precision}]{calibrate if lighter.to_be_made else ''}"


def _other(question: Question, precision: str, held: Sizes) -> MemoryPlan | None:
    """The plan in another precision, if the bundle can tell."""
    try:
        return _plan(question, precision, held)
    except BundleError:
        return None
