"""Does a clip fit a target: the estimate for one size, length and window against the target's memories."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...engines.targets import require
from ..film.options import FilmOptions, Settled, settled
from .film_memory import FilmEstimate, film_estimate
from .memory_fit import SHARE, SHARE_UNIFIED, MemorySize, Question, best_precision, source_of

__all__ = ["FilmPlan", "film_plan"]


@dataclass(frozen=True)
class FilmPlan:
    """A clip on a target."""

    target: str
    precision: str
    variant: str
    to_be_made: bool
    """The bundle does not hold that precision yet: weights are counted from what it will hold."""
    clip: Settled
    estimate: FilmEstimate
    memories: tuple[MemorySize, ...]
    lower: tuple[str, ...]
    """Changes that make it fit the largest memory that it does not fit, each by itself."""

    @property
    def fits(self) -> bool:
        """In the largest memory that was looked at."""
        return self.memories[-1].fits


def film_plan(
    question: Question, options: FilmOptions, precision: str | None = None, sms: tuple[int, ...] = ()
) -> FilmPlan:
    """The plan of a clip. Raises RequestError, BundleError."""
    chosen = precision or best_precision(question, sms)
    require(question.target.name, chosen, sms)
    made = _plan(question, options, chosen)
    short = [memory.bytes for memory in made.memories if not memory.fits]
    if not short:
        return made
    aim = replace(question, memories=(short[-1],))
    contract = question.bundle.manifest.film
    assert contract is not None, "the estimate has looked"
    down, across = contract.size_multiple
    height, width = made.clip.height // 2 // down * down, made.clip.width // 2 // across * across
    halved = replace(options, height=max(down, height), width=max(across, width))
    least = made.clip.window.sink + contract.block_frames
    narrow = replace(
        options, window=max(least, (made.clip.window.frames or contract.latent_frames(made.clip.frames)) // 2)
    )
    tries = {f"[size={halved.height}x{halved.width}]": halved, f"[window={narrow.window}]": narrow}
    lower = tuple(said for said, other in tries.items() if _plan(aim, other, chosen).fits)
    return replace(
        made, lower=lower or ("neither half the size nor half the window by itself: both, or a smaller model",)
    )


def _plan(question: Question, options: FilmOptions, precision: str) -> FilmPlan:
    bundle, target = question.bundle, question.target
    variant, widths = source_of(bundle, target, precision)
    taken = film_estimate(bundle, variant, options, widths)
    share = SHARE if widths.apart else SHARE_UNIFIED
    fits = tuple(MemorySize(size, int(size * share), taken.peak <= size * share) for size in sorted(question.memories))
    contract = bundle.manifest.film
    assert contract is not None, "the estimate has looked"
    clip = settled(contract, options)
    return FilmPlan(target.name, precision, variant, widths.codes is not None, clip, taken, fits, ())
