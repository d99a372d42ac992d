"""TensorRT's copy of a graph: the passes in order, from one file to another. The bundle is never edited."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from ...errors import EngineError
from .fp16_products import halve_products
from .late_lookup import look_up_late
from .open_attention import open_attention
from .roll_loops import roll

__all__ = ["copy_graph"]

REFUSED = {
    "DynamicQuantizeLinear": "a projection whose input is measured at every step",
    "MatMulNBits": "weights in groups of four bits",
    "GroupQueryAttention": "a contributed operator of ONNX Runtime",
}


def copy_graph(
    source: Path, target: Path, *, half: bool, narrow: Sequence[str] = (), exact: Sequence[str] = ()
) -> None:
    """Write TensorRT's copy of the graph at `source` to `target`, its weights beside it.

    `half`: products in float16 (the graph was written in float32); `narrow`: inputs and outputs that become float16
    too, by the beginning of their names; `exact`: patterns of weights whose products stay in float32. Raises
    EngineError for a graph that TensorRT has no operators for.
    """
    model = ir.load(source)
    _check_operators(model.graph)
    open_attention(model)
    look_up_late(model)
    if half:
        ShapeInferencePass()(model)  # quantized graphs leave types out where ONNX can tell them
        halve_products(model, narrow, exact)
    roll(model)
    RemoveUnusedNodesPass()(model)
    ir.save(model, target, external_data=f"{target.name}.data")


def _check_operators(graph: ir.Graph) -> None:
    found = [f"{node.op_type} ({REFUSED[node.op_type]})" for node in graph if node.op_type in REFUSED]
    if found:
        raise EngineError(
            f"{graph.name}: TensorRT has no {found[0]}. Weight-only precisions are for CPUs; take int8, fp8 or fp16"
        )
