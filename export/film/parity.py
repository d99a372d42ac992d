"""One variant of a bundle that films held against its checkpoint: every graph's cases, in torch and as exported.

Torch comes first, one graph after another, and its outputs are kept; then its weights are dropped and the exported
graphs are loaded, so that the two never share the memory. Knows graphs and cases; no loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ...engines.onnxruntime import load
from ...engines.protocol import Array, Engine
from ...runtime.bundle.manifest import ParityRow
from ...runtime.console.lines import Progress
from ...runtime.heap import release
from ..graphs.kind import Case
from ..graphs.kinds import kinds
from ..parity.tolerances import ROUNDING, allowed, compared, distance
from ..parity.torch_engine import TorchEngine, Weights
from ..parity.variant import checked_in, prove
from ..precision import Precision
from ..write.graph_models import Builder
from ..write.weight_file import TorchWeightFile, graph_name
from .plan import FilmPlan

__all__ = ["prove_film"]

Made = Mapping[str, Array]

WORDS = ("backbone", "denoise", "sample", "vision")
"""Graphs that are checked as those of any checkpoint that decodes words."""

STARTS: dict[str, tuple[str, ...]] = {
    "velocity": ("velocity",), "keys": ("new_key", "cross_key"), "values": ("new_value", "cross_value"),
    "text rows": ("text_rows",), "pixels": ("pixels",), "states": ("new_state",), "latents": ("latents",),
}  # fmt: skip
"""Kinds of outputs, and the beginnings of their names."""


def prove_film(
    plan: FilmPlan, precision: Precision, weights: TorchWeightFile, builder: Builder
) -> tuple[ParityRow, ...]:
    """The parity rows of one written variant."""
    network, rounding = plan.network, ROUNDING[precision.name]
    words = () if plan.words is None else prove(plan.words, precision, weights, builder)
    how = "" if checked_in(precision) is precision else f" ({precision.name} weights in {checked_in(precision).name})"
    cases = {
        graph: [*kind.cases(network, np.zeros((1, 1, 1), np.float32), 1)]
        for graph, kind in kinds(network).items()
        if graph not in WORDS
    }
    rows: list[ParityRow] = []
    with Progress(f"parity {precision.name}", 2 * len(cases), "graphs", plan.job.quiet) as progress:
        reference = {}
        for graph, some in cases.items():
            reference[graph] = _reference(plan, precision, weights, graph, some)
            progress.add()
        for graph, some in cases.items():
            made = _exported(plan, precision, weights, builder, graph, some)
            recorded, spread = reference[graph]
            for kind, pairs in _kinds([*zip(recorded, made, strict=True)]).items():
                rows.append(compared(graph, kind + how, pairs, allowed(rounding, spread.get(kind, 0.0))))
            progress.add()
    return *words, *rows


def _reference(
    plan: FilmPlan, precision: Precision, written: TorchWeightFile, graph: str, cases: Sequence[Case]
) -> tuple[list[Made], dict[str, float]]:
    """Torch's outputs of each case, and by kind how far one rounding after every layer moves them."""
    weights = Weights(plan.checkpoint, plan.family, precision.dtype, written)
    engine = TorchEngine(graph, plan.network, weights)
    spread: dict[str, float] = {}
    made: list[Made] = [_run(engine, case) for case in cases]
    if any(piece.residual for piece in kinds(plan.network)[graph].pieces(plan.network)):
        disturbed = TorchEngine(graph, plan.network, weights, ROUNDING[precision.name].step)
        moved = [_run(disturbed, case) for case in cases]
        spread = {kind: distance(pairs) for kind, pairs in _kinds([*zip(made, moved, strict=True)]).items()}
    weights.clear()
    release(cycles=False)
    return made, spread


def _exported(
    plan: FilmPlan, precision: Precision, weights: TorchWeightFile, builder: Builder, graph: str, cases: Sequence[Case]
) -> list[Made]:
    """Outputs of the written graph; where no engine computes in its precision, of its weights in a wider one."""
    arithmetic, path = checked_in(precision), weights.file.staging.path / graph_name(graph, precision)
    if arithmetic is not precision:
        model = weights.link_widened(builder.build(graph, arithmetic), plan.family.aliases)
        path = weights.file.staging.path / f"check.{path.name}"
        ir.save(model, path)
    try:
        engine = load(path, precision=arithmetic.name, frugal=True, fuse=arithmetic is precision)
        return [_run(engine, case) for case in cases]
    finally:
        _remove_check(path)
        release(cycles=False)


def _remove_check(path: Path) -> None:
    if path.name.startswith("check."):
        path.unlink()


def _run(engine: Engine, case: Case) -> dict[str, Array]:
    """All outputs, as float32; inputs are fitted to the engine's dtypes."""
    fitted = {name: np.asarray(feed, engine.inputs[name].dtype) for name, feed in case.feeds.items()}
    made = {name: value for name, value in engine.run(fitted).items() if isinstance(value, np.ndarray)}
    return {name: value.astype(np.float32) for name, value in made.items()}


def _kinds(pairs: Sequence[tuple[Made, Made]]) -> dict[str, list[tuple[Array, Array]]]:
    """Outputs of both sides by kind: the rows of the table."""
    names = {kind: [name for name in pairs[0][0] if name.startswith(start)] for kind, start in STARTS.items()}
    return {kind: [(a[name], b[name]) for a, b in pairs for name in some] for kind, some in names.items() if some}
