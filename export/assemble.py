"""Traced pieces to one ONNX graph: each piece is stamped out with its own weights.

Knows ONNX values and names, not what the pieces compute. Weights are declared here with shape and type and stay
empty until `export/store.py` gives them bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from .trace import OPSET, Piece

__all__ = ["Assembly"]


class Assembly:
    """A graph that grows piece by piece; `model()` closes it."""

    def __init__(self, name: str) -> None:
        self._graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name=name)
        self._constants: dict[tuple[int, str], ir.Value] = {}
        self._pieces: list[Piece] = []  # kept alive: their ids name the constants

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
        """Declare a graph input; a string names a dynamic axis."""
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self._graph.inputs.append(value)
        return value

    def output(self, value: ir.Value, name: str, shape: Sequence[int | str]) -> None:
        """Declare `value` as the graph output `name`."""
        value.name, value.shape = name, ir.Shape(shape)
        self._graph.outputs.append(value)

    def stamp(self, piece: Piece, inputs: Mapping[str, ir.Value], weights: Mapping[str, str]) -> list[ir.Value]:
        """Copy the nodes of `piece` in, fed with `inputs` by name; `weights` maps its weights to tensor names."""
        values: dict[ir.Value, ir.Value] = {}
        for name, value in zip((*piece.inputs, *piece.weights), piece.graph.inputs, strict=True):
            values[value] = inputs[name] if name in piece.inputs else self._weight(weights[name], value)
        for name, value in piece.graph.initializers.items():
            values[value] = self._constant(piece, name, value)
        prefix = f"{len(self._pieces)}."
        self._pieces.append(piece)
        for node in piece.graph:
            self._graph.append(_copy(node, values, prefix))
        return [values[value] for value in piece.graph.outputs]

    def model(self) -> ir.Model:
        """The finished model; its weights are initializers without bytes."""
        return ir.Model(self._graph, ir_version=10, producer_name="a2d")

    def _weight(self, name: str, like: ir.Value) -> ir.Value:
        if name not in self._graph.initializers:
            value = ir.Value(name=name, type=like.type, shape=like.shape)
            self._graph.initializers[name] = value
        return self._graph.initializers[name]

    def _constant(self, piece: Piece, name: str, like: ir.Value) -> ir.Value:
        key = (id(piece), name)
        if key not in self._constants:
            value = ir.Value(name=f"const.{len(self._constants)}", const_value=like.const_value)
            value.type, value.shape = like.type, like.shape
            self._graph.initializers[str(value.name)] = value
            self._constants[key] = value
        return self._constants[key]


def _copy(node: ir.Node, values: dict[ir.Value, ir.Value], prefix: str) -> ir.Node:
    copied = ir.Node(
        node.domain,
        node.op_type,
        [None if value is None else values[value] for value in node.inputs],
        list(node.attributes.values()),
        num_outputs=len(node.outputs),
        name=f"{prefix}{node.name}",
    )
    for old, new in zip(node.outputs, copied.outputs, strict=True):
        new.name, new.type, new.shape = f"{prefix}{old.name}", old.type, None
        values[old] = new
    return copied
