"""Products of a graph with weights: the places that quantization is about.

Knows graphs as the exporter writes them (docs/bundle.md): a MatMul whose right side is a weight `[in, out]`, a Gemm
by a table `[V, H]`, and lookups in such tables. Not what will become of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

__all__ = ["Point", "external", "lookups", "points"]


@dataclass(frozen=True)
class Point:
    """One product with weights."""

    name: str
    """Name of the weight tensor: `layers.0.qkv`, `lm_head`."""
    node: ir.Node
    table: bool
    """The weight is `[out, in]`."""

    @property
    def activation(self) -> ir.Value:
        """The value that is multiplied."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def weight(self) -> ir.Value:
        """The weights that it is multiplied by."""
        value = self.node.inputs[1]
        assert value is not None
        return value


def points(graph: ir.Graph) -> list[Point]:
    """All products with weights, in order."""
    return [
        Point(str(node.inputs[1].name), node, table=node.op_type == "Gemm")
        for node in graph
        if node.op_type in ("MatMul", "Gemm") and external(node.inputs[1]) is not None
    ]


def lookups(graph: ir.Graph) -> list[ir.Node]:
    """All lookups of rows in a table of weights."""
    return [node for node in graph if node.op_type == "Gather" and external(node.inputs[0]) is not None]


def external(value: ir.Value | None) -> ir.ExternalTensor | None:
    """The stored tensor behind a value, if it is a weight."""
    tensor = None if value is None else value.const_value
    return tensor if isinstance(tensor, ir.ExternalTensor) else None
