"""One build from beginning to end: a bundle and a target in, sets of engines out.

Chooses what is built of which variant for which GPUs; how a graph becomes an engine, the library's room knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ...engines.cuda import device
from ...engines.errors import BundleError, EngineError, RequestError
from ...engines.targets import GPUS, TARGETS, Target, legal, require
from ...engines.tensorrt.libraries import LIBRARIES, imported, version
from ..bundle.files import Bundle, sha256_of
from ..bundle.manifest import FileRecord, Variant
from ..bundle.staging import Staging, check_space
from ..console.lines import Progress, size
from .engine_set import RECORD, SCHEMA, EngineSet, EngineSetRecord, Platform
from .film_profiles import FilmSizes, film_profiles, film_sizes
from .memory_fit import Question, planned
from .precisions import EXACT, NARROW, SOURCES
from .profiles import Sizes, profiles, sizes
from .towers_profiles import TowersSizes, towers_profiles, towers_sizes

if TYPE_CHECKING:
    from ...engines.size_profile import Profile
    from ...engines.tensorrt.sidecar import Card

__all__ = ["BuildJob", "BuildSpec", "build", "build_here", "key_of", "source_of"]

AnySizes: TypeAlias = "Sizes | FilmSizes | TowersSizes"

COPIES = 2
"""Copies of the weights on disk while engines are built: TensorRT's copy of a graph, and the engine."""


@dataclass(frozen=True)
class BuildJob:
    """A request to build: a bundle, a target, and what to build for it."""

    bundle: Path
    target: str
    sms: tuple[int, ...] = ()
    """Empty: the target's own, or the GPU that is here."""
    precision: str = "auto"
    output: Path | None = None
    """Folder of sets; None is `engines` in the bundle."""
    context: int | None = None
    block_size: int | None = None
    size: tuple[int, int] | None = None
    """Height and width in pixels of the clips, for a bundle that films; None is the contract's."""
    force: bool = False
    """Build although a set that fits is there."""
    quiet: bool = False


@dataclass(frozen=True)
class BuildSpec:
    """Engines of one precision for some GPUs, to be built of one variant."""

    target: Target
    precision: str
    sms: tuple[int, ...]
    variant: str
    half: bool
    """Products become float16 on the way."""


def build(job: BuildJob, say: Callable[[str], None] = lambda _: None) -> Iterator[tuple[EngineSet, dict[str, Card]]]:
    """Build what was asked, a set at a time, with the card of each graph's engine.

    Raises RequestError (names, illegal pairs), BundleError (files, disk), EngineError (the library's own reason).
    Nothing half built is left. A set that is there and fits is taken as it is.
    """
    bundle = Bundle.open(job.bundle)
    wanted = [*_sets(job, bundle)]
    imported(wanted[0].target.library)
    held = _sizes(job, bundle)
    folder = bundle.path / "engines" if job.output is None else job.output
    for one in wanted:
        bundle.check([*bundle.variant(one.variant).graphs.values(), bundle.variant(one.variant).weights])
    yield from (_build_set(job, one, bundle, held, folder, say) for one in wanted)


def _sizes(job: BuildJob, bundle: Bundle) -> AnySizes:
    """Sizes that engines are built for. Raises RequestError for a size where there are no pictures to make."""
    if bundle.manifest.film is not None:
        if bundle.manifest.film.towers is not None:
            return towers_sizes(bundle.manifest, job.context, job.block_size, *(job.size or (None, None)))
        return film_sizes(bundle.manifest.film, *(job.size or (None, None)))
    if job.size is not None:
        raise RequestError(f"size: got {job.size[0]}x{job.size[1]}, and this bundle does not film; leave it out")
    return sizes(bundle.manifest, job.context, job.block_size)


def build_here(bundle: Path, library: str, sm: int, precision: str, folder: Path | None) -> EngineSet:
    """Build one set for the GPU of this machine, without a word. `precision` empty is the best for it."""
    target = next(t.name for t in TARGETS.values() if t.library == library and sm in t.sms)
    sms = (sm,) if LIBRARIES[library].ahead else ()
    ((built, _),) = build(BuildJob(bundle, target, sms, precision or "auto", folder, quiet=True))
    return built


def key_of(wanted: BuildSpec) -> str:
    """The name of a set's folder."""
    gpus = "+".join(f"sm{sm}" for sm in wanted.sms)
    return f"{wanted.target.library}-{imported(wanted.target.library).__version__}-{gpus}-{wanted.precision}"


# -- what to build


