"""Attention without a mask as one operator, ONNX Runtime's MultiHeadAttention: its scores are never held at once.

    MatMul(q, k') [Cast] Mul(scale) Softmax [Cast] MatMul(v)      of q [1,H,R,D] over k, v [1,H,K,D]

as it is traced, would hold H R K scores. The operator takes `[1,R,H D]` in float32 and walks over the keys in parts.
TensorRT's copy of a graph spells it out again, for its compiler fuses the products itself. Knows one piece of a graph;
not which pieces are written so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from ...engines.graph_nodes import GraphNodes, named_after
from .trace import Traced

__all__ = ["DOMAIN", "one_attention"]

DOMAIN = "com.microsoft"
SWAPPED = (0, 2, 1, 3)


def one_attention(piece: Traced, heads: int) -> Traced:
    """The piece with its attention, over `heads` heads of keys, as one operator."""
    graph = piece.graph.clone()
    for softmax in [node for node in graph if node.op_type == "Softmax"]:
        _replace(graph, softmax, heads)
    _drop_unused(graph, [*graph])
    return replace(piece, graph=graph)


def _replace(graph: ir.Graph, softmax: ir.Node, heads: int) -> None:
    scaled = _maker(softmax.inputs[0], "Mul")
    first = _maker(_behind_cast(scaled.inputs[0]), "MatMul")
    (second,) = [node for node, _ in _ahead_of_cast(softmax.outputs[0]).uses()]
    turned, scale = _maker(first.inputs[1], "Transpose"), scaled.inputs[1]
    assert second.op_type == "MatMul" and scale is not None and scale.const_value is not None
    parts = first.inputs[0], turned.inputs[0], second.inputs[1]
    nodes = GraphNodes(graph, named_after(second))
    made = _attention(nodes, second, heads, float(scale.const_value.numpy()), parts)
    ir.convenience.replace_all_uses_with(second.outputs[0], made)


def _attention(
    nodes: GraphNodes, place: ir.Node, heads: int, scale: float, parts: Sequence[ir.Value | None]
) -> ir.Value:
    """The mixed values `[1,H,R,D]` of queries, keys and values, of the type of `v`, before `place`."""

    def add(
        operator: str, value: ir.Value | None, *inputs: ir.Value, dtype: ir.DataType | None = None, **more: Any
    ) -> ir.Value:
        return nodes.add(place, operator, value, *inputs, dtype=dtype or _kind(value), **more)

    def cast(value: ir.Value, wanted: ir.DataType) -> ir.Value:
        return value if value.dtype == wanted else add("Cast", value, dtype=wanted, to=int(wanted))

    flat = nodes.constant("attention.flat", np.array([0, 0, -1], np.int64))
    wide = [cast(add("Reshape", add("Transpose", part, perm=SWAPPED), flat), ir.DataType.FLOAT) for part in parts]
    mixed = add("MultiHeadAttention", *wide, domain=DOMAIN, num_heads=heads, scale=scale)
    apart = nodes.constant("attention.apart", np.array([0, 0, heads, -1], np.int64))
    return cast(add("Transpose", add("Reshape", mixed, apart), perm=SWAPPED), _kind(place.outputs[0]))


def _kind(value: ir.Value | None) -> ir.DataType:
    assert value is not None and value.dtype is not None, "the exporter gives types"
    return value.dtype


def _maker(value: ir.Value | None, kind: str) -> ir.Node:
    node = None if value is None else value.producer()
    assert node is not None and node.op_type == kind, f"expected a {kind} before {value}"
    return node


def _behind_cast(value: ir.Value | None) -> ir.Value | None:
    node = None if value is None else value.producer()
    return node.inputs[0] if node is not None and node.op_type == "Cast" else value


def _ahead_of_cast(value: ir.Value) -> ir.Value:
    (node, _), *others = value.uses()
    return node.outputs[0] if node.op_type == "Cast" and not others else value


def _drop_unused(graph: ir.Graph, nodes: list[ir.Node]) -> None:
    for node in reversed(nodes):
        if not any(made.uses() or made in graph.outputs for made in node.outputs):
            graph.remove(node, safe=True)
