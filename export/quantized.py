"""Exports in quantized precisions as well: the float bundle first, beside its place, then what calibration makes of it.

Calibration is found by entry points (`a2d.precisions`), so that this room and that one do not import each other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from ..runtime.bundle.staging import Staging
from .export_plan import Job
from .job import export
from .precision import PRECISIONS, Precision, precisions

__all__ = ["export_all", "split"]

GROUP, SOURCE = "a2d.precisions", "fp32"


def split(names: str) -> tuple[tuple[Precision, ...], tuple[str, ...]]:
    """`"fp32,int8"` to precisions that are exported, and names that are calibrated. Raises ContractError: the table."""
    offered = {name: entry.load().what for name, entry in _offered().items()}
    floats = precisions(names, offered)
    return floats, tuple(name for name in (part.strip() for part in names.split(",")) if name in offered)


def export_all(job: Job, say: Callable[[str], None] = lambda _: None) -> None:
    """Write the bundle in all precisions of the job.

    Raises as `job.export`, and RequestError for what cannot be calibrated. Nothing half written is left; what was
    recorded of the samples is, for the next try.
    """
    if not job.quantized:
        export(job, say)
        return
    plan: Any = _offered()[job.quantized[0]].load().plan
    make = plan(job.bundle, job.quantized, job.data, job.prompt, job.samples, job.quiet)
    with Staging(job.bundle, job.force):
        pass  # a place that cannot be written to should say so now
    floats = tuple({p.name: p for p in (PRECISIONS[SOURCE], *job.precisions)}.values())
    between = job.bundle.resolve().parent / f".{job.bundle.resolve().name}.{os.getpid()}.float"
    try:
        export(replace(job, bundle=between, precisions=floats, force=True), lambda text: _unless(between, text, say))
        make(between, tuple(p.name for p in job.precisions), job.force, say)
    finally:
        shutil.rmtree(between, ignore_errors=True)


def _unless(between: Path, text: str, say: Callable[[str], None]) -> None:
    """What is said of a bundle that nobody will see is not for anybody."""
    if not text.startswith(str(between)):
        say(text)


@cache
def _offered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
