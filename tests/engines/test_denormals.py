"""Denormals: none inside a graph, all of them outside, on whichever thread and whichever session comes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from a2d.engines import load_engine, onnxruntime
from a2d.engines.denormals import FLUSHING, SETTABLE, fesetenv, kept_state
from a2d.engines.errors import EngineError

SMALL = np.float32(1e-40)

pytestmark = pytest.mark.skipif(not SETTABLE, reason="the state of a thread is not set on this system")


def is_kept() -> bool:
    """This thread computes with denormals."""
    return bool(SMALL * np.float32(0.5) > 0)


def written(path: Path, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], width: int = 8) -> Path:
    """A graph from x `[rows, width]` to y `[rows, out]`."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", width])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "out"])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    """A graph that halves what it is given."""
    half = numpy_helper.from_array(np.float32([0.5]), "half")
    path = tmp_path_factory.mktemp("halved") / "g.onnx"
    return written(path, [helper.make_node("Mul", ["x", "half"], ["y"])], [half])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_graph_computes_with_none_and_its_caller_with_all(halved, threads):
    engine = load_engine("onnxruntime", halved, threads=threads)
    rows = np.full((1 << 16, 8), SMALL)  # enough for every thread of the pool
    assert is_kept()
    assert not engine.run({"x": rows})["y"].any()
    assert is_kept()


FIRST = """
import sys, numpy as np
from pathlib import Path
from a2d.engines import load_engine
engine = load_engine("onnxruntime", Path(sys.argv[1]), threads=1)
assert np.float32(1e-40) * np.float32(0.5) > 0, "the first session took this thread's denormals away"
"""


def test_the_first_session_of_a_process_leaves_its_thread_alone(halved):
    subprocess.run([sys.executable, "-c", FIRST, str(halved)], check=True)


def test_a_state_is_put_back_after_an_error(halved):
    engine = load_engine("onnxruntime", halved, threads=1)
    with pytest.raises(EngineError):
        engine._run(["nothing"], {"x": np.zeros((1, 8), np.float32)})
    assert is_kept()


def test_a_kept_state_is_put_back():
    with kept_state():
        fesetenv(FLUSHING)
        assert not is_kept()
    assert is_kept()


def test_bytes_with_a_bias_are_multiplied_as_bytes(tmp_path, monkeypatch):
    """Rows of two axes, as in a vision tower: ONNX Runtime would make a Gemm of floats of the product and its sum."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(np.float32(0.02), "scale"),
        numpy_helper.from_array(np.int8(0), "zero"),
        numpy_helper.from_array(rng.integers(-127, 128, (8, 4)).astype(np.int8), "codes"),
        numpy_helper.from_array(np.full(4, 0.01, np.float32), "scales"),
        numpy_helper.from_array(np.zeros(4, np.int8), "zeros"),
        numpy_helper.from_array(rng.standard_normal(4).astype(np.float32), "bias"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["codes", "scales", "zeros"], ["w"], axis=1),
        helper.make_node("MatMul", ["d", "w"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["y"]),
    ]
    real = onnxruntime.ort.InferenceSession

    def session(path, options, **rest):
        options.optimized_model_filepath = str(tmp_path / "run.onnx")
        return real(path, options, **rest)

    monkeypatch.setattr(onnxruntime.ort, "InferenceSession", session)
    load_engine("onnxruntime", written(tmp_path / "g.onnx", nodes, weights), precision="int8", threads=1)
    kinds = [node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node]
    assert "Gemm" not in kinds
    assert "MatMulIntegerToFloat" in kinds
