"""Copies of graphs that also put out what goes into their products with weights. Knows graphs; not who looks."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx_ir as ir

from ..source.products import Point, points
from ..source.source import Source

__all__ = ["TapProducts", "tap"]


def tap(source: Source, graph: str, target: Path, left_out: Collection[str] = ()) -> dict[str, str]:
    """Write a tapped copy of a graph: output name to the name of the weight that it is multiplied by.

    `left_out`: names of weights whose products are not looked at.
    """
    taps = TapProducts(left_out)
    target.write_bytes(ir.to_proto(taps(source.model(graph)).model).SerializeToString())
    return taps.found


class TapProducts(ir.passes.InPlacePass):
    """Pass: the input of every product with weights becomes an output of the graph."""

    def __init__(self, left_out: Collection[str] = ()) -> None:
        self._left_out = left_out
        self.found: dict[str, str] = {}
        """Output name to weight name."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Append the outputs."""
        for point in points(model.graph):
            if point.name not in self._left_out:
                self.found[self._put_out(model.graph, point)] = point.name
        return ir.passes.PassResult(model, modified=bool(self.found))

    def ensures(self, model: ir.Model) -> None:
        """Raise PostconditionError where a tap is no output."""
        missing = set(self.found) - {value.name for value in model.graph.outputs}
        if missing:
            raise ir.passes.PostconditionError(f"no outputs: {sorted(missing)}")

    def _put_out(self, graph: ir.Graph, point: Point) -> str:
        value = point.activation
        if value.is_graph_input():  # what comes in cannot go out as it is
            copied = ir.node("Identity", [value], name=f"tap.{point.name}")
            graph.append(copied)
            value, value.name = copied.outputs[0], f"tap.{point.name}"
        value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
        if value not in graph.outputs:
            graph.outputs.append(value)
        return str(value.name)
