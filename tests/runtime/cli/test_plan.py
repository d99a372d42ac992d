"""Memory of a bundle on a target: the formula against counting, against a real decode, and what `a2d plan` says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import spoken

from a2d.__main__ import main
from a2d.engines.errors import BundleError, RequestError
from a2d.engines.targets import TARGETS
from a2d.runtime.bundle.files import Bundle
from a2d.runtime.bundle.staging import BIG
from a2d.runtime.bundle.weight_index import GraphIndex
from a2d.runtime.deploy.memory_fit import GIB, Question, planned
from a2d.runtime.deploy.memory_model import CPU, estimate, shapes_of
from a2d.runtime.deploy.profiles import Sizes
from a2d.runtime.inputs.crops import Crops

HERE = Path(__file__).parents[1]
ALL = ("backbone", "denoise")


@pytest.fixture
def tiny(golden) -> Bundle:
    return Bundle.open(golden("a2d-qwen3"))


@pytest.fixture
def shapes(tiny):
    return shapes_of(tiny.manifest, tiny.variant("fp32"), ALL)


HALF = replace(CPU, floats=2, computed=2, cache="float16", mapped=False, apart=True)
SIZES = Sizes(context=640, block=8)


def question(bundle: Bundle, target: str, *gib: float) -> Question:
    return Question(bundle, TARGETS[target], tuple(int(size * GIB) for size in gib))


# -- the formula


def test_shapes_are_those_of_the_checkpoint(golden, shapes):
    config = json.loads((HERE.parent / "data/golden/a2d-qwen3/config.json").read_text(encoding="utf-8"))
    assert shapes.query_heads == config["num_attention_heads"]
    assert shapes.widest == max(2 * config["intermediate_size"], shapes.projected)


def test_an_index_without_the_tensors_that_tell_widths_is_refused(tiny):
    variant = tiny.variant("fp32")
    tensors = {name: at for name, at in variant.index["backbone"].tensors.items() if name != "layers.0.qkv"}
    unnamed = replace(variant, index=variant.index | {"backbone": GraphIndex(tensors)})
    with pytest.raises(
        BundleError, match=r"backbone\.fp32\.onnx holds no matrix layers\.0\.qkv.*Export the checkpoint"
    ):
        shapes_of(tiny.manifest, unnamed, ALL)


def test_weights_are_the_files(tiny, shapes):
    whole = estimate(tiny.manifest, shapes, SIZES, replace(CPU, floats=None, mapped=False)).weights
    table = tiny.manifest.model.vocab * tiny.manifest.model.hidden * 4
    padding = sum(
        BIG for tensors in shapes.tensors.values() for t in tensors.values() if t.bytes >= BIG
    )  # where pages begin
    held = tiny.variant("fp32").weights_bytes
    assert held - padding - table <= sum(whole.values()) - table <= held + 4096  # a tied table is in both graphs
    mapped = estimate(tiny.manifest, shapes, SIZES, CPU).weights
    assert whole["backbone"] - mapped["backbone"] == table and whole["denoise"] == mapped["denoise"]


def test_the_cache_is_what_a_session_takes(tiny, shapes):
    m = tiny.manifest.model
    made = estimate(tiny.manifest, shapes, SIZES, CPU)
    assert made.cache == 2 * m.layers * m.kv_heads * m.head_dim * 640 * 4
    assert made.cache_per_1k == 2 * m.layers * m.kv_heads * m.head_dim * 1000 * 4


def test_half_precision_is_half_of_it(tiny, shapes):
    full = estimate(tiny.manifest, shapes, SIZES, replace(CPU, mapped=False))
    half = estimate(tiny.manifest, shapes, SIZES, HALF)
    assert 2 * half.cache == full.cache
    assert 2 * half.weights["denoise"] == full.weights["denoise"]
    assert half.total < full.total


def test_a_longer_context_takes_more_and_only_where_it_is_read(tiny, shapes):
    short, long = (estimate(tiny.manifest, shapes, replace(SIZES, context=c), CPU) for c in (640, 6400))
    assert long.cache == 10 * short.cache
    assert long.activations["backbone"] > short.activations["backbone"]
    assert long.activations["denoise"] == short.activations["denoise"]
    assert long.weights == short.weights


def test_a_card_has_its_memory_to_itself(tiny, shapes):
    apart, together = (estimate(tiny.manifest, shapes, SIZES, replace(HALF, apart=a)) for a in (True, False))
    assert together.total - apart.total == together.process
    assert (apart.peak, together.peak) == (apart.total, together.total + together.load)


def test_a_picture_takes_what_its_size_says(slate):
    bundle = Bundle.open(slate)
    manifest = bundle.manifest
    held = shapes_of(manifest, bundle.variant("fp32"), (*ALL, "vision"))
    spec = manifest.vision

    def taken(**changes) -> int:
        return estimate(spoken(manifest, vision=replace(spec, **changes)), held, SIZES, CPU).activations["vision"]

    boxed = taken()
    assert taken(letterbox=None, max_pixels=1_000_000) > 40 * boxed  # every patch sees every patch
    assert taken(letterbox=None, crops=Crops(112, ((112, 224),), 4), max_pixels=1_000_000) < boxed  # one at a time


# -- the formula against ONNX Runtime


def test_sessions_have_a_cache_each_and_share_the_weights(tiny, shapes):
    """Packed ones stand in one pool, and one more while it moves in; engines that were built have a cache each."""
    one, four = (estimate(tiny.manifest, shapes, replace(SIZES, sessions=n), CPU) for n in (1, 4))
    layers = tiny.manifest.model.layers
    assert four.cache == 5 * one.cache + 4 * one.cache // (2 * layers) and four.weights == one.weights
    assert four.activations["denoise"] == 4 * one.activations["denoise"]
    built = estimate(tiny.manifest, shapes, replace(SIZES, sessions=4), HALF)
    alone = estimate(tiny.manifest, shapes, SIZES, HALF)
    assert built.cache == 4 * alone.cache and built.activations == alone.activations


def test_fewer_sessions_are_proposed_where_they_fit(tiny, capsys):
    wide = planned(question(tiny, "cpu", 0.01), context=256, sessions=8)
    assert not wide.fits
    one = planned(question(tiny, "cpu", 1), context=256, sessions=2).estimate.peak / 0.75 / GIB
    assert "[sessions=2]" in planned(question(tiny, "cpu", one * 1.0001), context=256, sessions=64).lower
    assert main(["plan", str(tiny.path), "--target", "cpu", "--sessions", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sizes"]["sessions"] == 3
    assert main(["plan", str(tiny.path), "--target", "cpu", "--sessions", "0"]) == 2
    assert "sessions: got 0, expected 1 to 1024" in capsys.readouterr().err


def measured(*arguments: object) -> int:
    command = [sys.executable, str(HERE.parent / "decode_memory.py"), *map(str, arguments)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


linux = pytest.mark.skipif(sys.platform != "linux", reason="peak resident memory is compared on Linux alone")


@linux
def test_a_small_bundle_takes_about_what_is_planned(slate):
    frame = HERE.parent.parent / "examples/slate/frames/easy-01.png"
    plan = planned(question(Bundle.open(slate), "cpu", 1), context=192)
    assert plan.estimate.peak / measured(slate, "fp32", 0, frame) == pytest.approx(0.95, abs=0.2)


@linux
@pytest.mark.slow
def test_a_large_bundle_takes_about_what_is_planned(large):
    bundle = Bundle.open(large)
    table = 4 * bundle.manifest.model.vocab * bundle.manifest.model.hidden  # mapped: as much of it as the system likes
    plan = planned(question(bundle, "cpu", 1), context=2088)
    taken = measured(bundle.path, "fp32", 2048)
    assert 0.88 * plan.estimate.peak <= taken <= 1.12 * (plan.estimate.peak + table)
    plan = planned(question(bundle, "cpu", 1), context=552, sessions=8)
    taken = measured(bundle.path, "fp32", "512x8")
    assert 0.85 * plan.estimate.peak <= taken <= 1.15 * (plan.estimate.peak + table)


# -- whether it fits


def test_what_fits_and_what_does_not(tiny):
    plan = planned(question(tiny, "jetson-orin", 8, 0.01, 4))
    assert [memory.fits for memory in plan.memories] == [False, True, True]
    assert plan.fits and plan.lower
    assert planned(question(tiny, "jetson-orin", 8)).lower == ()


def test_what_to_lower_is_what_then_fits(tiny):
    whole = planned(question(tiny, "rtx", 8), precision="fp32")
    just = whole.estimate.peak / GIB  # with the share that is planned with, a little too small
    plan = planned(question(tiny, "rtx", just), precision="fp32")
    assert not plan.fits
    context = int(next(line for line in plan.lower if line.startswith("[context=")).strip("[]").split("=")[1])
    assert planned(question(tiny, "rtx", just), precision="fp32", context=context).fits
    assert "[precision=fp16]" in plan.lower
    assert any(line.startswith("[precision=int8], after a2d calibrate") for line in plan.lower)


def test_nothing_to_lower_says_so(tiny):
    plan = planned(question(tiny, "rtx", 1e-4))
    assert plan.lower == ("neither a shorter context nor a lighter precision: a smaller model",)


@pytest.mark.parametrize(("target", "precision"), [("cpu", "fp32"), ("rtx", "fp16"), ("jetson-thor", "fp16")])
def test_the_default_precision_is_what_can_be_had_now(tiny, target, precision):
    plan = planned(question(tiny, target, 8))
    assert (plan.precision, plan.variant, plan.to_be_made) == (precision, "fp32", False)


def test_a_precision_that_is_yet_to_be_made_is_estimated(tiny):
    plan, half = (planned(question(tiny, "jetson-thor", 8), precision=p) for p in ("fp8", "fp16"))
    assert plan.to_be_made and plan.variant == "fp32"
    assert sum(plan.estimate.weights.values()) < 0.6 * sum(half.estimate.weights.values())


def test_illegal_precisions_and_sizes_are_refused(tiny):
    with pytest.raises(RequestError, match=r"cannot run fp8.*nearest is \[precision=int8\]"):
        planned(question(tiny, "jetson-orin", 8), precision="fp8")
    with pytest.raises(RequestError, match=r"sm86 .*nearest is \[precision=int8\]"):
        planned(question(tiny, "rtx", 8), precision="fp8", sms=(86,))
    with pytest.raises(RequestError, match=r"context: got 100000000, this model was exported for 1 to"):
        planned(question(tiny, "rtx", 8), context=100_000_000)
    with pytest.raises(RequestError, match="block_size: got 0"):
        planned(question(tiny, "rtx", 8), block=0)
    with pytest.raises(BundleError, match="holds fp32"):
        planned(question(tiny, "cpu", 8), precision="int8")


def test_sampling_counts_its_graph(tiny):
    greedy, drawn = (planned(replace(question(tiny, "rtx", 8), sampling=s)) for s in (False, True))
    assert "sample" not in greedy.estimate.weights and "sample" in drawn.estimate.weights


# -- the command


@pytest.mark.parametrize("target", TARGETS)
def test_json_is_one_object(golden, capsys, target):
    bundle = str(golden("a2d-qwen3"))
    capsys.readouterr()  # the export's words, where this is the first test that asks for it
    assert main(["plan", bundle, "--target", target, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("weights_bytes", "cache_bytes_per_1k_tokens", "activations_bytes", "workspace_bytes", "peak_bytes"):
        assert found[name] > 0, name
    assert found["target"] == target and found["fits"] and len(found["memories"]) >= 1


def test_the_table_and_the_status(golden, capsys):
    path = str(golden("a2d-qwen3"))
    assert main(["plan", path, "--target", "jetson-orin"]) == 0
    said = capsys.readouterr().out
    assert "fits in 4, 8, 16, 32, 64 GiB, planning with 75% of it" in said
    assert main(["plan", path, "--target", "jetson-orin", "--memory", "0.01"]) == 1
    said = capsys.readouterr().out
    assert "does not fit in 0.01 GiB" in said and "to make it fit: " in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "toaster"], "got 'toaster', expected one of\n  cpu "),
        (["--target", "rtx", "--precision", "fp7"], "cannot run fp7"),
        (["--target", "rtx", "--memory", "-1"], "--memory: got -1"),
        (["--target", "rtx", "--sm", "many"], "expected compute capabilities like 86,89"),
        (["--target", "rtx", "--sm", "87"], "For sm87 take --target jetson-orin"),
        (["--target", "rtx", "--sm", "0"], "sm: got 0, target 'rtx'"),
        ([], "--target"),
    ],
)
def test_bad_input(golden, capsys, arguments, said):
    assert main(["plan", str(golden("a2d-qwen3")), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_no_bundle_is_bad_input(tmp_path, capsys):
    assert main(["plan", str(tmp_path), "--target", "cpu"]) == 2
    assert "has no manifest.json" in capsys.readouterr().err
