"""TensorRT's copy of a graph: what the passes change, and that it computes the same in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from denoise_feeds import denoise_feeds

from a2d.engines import load_engine
from a2d.engines.errors import EngineError
from a2d.engines.tensorrt.builder.copy import copy_graph
from a2d.engines.tensorrt.builder.fp16_products import halve_products
from a2d.engines.tensorrt.builder.roll_loops import roll

CHANCE = np.random.default_rng(5)
NARROW = ("past_", "new_")


def copied(graph: Path, folder: Path, half: bool, narrow: tuple[str, ...] = ()) -> Path:
    path = folder / "copy.onnx"
    copy_graph(graph, path, half=half, narrow=narrow)
    onnx.checker.check_model(path)
    return path


def run(path: Path, feeds: dict[str, np.ndarray], outputs: list[str] | None = None) -> dict[str, np.ndarray]:
    return load_engine("onnxruntime", path, threads=1).run(feeds, outputs)  # type: ignore[return-value]


def backbone_feeds(kv: str = "float32", rows: int = 8, context: int = 20, layers: int = 2) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(1)
    made = {
        "tokens": chance.integers(5, 150, (1, rows)),
        "positions": np.arange(context, context + rows)[None],
        "visible": np.ones((1, 1, rows, context + rows), np.bool_),
    }
    for i in range(layers):
        for kind in ("key", "value"):
            made[f"past_{kind}_{i}"] = chance.normal(size=(1, 2, context, 16)).astype(kv)
    return made


def sample_feeds(rows: int = 6, top_k: int = 20, top_p: float = 0.9) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(2)
    return denoise_feeds(rows, chance) | {
        "noise": chance.random((1, rows), np.float32),
        "temperature": np.array([0.8], np.float32),
        "top_k": np.array([top_k]),
        "top_p": np.array([top_p], np.float32),
    }


def relative(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got.astype(np.float32) - wanted) / np.linalg.norm(wanted))


def products(graph: ir.Graph) -> list[ir.Node]:
    return [node for node in graph if node.op_type in ("MatMul", "Gemm")]


# -- halves


def test_products_become_float16_and_little_else(floats, tmp_path):
    graph = floats / "backbone.fp32.onnx"
    path = copied(graph, tmp_path, half=True, narrow=NARROW)
    model = ir.load(path)
    assert len(products(model.graph)) == 12
    assert all(v.dtype == ir.DataType.FLOAT16 for node in products(model.graph) for v in node.inputs)
    assert all(n.inputs[0].dtype == ir.DataType.FLOAT for n in model.graph if n.op_type in ("Pow", "Softmax", "Sqrt"))
    stored = [v.const_value for v in model.graph.initializers.values() if v.const_value.size > 64]
    assert {t.dtype for t in stored} == {ir.DataType.FLOAT16} and len(
        stored
    ) == 9  # the table and four products a layer
    kinds = {v.name: v.dtype for v in [*model.graph.inputs, *model.graph.outputs] if "_0" in v.name}
    assert set(kinds.values()) == {ir.DataType.FLOAT16} and len(kinds) == 4
    plain, half = run(graph, backbone_feeds()), run(path, backbone_feeds("float16"))
    assert list(plain) == list(half) and half["hidden"].dtype == np.float32
    assert all(relative(half[name], plain[name]) < 5e-3 for name in plain)
    assert relative(half["hidden"], plain["hidden"]) > 1e-5  # or nothing was halved


def test_the_cache_reaches_its_products_without_a_cast(floats, tmp_path):
    model = ir.load(copied(floats / "backbone.fp32.onnx", tmp_path, half=True, narrow=NARROW))
    past = next(v for v in model.graph.inputs if v.name == "past_value_1")
    (joined,) = past.consumers()
    (product,) = joined.outputs[0].consumers()
    assert (joined.op_type, product.op_type) == ("Concat", "MatMul")


def test_products_of_codes_stay(quantized, tmp_path):
    model = ir.load(copied(quantized / "backbone.int8.onnx", tmp_path, half=True, narrow=NARROW))
    kinds = [node.outputs[0].dtype for node in products(model.graph)]
    whole = ir.load(quantized / "backbone.int8.onnx")
    dequantized = [n for n in products(whole.graph) if all(_codes(v) for v in n.inputs)]
    assert len(dequantized) > 0 and kinds.count(ir.DataType.FLOAT16) == len(kinds) - len(dequantized)


def _codes(value: ir.Value) -> bool:
    producer = value.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def beyond_half(floats: Path) -> ir.Model:
    """The backbone with one weight that float16 cannot hold."""
    model = ir.load(floats / "backbone.fp32.onnx")
    weight = model.graph.initializers["layers.1.down"]
    far = weight.const_value.numpy().copy()
    far[3, 4] = 7e4
    weight.const_value = ir.tensor(far, name="layers.1.down")
    return model


def test_a_weight_beyond_half_precision_is_refused(floats, tmp_path):
    model = beyond_half(floats)
    with pytest.raises(
        EngineError, match=r"layers\.1\.down holds values beyond 65504.*\[precision=bf16\] or \[precision=fp32\]"
    ):
        ir.save(halve_products(model), tmp_path / "g.onnx", external_data="g.data")


def test_products_of_weights_that_are_named_stay_exact(floats, tmp_path):
    model = beyond_half(floats)
    made = halve_products(model, exact=("*.down",)).graph
    downs = [n for n in products(made) if any(v is not None and str(v.name).endswith(".down") for v in n.inputs)]
    assert len(downs) == sum(name.endswith(".down") for name in made.initializers) > 0
    assert {n.outputs[0].dtype for n in downs} == {ir.DataType.FLOAT}
    assert ir.DataType.FLOAT16 in {n.outputs[0].dtype for n in products(made)}


def test_without_halving_everything_stays_exact(floats, tmp_path):
    graph = floats / "backbone.fp32.onnx"
    path = copied(graph, tmp_path, half=False)
    plain, same = run(graph, backbone_feeds()), run(path, backbone_feeds())
    assert all(np.array_equal(plain[name], same[name]) for name in plain)


# -- lookups


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_table_of_codes_is_dequantized_before_it_is_looked_up(quantized, precision, tmp_path):
    graph = quantized / f"backbone.{precision}.onnx"
    path = copied(graph, tmp_path, half=False)
    lookups = [node for node in ir.load(path).graph if node.op_type == "Gather"]
    assert lookups and all(
        n.inputs[0].const_value is None or n.inputs[0].const_value.dtype != ir.DataType.INT8 for n in lookups
    )
    found = [run(p, backbone_feeds(), ["hidden"])["hidden"] for p in (path, graph)]
    assert np.allclose(*found, atol=1e-6)


def test_what_tensorrt_has_no_operators_for_is_refused(quantized, tmp_path):
    with pytest.raises(EngineError, match="TensorRT has no DynamicQuantizeLinear.*take int8, fp8 or fp16"):
        copy_graph(quantized / "denoise.int8-weight.onnx", tmp_path / "g.onnx", half=True)


# -- loops


@pytest.mark.parametrize(("top_k", "top_p"), [(20, 0.9), (0, 1.0), (1, 1.0), (0, 0.3)])
def test_repeated_steps_become_loops_that_compute_the_same_bits(floats, tmp_path, top_k, top_p):
    graph = floats / "sample.fp32.onnx"
    path = copied(graph, tmp_path, half=False)
    before, after = ir.load(graph).graph, ir.load(path).graph
    loops = [node for node in after if node.op_type == "Loop"]
    assert [int(loop.inputs[0].const_value.numpy()) for loop in loops] == [30, 30]
    assert len(after) < len(before) / 4
    feeds = sample_feeds(top_k=top_k, top_p=top_p)
    plain, rolled = run(graph, feeds), run(path, feeds)
    assert all(np.array_equal(plain[name], rolled[name]) for name in plain)


def chain(bodies: list[list[tuple[str, list[str], str]]], outputs: list[str]) -> ir.Model:
    """A graph of steps: `(operator, inputs, output)`, where `<` stands for the step before."""
    rows = []
    for i, body in enumerate(bodies):
        for j, (kind, inputs, output) in enumerate(body):
            named = [v.replace("<", f"{i - 1}.") if i else v.replace("<", "start_") for v in inputs]
            named = [v.replace("=", f"{i}.") for v in named]
            rows.append(onnx.helper.make_node(kind, named, [f"{i}.{output}"], name=f"{i}.node_{j}"))
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n"]) for n in ("start_a", "x", *outputs)]
    graph = onnx.helper.make_graph(rows, "g", ends[:2], ends[2:])
    return ir.from_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10))


STEP = [("Add", ["<a", "x"], "b"), ("Mul", ["=b", "x"], "a")]


def test_a_stretch_needs_three_steps():
    for count, nodes in ((2, ["Add", "Mul"] * 2), (3, ["Loop"]), (5, ["Loop"])):
        model = roll(chain([STEP] * count, [f"{count - 1}.a"]))
        assert [node.op_type for node in model.graph] == nodes


def test_a_rolled_chain_computes_the_same(tmp_path):
    given = {"start_a": np.array([1, 2], np.float32), "x": np.array([0.5, 3], np.float32)}
    found = []
    for name, change in (("plain", lambda m: m), ("rolled", roll)):
        ir.save(change(chain([STEP] * 4, ["3.a"])), tmp_path / f"{name}.onnx")
        found.append(next(iter(run(tmp_path / f"{name}.onnx", given).values())))
    assert np.array_equal(*found)


def test_steps_that_are_looked_into_from_outside_stay():
    model = roll(chain([STEP] * 4, ["3.a", "1.b"]))
    assert "Loop" not in [node.op_type for node in model.graph]


def test_a_step_that_does_something_else_ends_a_stretch():
    other = [("Add", ["<a", "x"], "b"), ("Mul", ["=b", "=b"], "a")]
    model = roll(chain([STEP] * 3 + [other] + [STEP] * 2, ["5.a"]))
    assert [node.op_type for node in model.graph] == ["Loop", "Add", "Mul", "Add", "Mul", "Add", "Mul"]