def _sets(job: BuildJob, bundle: Bundle) -> Iterator[BuildSpec]:
    """One set, or with `auto` one for each precision that is best for some of the GPUs."""
    if job.precision != "auto":
        require(job.target, job.precision, job.sms)
    target = require(job.target, job.precision if job.precision != "auto" else "fp16", job.sms)
    if not target.sms:
        raise RequestError(f"target {job.target}: {target.what} reads the bundle as it is; there is nothing to build")
    sms = job.sms or target.default_sms or _here(target)
    if not target.ahead and sms != (own := _here(target)):
        raise RequestError(
            f"sm: got {', '.join(map(str, sms))}; {LIBRARIES[target.library].title} builds for the GPU that is here, "
            f"sm{own[0]}. Leave the setting sm out, and build on each machine"
        )
    held = bundle.manifest.variants
    if job.precision != "auto":
        require(job.target, job.precision, sms)
        yield _set(target, job.precision, sms, bundle)
        return
    able = [precision for precision, sources in SOURCES.items() if any(name in held for name in sources)]
    by_precision: dict[str, list[int]] = defaultdict(list)
    for sm in sms:
        best = legal(target, sm, able)
        if best is None:
            runs = ", ".join(GPUS[sm].precisions)
            raise RequestError(f"sm{sm} ({GPUS[sm].what}) runs {runs}; {_lacking(bundle, GPUS[sm].precisions[0])}")
        by_precision[best].append(sm)
    yield from (_set(target, precision, tuple(gpus), bundle) for precision, gpus in by_precision.items())


def _set(target: Target, precision: str, sms: tuple[int, ...], bundle: Bundle) -> BuildSpec:
    return BuildSpec(target, precision, sms, *source_of(bundle, precision))


def source_of(bundle: Bundle, precision: str) -> tuple[str, bool]:
    """The variant that engines of `precision` are built of, and whether its products become float16 on the way.

    Raises RequestError for a precision that engines are not built in, BundleError if the bundle lacks its variants.
    """
    if precision not in SOURCES:
        raise RequestError(f"precision: got {precision!r}, engines are built in auto, {', '.join(SOURCES)}")
    name = next((name for name in SOURCES[precision] if name in bundle.manifest.variants), None)
    if name is None:
        raise BundleError(_lacking(bundle, precision))
    return name, precision != "fp32" and bundle.variant(name).kv_dtype == "float32"


def _lacking(bundle: Bundle, precision: str) -> str:
    held = ", ".join(bundle.manifest.variants)
    make = "a2d calibrate" if precision in ("int8", "fp8") else "a2d-export"
    source = f"{bundle.path}" if precision in ("int8", "fp8") else "CHECKPOINT"
    return f"{bundle.path} holds {held}, from which {precision} is not built: {make} {source} [precision={precision}]"


def _here(target: Target) -> tuple[int, ...]:
    """The GPU of this machine. Raises EngineError if there is none, RequestError if it is not one of the target's."""
    try:
        sm = device().sm
    except EngineError as error:
        raise EngineError(
            f"{target.what}: it builds for the GPU that is in the machine, and none can be used here: {error}"
        ) from error
    require(target.name, "fp16", [sm])
    return (sm,)


# -- building it


