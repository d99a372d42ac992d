"""Mixtures of experts: rows find their way into tiles and back, and no expert is touched that nobody wants."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import published
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from published import Opened

from a2d.engines import load_engine
from a2d.engines.errors import CheckpointError
from a2d.export.checkpoint.sources import Source, assemble, stored_shape
from a2d.export.export_plan import plan
from a2d.export.graphs.backbone import BACKBONE
from a2d.export.graphs.experts import ROUTE, TILE, Route
from a2d.export.graphs.kind import trace_spec
from a2d.export.graphs.shapes import ExpertShape
from a2d.export.job import Job, export
from a2d.export.parity.check import NO_ROWS
from a2d.export.parity.torch_engine import TorchEngine, Weights
from a2d.export.precision import precisions
from a2d.export.write.graph_models import Builder
from a2d.export.write.piece_cache import default_folder
from a2d.export.write.weight_file import TorchWeightFile, save_graph
from a2d.runtime.bundle.staging import Staging

LAYER = 1
"""A sparse one."""


def route(count: int, active: int, **more: Any) -> Route:
    return Route(ExpertShape(count, active, 8, "softmax", normalised=True, **more), 4, 1e-6)


@st.composite
def wishes(draw: st.DrawFn) -> tuple[int, np.ndarray]:
    """Experts, and which ones each row wants, all of a row's different."""
    count, rows = draw(st.integers(1, 12)), draw(st.integers(1, 30))
    active = draw(st.integers(1, count))
    wanted = [draw(st.permutations(range(count)))[:active] for _ in range(rows)]
    return count, np.array(wanted)


