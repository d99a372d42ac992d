"""The engine that runs a bundle on this machine: a table, best first, and what may be asked instead.

Reads records and asks the machine; loads no graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ...engines import ENGINES
from ...engines.cpu import slow
from ...engines.errors import A2DError, EngineError, RequestError
from ...engines.targets import GPUS
from ...engines.tensorrt.libraries import LIBRARIES, version
from ..bundle.files import Bundle
from .engine_set import EngineSet, engine_sets, find
from .precisions import PREFERENCE

__all__ = ["BUILDS", "CHOICES", "Placement", "buildable", "is_news", "on", "placed", "rows", "slow_here", "sm_of"]

CHOICES = (("tensorrt_rtx", "cuda"), ("tensorrt", "cuda"), ("onnxruntime", "cuda"), ("onnxruntime", "cpu"))
"""Engine and device, best first. The first that this machine has, and that has what it needs, is taken."""

BUILDS = {
    "never": "engines are used as they were built",
    "auto": "engines that are missing, or do not fit, are built first",
}


@dataclass(frozen=True)
class Placement:
    """Engine, device and precision of a bundle. In a request, empty texts leave the choice to the machine."""

    engine: str = ""
    device: str = ""
    precision: str = ""
    engines: Path | None = None
    """Folder of built sets; None is `engines` in the bundle."""
    build: str = "never"
    """A name of `BUILDS`."""
    threads: int | None = None
    """Threads of one operator on a CPU; None is all physical cores."""
    spinning: bool = False
    """Idle threads spin instead of sleeping."""
    variant: str = ""
    """The bundle's variant, once it is chosen."""
    built: EngineSet | None = None
    """Engines that were built of the variant; None where the engine reads the bundle's graphs."""
    passed_over: tuple[str, ...] = ()
    """Reasons why better engines were not taken, although they had been built."""


def rows(asked: Placement) -> list[tuple[str, str]]:
    """Rows of the table that fit what is asked, best first. Raises RequestError if there is none."""
    _check(asked)
    fit = [row for row in CHOICES if asked.engine in ("", row[0]) and _is_on(row[1], asked.device)]
    if not fit:
        table = ", ".join(f"{engine} on {device}" for engine, device in CHOICES)
        raise RequestError(
            f"engine {asked.engine or None!r} does not run on device {asked.device or None!r}; what runs is {table}"
        )
    return fit


def placed(bundle: Bundle, row: tuple[str, str], asked: Placement) -> Placement:
    """The bundle on one row of the table. Raises EngineError if this machine does not have what the row needs."""
    engine, kind = row
    device = asked.device or kind
    if engine in LIBRARIES:
        built = _built(bundle, engine, device, asked)
        return on(row, asked, built)
    if kind == "cuda":
        sm_of(device)
    held = bundle.manifest.variants
    precision = asked.precision or next((p for p in PREFERENCE[kind] if p in held), next(iter(held)))
    return replace(asked, engine=engine, device=device, precision=precision, variant=precision)


def on(row: tuple[str, str], asked: Placement, built: EngineSet) -> Placement:
    """The placement of engines that were built, on a row of the table."""
    engine, device = row
    record = built.record
    found = replace(asked, engine=engine, device=asked.device or device, built=built)
    return replace(found, precision=record.precision, variant=record.variant)


def buildable(row: tuple[str, str], asked: Placement) -> bool:
    """Engines that are missing may be built for this row: asked for, the GPU and the library are here."""
    engine, device = row
    try:
        return asked.build == "auto" and engine in LIBRARIES and bool(sm_of(asked.device or device) and version(engine))
    except EngineError:
        return False


def is_news(bundle: Bundle, row: tuple[str, str], asked: Placement) -> bool:
    """True where passing this row over is worth a word: GPU and library are here, and engines have been built.

    A bundle with engines in it also goes to machines that have neither, and there is nothing to say of that.
    """
    engine, device = row
    try:
        sm_of(asked.device or device)
        here = engine in LIBRARIES and version(engine) is not None
        folder = asked.engines or bundle.path / "engines"
        return here and any(built.record.library == engine for built in engine_sets(folder))
    except EngineError:
        return False
    except A2DError:
        return True  # a record that cannot be read


def slow_here(chosen: Placement) -> str | None:
    """A sentence where the placement's precision is slower than fp32 on this machine's processor."""
    return slow(chosen.precision) if (chosen.engine, chosen.device) == ("onnxruntime", "cpu") else None


def _built(bundle: Bundle, engine: str, device: str, asked: Placement) -> EngineSet:
    """Engines that fit. Raises EngineError where none do, BundleError for a record that cannot be read."""
    sm = sm_of(device)
    here = {engine: version(engine)}
    if here[engine] is None:
        raise EngineError(f"{LIBRARIES[engine].title} is not installed here. {LIBRARIES[engine].install}")
    order = GPUS[sm].precisions if sm in GPUS else ()
    return find(bundle, engine, here, sm, precision=asked.precision or None, folder=asked.engines, order=order)


def sm_of(device: str) -> int:
    """The compute capability of a GPU. Raises EngineError where there is none."""
    from ...engines.cuda import device as gpu  # noqa: PLC0415 - a machine without CUDA has no use for it

    return gpu(device).sm


def _is_on(device: str, wanted: str | None) -> bool:
    return not wanted or wanted.partition(":")[0] == device


def _check(asked: Placement) -> None:
    names = {name: getattr(asked, name) for name in ("engine", "device", "precision")}
    lines = [f"{name}: got {got!r}, expected a name" for name, got in names.items() if not isinstance(got, str)]
    if lines:
        raise RequestError("\n".join(lines))
    if asked.engine and asked.engine not in ENGINES:
        lines.append(f"engine: got {asked.engine!r}, expected one of {', '.join(ENGINES)}")
    if asked.device and asked.device.partition(":")[0] not in PREFERENCE:
        lines.append(f"device: got {asked.device!r}, expected one of cpu, cuda, cuda:N")
    if asked.engines is not None and asked.build == "never" and not asked.engines.is_dir():
        lines.append(f"engines: {asked.engines} is not a folder, expected one that `a2d build` wrote; leave it out")
    if asked.build not in BUILDS:
        lines.append(f"build: got {asked.build!r}, expected one of {', '.join(BUILDS)}")
    if lines:
        raise RequestError("\n".join(lines))
