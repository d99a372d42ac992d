"""One variant of a bundle held against its checkpoint: loads both sides, one after the other, and gives the verdict.

Neither side copies the weights: both map the file that was just written, and torch compares it with the checkpoint.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Protocol

import onnx_ir as ir

from ...engines import Engine
from ...engines.onnxruntime import load
from ...runtime.bundle.manifest import ParityRow
from ...runtime.console.lines import Progress
from ...runtime.decode.contract import DecodeContract
from ...runtime.heap import release
from ..checkpoint.sources import Sourced, TensorReader
from ..export_plan import Job
from ..graphs.shapes import Network
from ..precision import PRECISIONS, Precision
from ..write.graph_models import Builder
from ..write.weight_file import TorchWeightFile, graph_name
from .check import Check, Recorded, count, record, verdicts
from .tolerances import ROUNDING, Rounding
from .torch_engine import TorchEngine, Weights

__all__ = ["Spoken", "checked_in", "prove"]


class Resolved(Protocol):
    """The contract of decoding, and where it stood."""

    @property
    def contract(self) -> DecodeContract:
        """The contract."""


class Spoken(Protocol):
    """The plan of an export of graphs that decode words."""

    @property
    def job(self) -> Job:
        """The request."""

    @property
    def checkpoint(self) -> TensorReader:
        """The tensors."""

    @property
    def family(self) -> Sourced:
        """Parameters and their tensors."""

    @property
    def network(self) -> Network:
        """Shapes."""

    @property
    def resolved(self) -> Resolved:
        """The contract."""

    @property
    def max_context(self) -> int:
        """Rows that a session may hold."""


def checked_in(precision: Precision) -> Precision:
    """The precision whose arithmetic a variant is checked in: no engine for the CPU computes in bf16."""
    return PRECISIONS["fp32"] if precision.name == "bf16" else precision


def prove(plan: Spoken, precision: Precision, weights: TorchWeightFile, builder: Builder) -> tuple[ParityRow, ...]:
    """The parity rows of one written variant."""
    arithmetic = checked_in(precision)
    check = Check(plan.network, plan.resolved.contract, plan.max_context, plan.job.decode_parity)
    rounding = ROUNDING[precision.name]
    emulated = arithmetic is not precision
    how = f" ({precision.name} weights in {arithmetic.name})" if emulated else ""
    with Progress(f"parity {precision.name}", 2 * count(check), "checks", plan.job.quiet) as progress:
        recorded = _recorded(plan, precision, weights, check, rounding, progress)
        graphs = _Graphs(weights, precision, builder, emulated, plan)
        try:
            rows = verdicts(check, recorded, graphs, rounding, progress, how)
        finally:
            graphs.close()
    return tuple(rows)


def _recorded(
    plan: Spoken, precision: Precision, written: TorchWeightFile, check: Check, rounding: Rounding, progress: Progress
) -> Recorded:
    """Torch's side; its weights are gone when this returns."""
    weights = Weights(plan.checkpoint, plan.family, precision.dtype, written)

    @cache
    def engine(graph: str) -> Engine:
        return TorchEngine(graph, plan.network, weights)

    @cache
    def disturbed(graph: str) -> Engine:
        return TorchEngine(graph, plan.network, weights, rounding.step)

    recorded = record(check, engine, disturbed, progress)
    weights.clear()
    release(cycles=False)
    return recorded


class _Graphs:
    """The exported side: engines by graph, loaded when asked for, one at a time."""

    def __init__(
        self, weights: TorchWeightFile, precision: Precision, builder: Builder, emulated: bool, plan: Spoken
    ) -> None:
        self._weights, self._precision, self._builder, self._plan = weights, precision, builder, plan
        self._emulated = emulated
        self._loaded: dict[str, Engine] = {}

    def __call__(self, graph: str) -> Engine:
        if graph not in self._loaded:
            self.close()
            path, precision = self._path(graph)
            self._loaded[graph] = load(path, precision=precision.name, frugal=True, fuse=not self._emulated)
            if self._emulated:  # its casts would all come first, were operators fused around them
                path.unlink()
        return self._loaded[graph]

    def close(self) -> None:
        """Drop all engines."""
        self._loaded.clear()
        release(cycles=False)

    def _path(self, graph: str) -> tuple[Path, Precision]:
        staging = self._weights.file.staging
        if not self._emulated:
            return staging.path / graph_name(graph, self._precision), self._precision
        arithmetic = checked_in(self._precision)
        model = self._weights.link_widened(self._builder.build(graph, arithmetic), self._plan.family.aliases)
        path = staging.path / f"check.{graph_name(graph, self._precision)}"
        ir.save(model, path)
        return path, arithmetic
