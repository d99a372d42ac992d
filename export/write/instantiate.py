"""Traced pieces to one ONNX graph: each piece is stamped out with its own weights.

Knows ONNX values and names, not what the pieces compute. Weights are declared here with shape and type and stay
empty until `export/write/weight_file.py` gives them bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from .trace import OPSET, Traced

__all__ = ["Assembly"]


class Assembly:
    """A graph that grows piece by piece; `model()` closes it."""

    def __init__(self, name: str) -> None:
        self._graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name=name)
        self._constants: dict[tuple[int, str], ir.Value] = {}
        self._pieces: list[Traced] = []  # kept alive: their ids name the constants

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
        """Declare a graph input; a string names a dynamic axis."""
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self._graph.inputs.append(value)
        return value

    def output(self, value: ir.Value, name: str, shape: Sequence[int | str]) -> None:
        """Declare `value` as the graph output `name`."""
        value.name, value.shape = name, ir.Shape(shape)
        self._graph.outputs.append(value)

    def stamp(self, piece: Traced, inputs: Mapping[str, ir.Value], weights: Mapping[str, str]) -> list[ir.Value]:
        """Copy the nodes of `piece` in, fed with `inputs` by name; `weights` maps its weights to tensor names."""
        nodes, outputs = self._copied(piece, inputs, weights)
        self._graph.extend(nodes)
        return outputs

    def loop(
        self,
        piece: Traced,
        count: ir.Value,
        inputs: Mapping[str, ir.Value],
        shared: Mapping[str, ir.Value],
        weights: Mapping[str, str],
    ) -> ir.Value:
        """Stamp `piece` into the body of a Loop of `count []` rounds, which takes the i-th row of `inputs` in its i-th.

        Gives its one output of all rounds, stacked. `shared` values and weights are seen from inside.
        """
        prefix = f"{len(self._pieces)}.loop."
        index = ir.Value(name=f"{prefix}i", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
        go_on = ir.Value(name=f"{prefix}go_on", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
        rows = {name: ir.node("Gather", [value, index]) for name, value in inputs.items()}
        for name, node in rows.items():
            node.outputs[0].name = f"{prefix}{name}"
        taken = {name: node.outputs[0] for name, node in rows.items()}
        nodes, (made,) = self._copied(piece, {**taken, **shared}, weights)
        again = ir.node("Identity", [go_on])
        again.outputs[0].name, again.outputs[0].type = f"{prefix}again", go_on.type
        body = ir.Graph([index, go_on], [again.outputs[0], made], nodes=[*rows.values(), *nodes, again], name=prefix)
        start = self._true()
        looped = ir.node("Loop", [count, start], attributes={"body": body}, name=f"{prefix}Loop")
        looped.outputs[0].name, looped.outputs[0].type = f"{prefix}made", made.type
        self._graph.append(looped)
        return looped.outputs[0]

    def model(self) -> ir.Model:
        """The finished model; its weights are initializers without bytes."""
        for node in self._graph:
            self._graph.opset_imports.setdefault(node.domain, 1)
        return ir.Model(self._graph, ir_version=10, producer_name="a2d")

    def _copied(
        self, piece: Traced, inputs: Mapping[str, ir.Value], weights: Mapping[str, str]
    ) -> tuple[list[ir.Node], list[ir.Value]]:
        """Fresh nodes of `piece`, and its outputs."""
        values: dict[ir.Value, ir.Value] = {}
        for name, value in zip((*piece.inputs, *piece.weights), piece.graph.inputs, strict=True):
            values[value] = inputs[name] if name in piece.inputs else self._weight(weights[name], value)
        for name, value in piece.graph.initializers.items():
            values[value] = self._constant(piece, name, value)
        prefix = f"{len(self._pieces)}."
        self._pieces.append(piece)
        nodes = [_copy(node, values, prefix) for node in piece.graph]
        return nodes, [values[value] for value in piece.graph.outputs]

    def _true(self) -> ir.Value:
        if "true" not in self._graph.initializers:
            tensor = ir.tensor(np.array(True), name="true")
            self._graph.initializers["true"] = ir.Value(
                name="true", const_value=tensor, type=ir.TensorType(tensor.dtype), shape=tensor.shape
            )
        return self._graph.initializers["true"]

    def _weight(self, name: str, like: ir.Value) -> ir.Value:
        if name not in self._graph.initializers:
            value = ir.Value(name=name, type=like.type, shape=like.shape)
            self._graph.initializers[name] = value
        return self._graph.initializers[name]

    def _constant(self, piece: Traced, name: str, like: ir.Value) -> ir.Value:
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
