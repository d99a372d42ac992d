"""The index of weights in a manifest: what onnx reads in the graphs, of exports and of calibrations."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from a2d.runtime.bundle.files import Bundle
from a2d.runtime.bundle.weight_index import StoredTensor


def read(tensor: TensorProto) -> StoredTensor:
    at = {entry.key: entry.value for entry in tensor.external_data}
    kind = TensorProto.DataType.Name(tensor.data_type)
    return StoredTensor(int(at.get("offset", 0)), int(at["length"]), tuple(tensor.dims), kind)


@pytest.mark.parametrize("fixture", ["quantized", "filming", "towers_bundle"])
def test_every_graph_s_entry_is_what_onnx_reads(fixture, request):
    bundle = Bundle.open(request.getfixturevalue(fixture))
    for variant in bundle.manifest.variants.values():
        for graph, file in variant.graphs.items():
            model = onnx.load(bundle.file(file), load_external_data=False).graph
            stored = {one.name: read(one) for one in model.initializer if one.data_location == TensorProto.EXTERNAL}
            entry = variant.index[graph]
            assert entry.tensors == stored
            assert entry.fused == any(node.op_type == "MultiHeadAttention" for node in model.node)
            assert bool(entry.states) == graph.startswith("pixels_next")
        last = max(at.offset + at.bytes for entry in variant.index.values() for at in entry.tensors.values())
        assert last == variant.weights_bytes


def test_states_count_elements_for_one_of_a_latent_frame(filming: Path):
    bundle = Bundle.open(filming)
    variant = bundle.variant("fp32")
    graph = onnx.load(bundle.file(variant.graphs["pixels_next"]), load_external_data=False).graph
    shapes = [port.type.tensor_type.shape.dim for port in graph.input if port.name.startswith("past_state")]
    counted = [d[1].dim_value * d[2].dim_value * int(d[3].dim_param.removeprefix("high_")) ** 2 for d in shapes]
    assert list(variant.index["pixels_next"].states) == counted and len(counted) > 1


def test_a_tied_table_has_two_names_and_one_place(quantized: Path):
    index = Bundle.open(quantized).variant("fp32").index
    assert index["backbone"].tensors["embedding"] == index["denoise"].tensors["lm_head"]


@pytest.mark.parametrize(("kind", "is_float"), [("FLOAT", True), ("BFLOAT16", True), ("INT8", False), ("UINT4", False)])
def test_kinds(kind, is_float):
    made = StoredTensor(0, 6, (2, 3), kind)
    assert made.elements == 6 and made.is_float == is_float