@given(wishes())
def test_every_wish_has_a_place_in_a_tile_of_its_expert(case: tuple[int, np.ndarray]) -> None:
    count, wanted = case
    tiles, members, places, real = route(count, wanted.shape[1]).tiled(torch.from_numpy(wanted))
    assert len(set(places.flatten().tolist())) == wanted.size  # no two in one place
    assert (tiles[places // TILE, 0].numpy() == wanted).all()
    assert (members.flatten()[places].numpy() == np.arange(len(wanted))[:, None]).all()
    assert int(real) == sum(-(-n // TILE) for n in np.bincount(wanted.flatten()))  # full tiles, one more for the rest
    assert int(places.max()) < int(real) * TILE <= len(tiles) * TILE


def test_experts_come_from_the_best_groups_and_the_bias_only_chooses() -> None:
    """By hand: group 1 has the single best expert, group 0 the best pair; the bias lifts group 2 above both."""
    scores = torch.tensor([[0.8, 0.7, 0.9, 0.1, 0.2, 0.3]])
    one = route(6, 2, groups=3, active_groups=1)
    assert one._grouped(scores).topk(2)[1].tolist() == [[0, 1]]
    two = Route(
        ExpertShape(6, 2, 8, "sigmoid", normalised=False, groups=3, active_groups=1, bias=True, scale=2.0), 6, 1
    )
    two.router = torch.nn.Parameter(torch.eye(6))
    two.router_bias = torch.nn.Parameter(torch.tensor([0.0, 0, 0, 0, 5, 5]))
    logits = torch.logit(scores)
    wanted, weights = two.choose(logits)
    assert wanted.tolist() == [[5, 4]]
    torch.testing.assert_close(weights, 2 * torch.tensor([[0.3, 0.2]]))


def test_experts_are_stacked_from_single_matrices() -> None:
    tensors = {f"{e}.{half}": torch.randn(3, 5) for e in range(4) for half in "gu"}
    source = Source(tuple(tensors), ((3, 5),) * 8, transpose=True, stack=2)
    made = assemble(source, tensors.__getitem__, torch.float32)
    assert made.shape == stored_shape(source) == (4, 5, 6)
    for e in range(4):
        torch.testing.assert_close(made[e], torch.cat([tensors[f"{e}.g"], tensors[f"{e}.u"]]).T)


def poisoned(bundle: Path, expert: int, path: Path) -> Path:
    """A copy of the backbone in which one expert of LAYER is not a number."""
    path.mkdir()
    graph = onnx.load(bundle / "backbone.fp32.onnx", load_external_data=False).graph
    (weight,) = (t for t in graph.initializer if t.name == f"layers.{LAYER}.experts_gate_up")
    at = {entry.key: entry.value for entry in weight.external_data}
    for file in ("backbone.fp32.onnx", at["location"]):
        shutil.copyfile(bundle / file, path / file)
    data = np.memmap(path / at["location"], np.float32, "r+", int(at["offset"]), tuple(weight.dims))
    data[expert] = np.nan
    data.flush()
    return path / "backbone.fp32.onnx"


@pytest.mark.slow
def test_only_the_experts_that_rows_want_are_touched(family: Callable[[str], Opened], tmp_path: Path) -> None:
    """Were the others multiplied too, and weighted by zero, every poisoned expert would spoil the row."""
    model, runtime = family("llada2_moe")
    backbone = runtime.engine("backbone")
    feeds = {n: np.zeros([1 if s == "rows" else 0 if isinstance(s, str) else s for s in p.shape], p.dtype)
             for n, p in backbone.inputs.items()}  # fmt: skip
    feeds |= {"tokens": np.array([[7]]), "visible": np.ones((1, 1, 1, 1), np.bool_)}
    spoilt = []
    for expert in range(model.config.n_routed_experts):
        engine = load_engine("onnxruntime", poisoned(runtime.bundle.path, expert, tmp_path / str(expert)), threads=1)
        spoilt.append(not np.isfinite(np.asarray(engine.run(feeds)["hidden"])).all())
    assert sum(spoilt) == model.config.num_experts_per_tok


def test_tensorrt_builds_the_loop_over_experts(family: Callable[[str], Opened]) -> None:
    """Ahead of time; nothing here can run what is built."""
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: engines are not built here")
    _, runtime = family("llada2_moe")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    path = runtime.bundle.file(runtime.variant.graphs["backbone"])
    assert parser.parse_from_file(str(path)), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for i in range(network.num_inputs):
        port = network.get_input(i)
        rows = {"visible": (1, 1, 8, 72), "tokens": (1, 8), "positions": (1, 8)}
        shape = rows.get(port.name, tuple(64 if axis < 0 else axis for axis in port.shape))
        profile.set_shape(port.name, *[shape] * 3)
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    assert builder.build_serialized_network(network, config) is not None


@pytest.mark.slow
def test_half_precision_is_exported_and_checked(tmp_path: Path) -> None:
    published.llada2_moe(tmp_path / "checkpoint")
    made = export(Job(tmp_path / "checkpoint", tmp_path / "bundle", precisions("fp16"), quiet=True))
    assert {row.verdict for row in made.variants["fp16"].parity} <= {"PASS", "AMBIGUOUS"}


def test_weights_inside_a_loop_are_widened_where_they_are_looked_up(tmp_path: Path) -> None:
    """How a bf16 export is checked: one expert at a time becomes float32, never the stack."""
    published.sdar_moe(tmp_path / "checkpoint")
    made = plan(Job(tmp_path / "checkpoint", tmp_path / "bundle", precisions("bf16"), quiet=True))
    builder = Builder(made.network, precisions("fp32"), ["backbone"], default_folder())
    with Staging(tmp_path / "bundle") as staging:
        weights = TorchWeightFile.new(precisions("bf16")[0], staging)
        for name, source in made.family.sources.items():
            weights.write(name, assemble(source, made.checkpoint.read, source.dtype(torch.bfloat16)))
        weights.file.close()
        model = weights.link_widened(builder.build("backbone", precisions("fp32")[0]), {})
        looked_up = [
            node for loop in model.graph if loop.op_type == "Loop" for node in loop.attributes["body"].as_graph()
        ]
        assert [node.op_type for node in looked_up].count("Cast") == 2 * made.family.shape.layers
        engine = load_engine("onnxruntime", save_graph(model, "backbone", precisions("fp32")[0], staging), threads=1)
        reference = TorchEngine("backbone", made.network, Weights(made.checkpoint, made.family, torch.bfloat16))
        for case in BACKBONE.cases(made.network, NO_ROWS, 0):
            ours, theirs = (np.asarray(e.run(case.feeds)["hidden"]) for e in (engine, reference))
            np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_what_decides_between_experts_is_never_rounded(tmp_path: Path) -> None:
    """A bias of 4.0 and scores that differ by a thousandth: in bf16 the bias alone errs by more."""
    published.llada2_moe(tmp_path / "checkpoint")
    made = plan(Job(tmp_path / "checkpoint", tmp_path / "bundle", precisions("bf16"), quiet=True))
    exact = {name for name, source in made.family.sources.items() if source.exact}
    assert exact == {f"layers.{i}.router{kind}" for i in (1, 2) for kind in ("", "_bias")}
    parts = trace_spec(ROUTE, made.network, torch.bfloat16).module.named_parameters()
    assert {name: weight.dtype for name, weight in parts} == {
        "mlp_norm": torch.bfloat16, "router": torch.float32, "router_bias": torch.float32
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_experts": 10**9}, "1000000000 experts, expected 1 to 4096"),
        ({"num_experts_per_tok": 0}, "num_experts_per_tok = 0, expected 1 to"),
        ({"num_experts_per_tok": 9}, "num_experts_per_tok = 9, expected no more than topk_group = 2 groups hold"),
        ({"n_group": 5}, "n_group = 5, topk_group = 2, expected groups that divide 16 experts"),
        ({"n_group": 16}, "expected groups of two experts at least, of 16"),
        ({"moe_intermediate_size": 0}, "moe_intermediate_size = 0"),
        ({"score_function": "softmax"}, "score_function = 'softmax', expected 'sigmoid'"),
        ({"num_experts": 12, "n_group": 4}, "extra    model.layers.1.mlp.experts.12.down_proj.weight"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    published.llada2_moe(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(CheckpointError, match=re.escape(message)):
        plan(Job(tmp_path, tmp_path / "bundle"))