def _build_set(
    job: BuildJob, wanted: BuildSpec, bundle: Bundle, held: AnySizes, folder: Path, say: Callable[[str], None]
) -> tuple[EngineSet, dict[str, Card]]:
    """Build one set, or find it built; another process that builds the same is waited for."""
    from filelock import FileLock, Timeout  # noqa: PLC0415 - whoever only runs engines has no need of it

    place = folder / key_of(wanted)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{place.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{place.name}: another process is building it; waiting")
        lock.acquire()
    with lock:
        there = None if job.force else _there(place, wanted, bundle, held)
        if there is None:
            say(f"{place.name}: {_memory(job, wanted, bundle)}")
            there = _build_new(job, wanted, bundle, held, place)
        else:
            say(f"{place} is there and fits; the setting force builds it again")
    lock.release(force=True)
    return there, _cards(there)


def _there(place: Path, wanted: BuildSpec, bundle: Bundle, held: AnySizes) -> EngineSet | None:
    """The set that stands in `place`, if it is what is wanted and whole."""
    try:
        built = EngineSet.open(place)
        built.check()
    except BundleError:
        return None
    library = wanted.target.library
    cards, profiles = _cards(built), _profiles(bundle, held)
    same = (built.record.context, built.record.block_size) == (held.context, held.block)
    same = same and all(card.profiles == profiles[graph] for graph, card in cards.items())
    return built if same and not built.faults(bundle, {library: version(library)}, Platform.here(), None) else None


def _build_new(job: BuildJob, wanted: BuildSpec, bundle: Bundle, held: AnySizes, place: Path) -> EngineSet:
    variant = bundle.variant(wanted.variant)
    check_space(place, COPIES * variant.weights_bytes)
    with Staging(place, force=True, last=RECORD, kind="set of engines") as staging:
        try:
            for graph in variant.graphs:
                _build_graph(job, wanted, bundle, held, graph, staging)
        except EngineError as error:
            raise EngineError(f"{error}{_kept_log(staging.path, place)}") from error
        record = _record(wanted, bundle, variant, held, staging.path)
        staging.publish(record.dumps())
    return EngineSet(place, record)


def _memory(job: BuildJob, wanted: BuildSpec, bundle: Bundle) -> str:
    """Memory that it will take to run, in words, before it is built."""
    if bundle.manifest.film is not None:
        return "a2d plan has the memory that it takes"
    question = Question(bundle, wanted.target, (1,), sampling=True)
    e = planned(question, precision=wanted.precision, context=job.context, block=job.block_size).estimate
    weights, rest = sum(e.weights.values()), sum(e.activations.values()) + e.workspace
    parts = f"weights {size(weights)}, cache {size(e.cache)}, at most {size(rest)} for activations"
    return f"will take about {size(e.total)} to run ({parts}); a2d plan has the parts"


def _build_graph(
    job: BuildJob, wanted: BuildSpec, bundle: Bundle, held: AnySizes, graph: str, staging: Staging
) -> None:
    from ...engines.tensorrt.builder import build_engine as builder  # noqa: PLC0415 - needs onnx-ir, which a device has not

    variant = bundle.variant(wanted.variant)
    names = list(variant.graphs)
    what = builder.Build(
        library=wanted.target.library,
        graph=bundle.file(variant.graphs[graph]),
        engine=staging.path / f"{graph}.engine",
        profiles=_profiles(bundle, held)[graph],
        sms=wanted.sms if wanted.target.ahead else (),
        half=wanted.half,
        narrow=NARROW.get(graph, ()) if wanted.half else (),
        exact=EXACT.get(graph, ()) if wanted.half else (),
        timing=None if wanted.target.ahead else _timing_cache(staging.target.parent, wanted),
    )
    title = f"{wanted.precision} {graph} ({names.index(graph) + 1} of {len(names)})"
    with Progress(title, 100, "%", job.quiet) as progress:
        builder.build(what, lambda share: progress.add(max(0.0, 100 * share - progress.done)))


def _profiles(bundle: Bundle, held: AnySizes) -> dict[str, tuple[Profile, ...]]:
    """Optimization profiles by graph."""
    if isinstance(held, FilmSizes):
        assert bundle.manifest.film is not None, "sizes of a film are made from its contract"
        return film_profiles(bundle.manifest.film, held)
    if isinstance(held, TowersSizes):
        return towers_profiles(bundle.manifest, held)
    return profiles(bundle.manifest, held)


def _timing_cache(folder: Path, wanted: BuildSpec) -> Path:
    """Path of TensorRT's timings of this GPU's kernels, which all builds beside one another share."""
    return folder / f"timing-{imported('tensorrt').__version__}-sm{wanted.sms[0]}.cache"


def _kept_log(staged: Path, place: Path) -> str:
    """Save the library's log of a failed build beside where the set would be; where it is, for the message."""
    logs = sorted(staged.glob("*.log"))
    if not logs:
        return ""
    kept = place.with_name(f"{place.name}.log")
    kept.write_text("".join(log.read_text(encoding="utf-8") for log in logs), encoding="utf-8")
    return f"\nThe whole log: {kept}"


def _record(wanted: BuildSpec, bundle: Bundle, variant: Variant, held: AnySizes, folder: Path) -> EngineSetRecord:
    made = sorted(p for p in folder.iterdir() if p.suffix in (".engine", ".json"))
    read = [*variant.graphs.values(), variant.weights]
    return EngineSetRecord(
        schema=SCHEMA,
        bundle=bundle.manifest.name,
        library=wanted.target.library,
        version=imported(wanted.target.library).__version__,
        target=wanted.target.name,
        sms=wanted.sms,
        precision=wanted.precision,
        variant=wanted.variant,
        context=held.context,
        block_size=held.block,
        kv_dtype="float16" if wanted.half else variant.kv_dtype,
        machine=Platform.here(),
        driver=_driver(),
        sources={name: bundle.manifest.files[name].sha256 for name in read},
        files={path.name: FileRecord(path.stat().st_size, sha256_of(path)) for path in made},
    )


def _driver() -> str | None:
    try:
        return device().driver()
    except EngineError:
        return None


def _cards(built: EngineSet) -> dict[str, Card]:
    from ...engines.tensorrt.sidecar import Card  # noqa: PLC0415

    return {
        name.removesuffix(".engine"): Card.read(built.path / name)
        for name in built.record.files
        if name.endswith(".engine")
    }


def summary(built: EngineSet, cards: dict[str, Card]) -> Iterator[str]:
    """Lines about a set that was built, for people."""
    yield f"{built.path}"
    for graph, card in cards.items():
        engine = built.record.files[f"{graph}.engine"]
        products = ", ".join(f"{count} {kind}" for kind, count in card.products.items())
        yield f"  {graph:<9} {size(engine.bytes):>9}  {card.seconds:6.1f} s  products: {products or 'none'}"
