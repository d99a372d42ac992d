"""Nodes that are added to a graph: their names, types and constants."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from a2d.engines.graph_nodes import GraphNodes, named_after


def test_nodes_are_named_typed_and_stand_before_their_place():
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    last = ir.node("Identity", [value], name="last")
    last.outputs[0].name = "y"
    end = ir.node("Neg", [last.outputs[0]], name="end")
    graph = ir.Graph([value], end.outputs, nodes=[last, end], opset_imports={"": 21})
    nodes = GraphNodes(graph, named_after(last))
    two = nodes.constant("two", np.array(2, np.float32))
    assert nodes.constant("two", np.array(3, np.float32)) is two and list(graph.initializers) == ["two"]
    assert nodes.initializer("two", ir.tensor(np.float32(4), name="two")) is graph.initializers["two"] is not two
    codes, scale, _ = nodes.add_many(last, "DynamicQuantizeLinear", 3, value)
    product = nodes.add(last, "Mul", value, two, dtype=ir.DataType.FLOAT)
    assert [codes.name, scale.name, product.name] == [
        "last.DynamicQuantizeLinear_0.0", "last.DynamicQuantizeLinear_0.1", "last.Mul_1.0",
    ]  # fmt: skip
    assert (codes.dtype, product.dtype) == (None, ir.DataType.FLOAT)
    nodes.replace(last, product)
    assert [node.op_type for node in graph] == ["DynamicQuantizeLinear", "Mul", "Neg"] and end.inputs[0] is product


def test_a_number_goes_on_where_it_is_told_to():
    value = ir.Value(name="x")
    last = ir.node("Identity", [value])
    graph = ir.Graph([value], last.outputs, nodes=[last], opset_imports={"": 21})
    nodes = GraphNodes(graph, lambda operator, count: f"quantized.{count}", 5)
    assert [nodes.add(last, "Neg", value).name for _ in range(2)] == ["quantized.5.0", "quantized.6.0"]
