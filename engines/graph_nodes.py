"""Nodes and initializers added to a graph, under names of their own. Knows onnx_ir; not why anything is added.

Every room that edits graphs adds nodes here, so this is a leaf below all of them. It is imported by what makes graphs
and engines, never by what runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["GraphNodes", "named_after"]


def named_after(place: ir.Node) -> Callable[[str, int], str]:
    """Names of nodes that take the place of one: its own name, the operator, and a number from 0."""
    return lambda operator, count: f"{place.name}.{operator}_{count}"


class GraphNodes:
    """New nodes of one graph; `named` gives the name of each, from its operator and `count`, the number before it."""

    def __init__(self, graph: ir.Graph, named: Callable[[str, int], str], count: int = 0) -> None:
        self._graph, self._named, self._count = graph, named, count

    def add(self, before: ir.Node, operator: str, *inputs: ir.Value | None, **more: Any) -> ir.Value:
        """The one output of a new node; `more` is that of `add_many`."""
        return self.add_many(before, operator, 1, *inputs, **more)[0]

    def add_many(
        self,
        before: ir.Node,
        operator: str,
        outputs: int,
        *inputs: ir.Value | None,
        domain: str = "",
        dtype: ir.DataType | None = None,
        **attributes: Any,
    ) -> list[ir.Value]:
        """The outputs of a new node, of type `dtype` where that is given."""
        name = self._named(operator, self._count)
        node = ir.node(operator, inputs, attributes, domain=domain, num_outputs=outputs, name=name)
        self._count += 1
        for i, value in enumerate(node.outputs):
            value.name = f"{name}.{i}"
            value.type = None if dtype is None else ir.TensorType(dtype)
        self._graph.insert_before(before, node)
        return list(node.outputs)

    def constant(self, name: str, array: NDArray[np.generic], dtype: ir.DataType | None = None) -> ir.Value:
        """A small initializer inside the graph's own file; where there is one of that name, that one."""
        if name in self._graph.initializers:
            return self._graph.initializers[name]
        return self.initializer(name, ir.Tensor(array, dtype, name=name))

    def initializer(self, name: str, tensor: ir.TensorProtocol) -> ir.Value:
        """An initializer, in the place of any of that name."""
        kind, shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape)
        value = ir.Value(name=name, const_value=tensor, type=kind, shape=shape)
        self._graph.initializers[name] = value
        return value

    def replace(self, node: ir.Node, result: ir.Value) -> None:
        """Let everyone who reads the node's output read `result`, and remove the node."""
        ir.convenience.replace_all_uses_with(node.outputs[0], result)
        self._graph.remove(node, safe=True)
