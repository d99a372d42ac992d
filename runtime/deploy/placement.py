"""Which engine runs a bundle on this machine: a table, best first, and what may be asked instead.

Reads records and asks the machine; loads no graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...engines import ENGINES
from ...engines.errors import A2DError, EngineError, RequestError
from ...engines.targets import GPUS, TARGETS
from ...engines.tensorrt.libraries import LIBRARIES, version
from ..bundle.files import Bundle
from .engine_set import Built, engine_sets, find

__all__ = ["BUILDS", "CHOICES", "Choice", "Placement", "is_news", "placed", "rows"]

CHOICES = (("tensorrt_rtx", "cuda"), ("tensorrt", "cuda"), ("onnxruntime", "cuda"), ("onnxruntime", "cpu"))
"""Engine and device, best first. The first that this machine has, and that has what it needs, is taken."""

PREFERENCE = {
    "cpu": ("fp32", "fp16", "int8", "int8-weight", "int4-weight", "bf16", "fp8"),
    "cuda": ("fp16", "fp32"),
}
"""Precisions of ONNX Runtime by device, best first: a CPU computes in fp32, and a loss is for its user to choose."""

BUILDS = {
    "never": "engines are used as they were built",
    "auto": "engines that are missing, or do not fit, are built first",
}


@dataclass(frozen=True)
class Choice:
    """What the caller asks for; None leaves it to the table."""

    engine: str | None = None
    device: str | None = None
    precision: str | None = None
    engines: Path | None = None
    """Folder of built sets; None is `engines` in the bundle."""
    build: str = "never"


@dataclass(frozen=True)
class Placement:
    """What runs the graphs, and where."""

    engine: str
    device: str
    precision: str
    variant: str
    """Of the bundle."""
    built: Built | None = None
    """The engines, where the library runs what it has built."""


def rows(choice: Choice) -> list[tuple[str, str]]:
    """Rows of the table that fit what is asked, best first. Raises RequestError if there is none."""
    _check(choice)
    fit = [row for row in CHOICES if choice.engine in (None, row[0]) and _is_on(row[1], choice.device)]
    if not fit:
        table = ", ".join(f"{engine} on {device}" for engine, device in CHOICES)
        raise RequestError(f"engine {choice.engine!r} does not run on device {choice.device!r}; what runs is {table}")
    return fit


def placed(bundle: Bundle, row: tuple[str, str], choice: Choice) -> Placement:
    """The bundle on one row of the table. Raises EngineError if this machine does not have what the row needs."""
    engine, kind = row
    device = choice.device or kind
    if engine in LIBRARIES:
        built = _built(bundle, engine, device, choice)
        return Placement(engine, device, built.record.precision, built.record.variant, built)
    if kind == "cuda":
        _sm(device)
    held = bundle.manifest.variants
    precision = choice.precision or next((p for p in PREFERENCE[kind] if p in held), next(iter(held)))
    return Placement(engine, device, precision, precision)


def is_news(bundle: Bundle, row: tuple[str, str], choice: Choice) -> bool:
    """That this row was not taken is worth a word: the GPU and the library are here, and engines have been built.

    A bundle with engines in it also goes to machines that have neither, and there is nothing to say of that.
    """
    engine, device = row
    try:
        _sm(choice.device or device)
        here = engine in LIBRARIES and version(engine) is not None
        folder = choice.engines or bundle.path / "engines"
        return here and any(built.record.library == engine for built in engine_sets(folder))
    except EngineError:
        return False
    except A2DError:
        return True  # a record that cannot be read


def _built(bundle: Bundle, engine: str, device: str, choice: Choice) -> Built:
    """Engines that fit; with `build="auto"` they are built where there are none."""
    sm = _sm(device)
    here = {engine: version(engine)}
    if here[engine] is None:
        raise EngineError(f"{LIBRARIES[engine].title} is not installed here. {LIBRARIES[engine].install}")
    order = GPUS[sm].precisions if sm in GPUS else ()
    try:
        return find(bundle, engine, here, sm, precision=choice.precision, folder=choice.engines, order=order)
    except A2DError:
        if choice.build != "auto":
            raise
    from .build import Job, build  # noqa: PLC0415 - whoever only runs engines builds none

    target = next(t.name for t in TARGETS.values() if t.library == engine and sm in t.sms)
    sms = (sm,) if LIBRARIES[engine].ahead else ()
    job = Job(bundle.path, target, sms, choice.precision or "auto", choice.engines, quiet=True)
    ((built, _),) = build(job)
    return built


def _sm(device: str) -> int:
    from ...engines.cuda import device as gpu  # noqa: PLC0415 - a machine without CUDA has no use for it

    return gpu(device).sm


def _is_on(device: str, wanted: str | None) -> bool:
    return wanted is None or wanted.partition(":")[0] == device


def _check(choice: Choice) -> None:
    lines = []
    if choice.engine is not None and choice.engine not in ENGINES:
        lines.append(f"engine: got {choice.engine!r}, expected one of {', '.join(ENGINES)}")
    if choice.device is not None and choice.device.partition(":")[0] not in PREFERENCE:
        lines.append(f"device: got {choice.device!r}, expected one of cpu, cuda, cuda:N")
    if choice.build not in BUILDS:
        lines.append(f"build: got {choice.build!r}, expected one of {', '.join(BUILDS)}")
    if lines:
        raise RequestError("\n".join(lines))
