"""Quantized graphs: what is in them, what they compute, and that TensorRT-RTX builds them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from cpus.played import PLAYED, ask
from cpus.probe import feeds

import a2d
from a2d.calibration.collect.taps import tap
from a2d.calibration.source.products import points
from a2d.calibration.source.smoothquant import Smoothed, factors
from a2d.calibration.source.source import Source
from a2d.engines import cpu, load_engine
from a2d.runtime.bundle.files import Bundle

GRAPHS = ("backbone", "denoise", "sample")
PRECISIONS = ("int8", "int8-avx2", "fp8", "int8-weight", "int4-weight", "int4-int8", "int4")
CHANCE = np.random.default_rng(0)


def relative(got, wanted) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def model_of(bundle: Path, graph: str, precision: str) -> ir.Model:
    return ir.load(bundle / f"{graph}.{precision}.onnx")


def initial(model: ir.Model, name: str) -> np.ndarray:
    return model.graph.initializers[name].const_value.numpy()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_every_graph_passes_the_checker_with_its_files(quantized, graph, precision):
    onnx.checker.check_model(quantized / f"{graph}.{precision}.onnx", full_check=True)


ERRORS = {"fp32": 0.0, "int8": 0.15, "int8-avx2": 0.17, "fp8": 0.45, "int8-weight": 0.1, "int4-weight": 0.8}
"""Relative error at most, as far as a random network with sharp attention lets it: that one makes ten times as much of
every error."""


@pytest.mark.parametrize("precision", ERRORS)
def test_the_backbone_computes_about_the_same(floats, quantized, precision):
    given = feeds()
    wanted = load_engine("onnxruntime", floats / "backbone.fp32.onnx").run(given, ["hidden"])["hidden"]
    got = load_engine("onnxruntime", quantized / f"backbone.{precision}.onnx", precision=precision).run(given)["hidden"]
    assert relative(got, wanted) <= ERRORS[precision]


def on_kind(kind: str, floats: Path, quantized: Path, *flags: str) -> dict[str, float]:
    """Errors of the backbone by precision on a kind of processor."""
    found = ask(kind, "probe.py", floats, quantized, *flags)
    if found is None:
        pytest.skip(f"nothing here plays {kind}: CPUID does not fault or there is no C compiler; and no qemu-x86_64")
    errors: dict[str, float] = found["errors"]
    return errors


@pytest.mark.parametrize("kind", PLAYED)
def test_the_backbone_computes_about_the_same_on_every_processor(floats, quantized, kind):
    found = on_kind(kind, floats, quantized)
    assert {precision: error for precision, error in found.items() if error > ERRORS[precision]} == {}


def test_int8_is_beyond_its_error_where_products_saturate(floats, quantized):
    """The planted fault of the test above: AVX2 without its option."""
    assert on_kind("AVX2", floats, quantized, "--plain")["int8"] > ERRORS["int8"]


def test_products_of_int8_are_int8_in_the_engine(quantized):
    """Without spelled-out zero points ONNX Runtime would leave them in float, 15 times slower."""
    import onnxruntime as ort

    options, out = ort.SessionOptions(), quantized / "optimized.onnx"
    options.optimized_model_filepath, options.log_severity_level = str(out), 3
    ort.InferenceSession(str(quantized / "backbone.int8.onnx"), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(str(out), load_external_data=False).graph.node)
    out.unlink()
    whole = kinds["MatMulIntegerToFloat"] + kinds["MatMulNBits"]
    assert whole == 8 and kinds["MatMul"] + kinds["FusedMatMul"] == 4  # the latter are attention's


def test_tied_tables_are_stored_once_and_the_file_is_small(floats, quantized):
    manifest = Bundle.open(quantized).manifest
    table = model_of(quantized, "backbone", "int8").graph.initializers["embedding.codes"].const_value
    head = model_of(quantized, "denoise", "int8").graph.initializers["lm_head.codes"].const_value
    assert (table.offset, table.length) == (head.offset, head.length) == (head.offset, 160 * 64)
    wide = manifest.variants["fp32"].weights_bytes
    assert manifest.variants["int8"].weights_bytes <= 0.35 * wide
    assert manifest.variants["int4-weight"].weights_bytes < manifest.variants["int8"].weights_bytes


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_zero_points_are_zero_and_signed(quantized, precision):
    graph = model_of(quantized, "backbone", precision).graph
    zeros = [value.const_value for name, value in graph.initializers.items() if name.endswith("zero")]
    assert zeros and all(not np.asarray(z.numpy(), np.float32).any() for z in zeros)
    assert {z.dtype for z in zeros} <= {ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN}


def test_fp8_is_a_torch_float8_reference_to_rounding(tiny_checkpoint, floats, quantized, monkeypatch):
    """The same layers in torch, its own float8 cast around every product: independent of our numbers and our graph."""
    import torch

    from a2d.export.checkpoint.directory import Checkpoint
    from a2d.export.families import describe
    from a2d.export.graphs import backbone
    from a2d.export.graphs.shapes import Network
    from a2d.export.parity.torch_engine import TorchEngine, Weights

    graph, given = model_of(quantized, "backbone", "fp8"), feeds()
    names = [point.name for point in points(model_of(floats, "backbone", "fp32").graph)]
    scales = iter([float(initial(graph, f"{name}.input_scale")) for name in names])

    def rounded(x: torch.Tensor, scale: torch.Tensor | float) -> torch.Tensor:
        return (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale

    def affine(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        made = rounded(x, next(scales)) @ rounded(weight, weight.abs().amax(0) / 448)
        return made if bias is None else made + bias

    monkeypatch.setattr(backbone, "affine", affine)
    checkpoint = Checkpoint.open(tiny_checkpoint)
    family = describe(checkpoint)
    network = Network(family.shape)
    reference = TorchEngine("backbone", network, Weights(checkpoint, family, torch.float32))
    wanted = reference.run(given, ["hidden"])["hidden"]
    got = load_engine("onnxruntime", quantized / "backbone.fp8.onnx", precision="fp8").run(given, ["hidden"])["hidden"]
    assert relative(got, wanted) < 2e-3, relative(got, wanted)  # quantization itself: 3e-2 and more
    assert np.median(np.abs(got - wanted)) < 1e-5


def test_smoothing_changes_no_product(floats):
    source = Source(floats, {g: f"{g}.fp32.onnx" for g in ("backbone", "denoise")})
    channels = {
        name: np.abs(CHANCE.normal(0, 3, source.matrix(name).shape[0])).astype(np.float32) for name in source.tables
    }
    found = factors(source, channels, 0.5)
    assert set(found) == {f"layers.{i}.{kind}" for i in range(2) for kind in ("qkv", "gate_up", "down")}
    made = Smoothed(source, found)
    x = CHANCE.normal(size=(3, 64)).astype(np.float32)
    for product, norm in (("qkv", "attention_norm"), ("gate_up", "mlp_norm")):
        before, after = ((x * w.weight(f"layers.1.{norm}")) @ w.weight(f"layers.1.{product}") for w in (source, made))
        if product == "gate_up":  # its second half also hands on what `down` was multiplied by
            after = after * np.concatenate([np.ones(96), found["layers.1.down"]])
        assert relative(after, before) < 1e-5
    gate, up = np.split(x @ source.weight("layers.0.gate_up"), 2, 1)
    gate2, up2 = np.split((x / found["layers.0.gate_up"]) @ made.weight("layers.0.gate_up"), 2, 1)
    before, after = (g * u @ w.weight("layers.0.down") for g, u, w in ((gate, up, source), (gate2, up2, made)))
    assert relative(after, before) < 1e-5


def test_smoothing_strength_zero_and_dead_channels(floats):
    source = Source(floats, {"backbone": "backbone.fp32.onnx"})
    assert factors(source, {}, 0.0) == {}
    channels = {"layers.0.qkv": np.zeros(64, np.float32)}
    assert factors(source, channels, 0.5)["layers.0.qkv"].tolist() == [1.0] * 64


def test_taps_show_what_goes_into_products_and_change_nothing(floats):
    source, target = floats / "backbone.fp32.onnx", floats / "tapped.onnx"
    taps = tap(Source(floats, {"backbone": source.name}), "backbone", target)
    given = feeds()
    plain, tapped = (load_engine("onnxruntime", path).run(given) for path in (source, target))
    target.unlink()
    assert sorted(taps.values()) == sorted(p.name for p in points(ir.load(source).graph))
    assert np.allclose(plain["hidden"], tapped["hidden"], atol=1e-6) and set(taps) <= set(tapped)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_decodes(quantized, precision):
    model = a2d.load(quantized, precision=precision, threads=1)
    assert model.generate([5, 6, 7], max_tokens=16, steps=2).tokens
    assert model.generate([5, 6, 7], max_tokens=8, temperature=1.0).forwards > 0


def test_loading_a_precision_that_is_slow_on_this_processor_warns(quantized, monkeypatch, caplog):
    monkeypatch.setattr(cpu, "this_cpu", lambda: next(kind for kind in cpu.KINDS if kind.name == "SSE4"))
    a2d.load(quantized, precision="int8", threads=1)
    assert caplog.records == []
    a2d.load(quantized, precision="int8-weight", threads=1)
    (said,) = caplog.records
    assert (said.name, said.levelname) == ("a2d", "WARNING") and "take int8 here" in said.getMessage()


def test_zero_points_of_groups_are_the_same_bytes_for_matrices_of_one_shape(quantized):
    graph = model_of(quantized, "backbone", "int8-weight").graph
    zeros = [value.const_value for name, value in graph.initializers.items() if name.endswith(".zero")]
    places = {(tuple(zero.shape), zero.offset) for zero in zeros if isinstance(zero, ir.ExternalTensor)}
    assert len(places) == len({shape for shape, _ in places}) < len(zeros)
    assert not any(np.asarray(zero.numpy()).any() for zero in zeros)
