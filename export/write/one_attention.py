"""Attention without a mask as one operator, ONNX Runtime's MultiHeadAttention: its scores are never held at once.

    MatMul(q, k') [Cast] Mul(scale) Softmax [Cast] MatMul(v)      of q [1,H,R,D] over k, v [1,H,K,D]

as it is traced, would hold H R K scores. The operator takes `[1,R,H D]` in float32 and walks over the keys in parts.
TensorRT's copy of a graph spells it out again, for its compiler fuses the products itself. Knows one piece of a graph;
not which pieces are written so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

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
    query, key, value = first.inputs[0], turned.inputs[0], second.inputs[1]
    made = _Attention(graph, heads, float(scale.const_value.numpy()), second)
    ir.convenience.replace_all_uses_with(second.outputs[0], made.of(query, key, value))


class _Attention:
    """New nodes before `place`."""

    def __init__(self, graph: ir.Graph, heads: int, scale: float, place: ir.Node) -> None:
        self.graph, self.heads, self.scale, self.place, self.count = graph, heads, scale, place, 0

    def of(self, *parts: ir.Value | None) -> ir.Value:
        """The mixed values `[1,H,R,D]`, of the type of `v`."""
        kind, flat = _kind(self.place.outputs[0]), self.constant("flat", [0, 0, -1])
        wide = [self.cast(self.node("Reshape", self.swapped(part), flat), kind, ir.DataType.FLOAT) for part in parts]
        mixed = self.node("MultiHeadAttention", *wide, domain=DOMAIN, num_heads=self.heads, scale=self.scale)
        made = self.swapped(self.node("Reshape", mixed, self.constant("apart", [0, 0, self.heads, -1])))
        return self.cast(made, ir.DataType.FLOAT, kind)

    def cast(self, value: ir.Value, given: ir.DataType, wanted: ir.DataType) -> ir.Value:
        return value if given == wanted else self.node("Cast", value, kind=wanted, to=int(wanted))

    def swapped(self, value: ir.Value | None) -> ir.Value:
        return self.node("Transpose", value, perm=SWAPPED)

    def node(
        self,
        operator: str,
        *inputs: ir.Value | None,
        domain: str = "",
        kind: ir.DataType | None = None,
        **attributes: Any,
    ) -> ir.Value:
        made = ir.node(operator, inputs, attributes, domain=domain, name=f"{self.place.name}.{operator}_{self.count}")
        made.outputs[0].name = f"{made.name}.0"
        made.outputs[0].type = ir.TensorType(kind or _kind(inputs[0]))
        self.graph.insert_before(self.place, made)
        self.count += 1
        return made.outputs[0]

    def constant(self, name: str, numbers: list[int]) -> ir.Value:
        tensor = ir.tensor(np.array(numbers, np.int64), name=f"attention.{name}")
        value = ir.Value(name=tensor.name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=tensor.shape)
        self.graph.initializers[str(tensor.name)] = value
        return value


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
