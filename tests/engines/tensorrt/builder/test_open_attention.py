"""Attention as one operator: written by the export, spelled out again for TensorRT; both compute the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from onnx_ir.passes.common import ShapeInferencePass

from a2d.engines import load_engine
from a2d.engines.errors import EngineError
from a2d.engines.tensorrt.builder.copy import copy_graph
from a2d.engines.tensorrt.builder.open_attention import OPERATOR
from a2d.export.write.one_attention import DOMAIN, one_attention
from a2d.export.write.trace import Traced

HEADS, GROUP, WIDE = 2, 3, 8


def traced(kind: int) -> onnx.ModelProto:
    """Queries of a group side by side, as a layer has them; the softmax in float32."""
    half = kind != TensorProto.FLOAT
    node, cast = helper.make_node, TensorProto.FLOAT
    nodes = [node("Transpose", ["key"], ["turned"], perm=[0, 1, 3, 2]), node("MatMul", ["query", "turned"], ["scores"])]
    nodes += [node("Cast", ["scores"], ["wide"], to=cast)] if half else []
    nodes += [node("Mul", ["wide" if half else "scores", "scale"], ["scaled"]), node("Softmax", ["scaled"], ["share"])]
    nodes += [node("Cast", ["share"], ["narrow"], to=kind)] if half else []
    nodes += [node("MatMul", ["narrow" if half else "share", "value"], ["mixed"]), node("Identity", ["mixed"], ["out"])]
    ports = {"query": "rows", "key": "keys", "value": "keys"}
    inputs = [helper.make_tensor_value_info(n, kind, [1, HEADS, axis, WIDE]) for n, axis in ports.items()]
    output = helper.make_tensor_value_info("out", kind, [1, HEADS, "rows", WIDE])
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [0.3])
    graph = helper.make_graph(nodes, "attention", inputs, [output], [scale])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture(params=["FLOAT", "FLOAT16"])
def graphs(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Path]:
    model = ir.from_proto(traced(getattr(TensorProto, request.param)))
    ShapeInferencePass()(model)
    ir.save(model, tmp_path / "traced.onnx")
    made = one_attention(Traced(model.graph, ("query", "key", "value"), (), ("out",)), HEADS).graph
    made.opset_imports[DOMAIN] = 1
    ir.save(ir.Model(made, ir_version=10), tmp_path / "one.onnx")
    copy_graph(tmp_path / "one.onnx", tmp_path / "open.onnx", half=False)
    return {name: tmp_path / f"{name}.onnx" for name in ("traced", "one", "open")}


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(str(path)).graph.node]


def test_one_operator_is_what_was_traced_and_is_spelled_out_again(graphs):
    rng, made = np.random.default_rng(3), {}
    kind = load_engine("onnxruntime", graphs["traced"], threads=1).inputs["query"].dtype
    sizes = {"query": 5 * GROUP, "key": 700, "value": 700}
    feeds = {name: rng.normal(size=(1, HEADS, size, WIDE)).astype(kind) for name, size in sizes.items()}
    for name, path in graphs.items():
        onnx.checker.check_model(str(path), full_check=True)
        made[name] = np.asarray(load_engine("onnxruntime", path, threads=1).run(feeds)["out"], np.float32)
    exact = 1e-6 if kind == "float32" else 1e-3
    assert np.abs(made["traced"]).max() > 0.05
    np.testing.assert_allclose(made["one"], made["traced"], atol=exact)
    np.testing.assert_allclose(made["open"], made["traced"], atol=exact)
    assert operators(graphs["one"]).count(OPERATOR) == 1 and "Softmax" not in operators(graphs["one"])
    assert operators(graphs["open"]) == operators(graphs["traced"])


def test_another_form_is_refused(tmp_path):
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, "r", 16]) for n in ("query", "key", "value", "out")
    ]
    node = helper.make_node(
        OPERATOR, ["query", "key", "value"], ["out"], "other", domain=DOMAIN, num_heads=2, scale=1.0
    )
    graph = helper.make_graph([node], "g", ports[:3], ports[3:])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    path = tmp_path / "g.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    with pytest.raises(EngineError, match="other: MultiHeadAttention stands in a form that a2d does not write"):
        copy_graph(path, tmp_path / "copy.onnx", half=False)
    assert not (tmp_path / "copy.onnx").exists()
