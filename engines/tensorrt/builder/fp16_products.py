"""A pass: products in half precision, everything else as it is written.

A decode step is bound by what it reads: weights, and the keys and values of the context. So exactly these become
float16, and with them the products that they enter:

1. MatMul, Gemm and Conv on float32 become float16 with casts around them; products of codes (both inputs are
   dequantized) stay.
2. A stored weight of such a product is stored as float16. So is a table that rows are gathered from.
3. What only moves numbers (concatenation, transposition, ...) on their way to a product moves them as float16.
4. Inputs and outputs whose names begin with one of `narrow` change their type: the keys and values of a cache.
5. Products of stored weights whose names fit a pattern of `exact` stay as they are: their range is beyond float16's.

Norms, softmax, rotation and the residual stream stay in float32: at the few rows of a step they cost nothing, and half
precision costs accuracy exactly there.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir

from ...errors import EngineError

__all__ = ["halve_products"]

PRODUCTS = ("MatMul", "Gemm", "Conv")

MOVES = {"Concat": None, "Transpose": 1, "Reshape": 1, "Unsqueeze": 1, "Squeeze": 1}
"""Operators that compute nothing, and how many of their inputs are numbers that move (None: all)."""

HALF = ir.DataType.FLOAT16


def halve_products(model: ir.Model, narrow: Sequence[str] = (), exact: Sequence[str] = ()) -> ir.Model:
    """Rewrite in place. Raises EngineError for a weight beyond the range of float16."""
    return _Halving(model.graph, tuple(narrow), tuple(exact)).run(model)


class _Halving:
    """The pass over one graph, remembering the float16 twin of each value."""

    def __init__(self, graph: ir.Graph, narrow: tuple[str, ...], exact: tuple[str, ...]) -> None:
        self.graph, self.narrow, self.exact = graph, narrow, exact
        self.twins: dict[ir.Value, ir.Value] = {}

    def run(self, model: ir.Model) -> ir.Model:
        for value in self.graph.inputs:
            if value.name is not None and value.name.startswith(self.narrow) and _is_float(value):
                self.narrow_input(value)
        for node in [*self.graph]:
            if self.halved(node):
                self.product(node)
            elif node.op_type == "Gather" and node.inputs[0] is not None and _is_stored(node.inputs[0]):
                self.product(node, taken=1)
        for i, value in enumerate(self.graph.outputs):
            if value.name is not None and value.name.startswith(self.narrow) and _is_float(value):
                self.narrow_output(i, value)
        return model

    def halved(self, node: ir.Node) -> bool:
        """The node is a product that becomes float16."""
        if node.op_type not in PRODUCTS or not _is_float(node.outputs[0]) or _is_quantized(node):
            return False
        stored = [value.name or "" for value in node.inputs if value is not None and _is_stored(value)]
        return not any(fnmatchcase(name, pattern) for name in stored for pattern in self.exact)

    def product(self, node: ir.Node, taken: int | None = None) -> None:
        """`node` on the twins of its first `taken` inputs; whoever reads its result reads it as float32."""
        for i, value in enumerate(node.inputs[:taken]):
            if value is not None:
                node.replace_input_with(i, self.twin(value))
        (made,) = node.outputs
        self.widened(made, node)

    def widened(self, value: ir.Value, after: ir.Node) -> None:
        """Let `value` be float16, and its readers take it as float32."""
        readers = [(node, i) for node, i in value.uses()]
        back = _cast(value, ir.DataType.FLOAT, f"{value.name}.wide")
        self.graph.insert_after(after, back)
        for node, i in readers:
            node.replace_input_with(i, back.outputs[0])
        if value in self.graph.outputs:
            _swap_output(self.graph, self.graph.outputs.index(value), back.outputs[0])
        value.type = ir.TensorType(HALF)
        self.twins[back.outputs[0]] = value

    def twin(self, value: ir.Value) -> ir.Value:
        """The same as float16."""
        if value.dtype == HALF:
            return value
        if value not in self.twins:
            self.twins[value] = self.stored(value) if _is_stored(value) else self.computed(value)
        return self.twins[value]

    def stored(self, value: ir.Value) -> ir.Value:
        assert value.const_value is not None
        tensor, name = value.const_value, f"{value.name}.half"
        lazy = ir.LazyTensor(lambda: _half(tensor, name), dtype=HALF, shape=tensor.shape, name=name)
        made = ir.Value(name=name, const_value=lazy, type=ir.TensorType(HALF), shape=value.shape)
        self.graph.initializers[name] = made
        return made

    def computed(self, value: ir.Value) -> ir.Value:
        producer = value.producer()
        if producer is not None and producer.op_type in MOVES:
            return self.moved(value, producer)
        made = _cast(value, HALF, f"{value.name}.half")
        if producer is None:
            self.graph.insert_before(self.graph[0], made)
        else:
            self.graph.insert_after(producer, made)
        return made.outputs[0]

    def moved(self, value: ir.Value, producer: ir.Node) -> ir.Value:
        numbers = MOVES[producer.op_type]
        taken = len(producer.inputs) if numbers is None else numbers
        inputs = [self.twin(v) if i < taken and v is not None else v for i, v in enumerate(producer.inputs)]
        made = ir.Node("", producer.op_type, inputs, attributes=[*producer.attributes.values()], num_outputs=1)
        made.name, made.outputs[0].name = f"{producer.name}.half", f"{value.name}.half"
        made.outputs[0].type, made.outputs[0].shape = ir.TensorType(HALF), value.shape
        self.graph.insert_after(producer, made)
        return made.outputs[0]

    def narrow_input(self, value: ir.Value) -> None:
        self.graph.insert_before(self.graph[0], ahead := _cast(value, ir.DataType.FLOAT, f"{value.name}.wide"))
        for node, i in [*value.uses()]:
            if node is not ahead:
                node.replace_input_with(i, ahead.outputs[0])
        value.type = ir.TensorType(HALF)
        self.twins[ahead.outputs[0]] = value

    def narrow_output(self, at: int, value: ir.Value) -> None:
        _swap_output(self.graph, at, self.twin(value))


def _cast(value: ir.Value, to: ir.DataType, name: str) -> ir.Node:
    node = ir.node("Cast", [value], {"to": ir.AttrInt64("to", to)}, name=name)
    node.outputs[0].name, node.outputs[0].shape = name, value.shape
    node.outputs[0].type = ir.TensorType(to)
    return node


def _swap_output(graph: ir.Graph, at: int, value: ir.Value) -> None:
    old = graph.outputs[at]
    graph.outputs[at] = value
    old.name, value.name = f"{old.name}.narrow", old.name


def _is_float(value: ir.Value) -> bool:
    return bool(value.dtype == ir.DataType.FLOAT)


def _is_stored(value: ir.Value) -> bool:
    return value.const_value is not None and _is_float(value) and not value.is_graph_input()


def _is_quantized(node: ir.Node) -> bool:
    return all(value is not None and _is_dequantized(value) for value in node.inputs[:2])


def _is_dequantized(value: ir.Value) -> bool:
    """It comes from codes, on the straightest way: only moved since."""
    producer = value.producer()
    while producer is not None and MOVES.get(producer.op_type) == 1 and producer.inputs[0] is not None:
        producer = producer.inputs[0].producer()
    return producer is not None and bool(producer.op_type == "DequantizeLinear")


def _half(tensor: ir.TensorProtocol, name: str) -> ir.Tensor:
    with np.errstate(over="ignore"):
        made = tensor.numpy().astype(np.float16)
    if not np.isfinite(made).all():
        raise EngineError(
            f"weight {name.removesuffix('.half')} holds values beyond 65504, the range of fp16; export the checkpoint "
            "with [precision=bf16] or [precision=fp32], and build from that"
        )
    return ir.Tensor(made, name=name)
