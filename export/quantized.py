"""Exports in quantized precisions as well: the float bundle first, beside its place, then what calibration makes of it.

Calibration is handed in (`__main__`), so that this room and that one do not import each other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeAlias

from ..engines.paths import real_path
from ..runtime.bundle.staging import Staging
from .export_plan import Job
from .job import export
from .precision import PRECISIONS, Precision, precisions

__all__ = ["Quantizer", "Quantizers", "export_all", "split"]

SOURCE = "fp32"


class Quantizer(Protocol):
    """A quantized precision, as whoever can calibrate hands it in."""

    @property
    def what(self) -> str:
        """The precision in a few words."""

    def plan(
        self, output: Path, names: tuple[str, ...], data: Path | None, prompt: str | None, samples: int, quiet: bool
    ) -> Callable[[Path, tuple[str, ...], bool, Callable[[str], None]], None]:
        """Check a request; returns the function that makes `output` of an exported bundle. Raises RequestError."""

    def plan_film(
        self, output: Path, names: tuple[str, ...], data: Path | None, samples: int, quiet: bool
    ) -> Callable[[Path, tuple[str, ...], bool, Callable[[str], None]], None]:
        """The same for a bundle that films."""


Quantizers: TypeAlias = Mapping[str, Quantizer]
"""Quantized precisions by name; empty where nobody can calibrate."""


def split(names: str, quantizers: Quantizers) -> tuple[tuple[Precision, ...], tuple[str, ...]]:
    """`"fp32,int8"` to precisions that are exported, and names that are calibrated. Raises ContractError: the table."""
    offered = {name: quantizer.what for name, quantizer in quantizers.items()}
    floats = precisions(names, offered)
    return floats, tuple(name for name in (part.strip() for part in names.split(",")) if name in offered)


def export_all(
    job: Job,
    quantizers: Quantizers,
    say: Callable[[str], None] = lambda _: None,
    export: Callable[[Job, Callable[[str], None]], object] = export,
    films: bool = False,
) -> None:
    """Write the bundle in all precisions of the job; `export` writes the float ones, and `films` says what it does.

    Raises as `job.export`, and RequestError for what cannot be calibrated. Nothing half written is left; what was
    recorded of the samples is, for the next try.
    """
    if not job.quantized:
        export(job, say)
        return
    first = quantizers[job.quantized[0]]
    if films:
        make = first.plan_film(job.bundle, job.quantized, job.data, job.samples, job.quiet)
    else:
        make = first.plan(job.bundle, job.quantized, job.data, job.prompt, job.samples, job.quiet)
    with Staging(job.bundle, job.force):
        pass  # a place that cannot be written to should say so now
    floats = tuple({p.name: p for p in (PRECISIONS[SOURCE], *job.precisions)}.values())
    bundle = real_path(job.bundle)
    between = bundle.with_name(f".{bundle.name}.{os.getpid()}.float")
    try:
        export(replace(job, bundle=between, precisions=floats, force=True), lambda text: _unless(between, text, say))
        make(between, tuple(p.name for p in job.precisions), job.force, say)
    finally:
        shutil.rmtree(between, ignore_errors=True)


def _unless(between: Path, text: str, say: Callable[[str], None]) -> None:
    """Say `text`, unless it speaks of the bundle between, which nobody will see."""
    if not text.startswith(str(between)):
        say(text)
