"""Nodes and initializers added to a graph, with names of their own. Knows graphs; not why anything is added."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .number_formats import Format

__all__ = ["GraphEditor", "Value"]

Value: TypeAlias = ir.Value

PREFIX = "quantized."
"""Beginning of the names of added nodes: ONNX Runtime wants every node's name to be its own."""


class GraphEditor:
    """One graph on its way; another editor of it goes on counting where the last one stopped."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._count = sum(str(node.name).startswith(PREFIX) for node in graph)

    def add(self, before: ir.Node, kind: str, *inputs: Value, **attributes: object) -> Value:
        """A new node's one output."""
        return self.add_many(before, kind, 1, *inputs, **attributes)[0]

    def add_many(self, before: ir.Node, kind: str, count: int, *inputs: Value, **attributes: object) -> list[Value]:
        """A new node's outputs."""
        node = ir.node(kind, list(inputs), attributes, num_outputs=count)
        self._count += 1
        node.name = f"{PREFIX}{self._count}"
        for i, value in enumerate(node.outputs):
            value.name = f"{node.name}.{i}"
        self._graph.insert_before(before, node)
        return list(node.outputs)

    def constant(self, name: str, array: NDArray[np.generic], form: Format | None = None) -> Value:
        """A small initializer inside the graph's own file."""
        if name in self._graph.initializers:
            return self._graph.initializers[name]
        return self.initializer(name, ir.Tensor(array, None if form is None else ir.DataType[form.onnx], name=name))

    def initializer(self, name: str, tensor: ir.TensorProtocol) -> Value:
        """An initializer, in the place of any of that name."""
        value = Value(name=name, const_value=tensor)
        value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape)
        self._graph.initializers[name] = value
        return value

    def replace(self, node: ir.Node, result: Value) -> None:
        """Let everyone who reads the node's output read `result`, and remove the node."""
        ir.convenience.replace_all_uses_with(node.outputs[0], result)
        self._graph.remove(node, safe=True)
