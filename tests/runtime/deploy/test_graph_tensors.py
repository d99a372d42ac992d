"""The tensors of a graph file: what onnx reads, read without it; and files that are something else."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, load, numpy_helper

from a2d.engines.errors import BundleError
from a2d.runtime.deploy.graph_tensors import Tensor, operators_of, tensors_of


def save(path, tensors):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:], tensors)
    path.write_bytes(helper.make_model(graph, ir_version=10).SerializeToString())
    return path


def test_every_graph_of_a_bundle_is_read_as_onnx_reads_it(golden):
    for path in sorted(golden("a2d-qwen3").glob("*.onnx")):
        held = load(str(path), load_external_data=False).graph.initializer
        made = tensors_of(path)
        assert [(t.name, t.shape, t.kind) for t in made] == [(i.name, tuple(i.dims), i.data_type) for i in held]
        lengths = [{entry.key: entry.value for entry in i.external_data}.get("length") for i in held]
        assert all(length is None or int(length) == t.bytes for length, t in zip(lengths, made, strict=True))
        assert any(length is not None for length in lengths)


@pytest.mark.parametrize(
    ("kind", "size"), [(TensorProto.FLOAT, 24), (TensorProto.FLOAT16, 12), (TensorProto.INT8, 6), (TensorProto.INT4, 3)]
)
def test_sizes_by_kind(tmp_path, kind, size):
    tensor = TensorProto(name="t", data_type=kind, dims=[2, 3], raw_data=bytes(size))
    (made,) = tensors_of(save(tmp_path / "g.onnx", [tensor]))
    assert made == Tensor("t", (2, 3), kind)
    assert (made.bytes, made.elements) == (size, 6)
    assert made.is_float == (kind in (TensorProto.FLOAT, TensorProto.FLOAT16))


def test_scalars_and_no_tensors(tmp_path):
    (made,) = tensors_of(save(tmp_path / "g.onnx", [numpy_helper.from_array(np.float32(1), "one")]))
    assert (made.shape, made.bytes) == ((), 4)
    assert tensors_of(save(tmp_path / "h.onnx", [])) == ()


def test_a_kind_that_bundles_do_not_have_is_refused(tmp_path):
    tensor = TensorProto(name="words", data_type=TensorProto.STRING, dims=[1], string_data=[b"a"])
    with pytest.raises(BundleError, match=r"g\.onnx is not an ONNX graph that a2d reads.*'words' is of kind 8"):
        tensors_of(save(tmp_path / "g.onnx", [tensor]))


@pytest.mark.parametrize(
    "raw", [b"", b"\x89PNG\r\n\x1a\n" + bytes(64), b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x0f", b"{}"]
)
def test_what_is_no_graph_is_refused(tmp_path, raw):
    (tmp_path / "g.onnx").write_bytes(raw)
    with pytest.raises(BundleError, match=r"g\.onnx is not an ONNX graph"):
        tensors_of(tmp_path / "g.onnx")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(BundleError, match=r"none\.onnx cannot be read"):
        tensors_of(tmp_path / "none.onnx")


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_raise_anything_else(tmp_path_factory, noise, keep):
    path = save(
        tmp_path_factory.mktemp("noise") / "g.onnx", [numpy_helper.from_array(np.ones((2, 2), np.float32), "t")]
    )
    raw = path.read_bytes()
    for ill in (noise, raw[:keep], raw[: keep // 2] + noise):
        path.write_bytes(ill)
        with contextlib.suppress(BundleError):
            tensors_of(path)


def test_operators_are_those_of_onnx(golden, tmp_path):
    for path in sorted(golden("a2d-qwen3").glob("*.onnx")):
        assert operators_of(path) == {node.op_type for node in load(str(path), load_external_data=False).graph.node}
    assert operators_of(save(tmp_path / "g.onnx", [])) == {"Identity"}
