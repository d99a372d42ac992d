"""Plans, engines and measurements of bundles of two towers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from towers_shapes import STATES, write

from a2d.__main__ import main
from a2d.engines.size_profile import fitting
from a2d.engines.targets import TARGETS
from a2d.runtime.bundle.files import Bundle
from a2d.runtime.deploy.engine_set import engine_sets
from a2d.runtime.deploy.towers_profiles import towers_profiles, towers_sizes
from a2d.runtime.film.film import Film
from a2d.runtime.load import load
from a2d.runtime.model import Model


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    status = main([*map(str, arguments), "--json"])
    assert status == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("plan") / "edge.a2d")


def test_a_plan_of_the_published_sizes_is_what_is_counted_by_hand(shapes, capsys):
    """121 frames of 480x832 are 31 latent frames of 15 x 26 rows of 2048; two prompts, 8 heads of 128 in 28 layers."""
    asked = ["plan", shapes, "--target", "rtx", "--precision", "fp16"]
    rows, row = 31 * 390, 2 * 28 * 8 * 128 * 2
    for words in (64, 1700):
        found = told(capsys, *asked, "--context", words)
        assert found["prompts_bytes"] == 2 * words * row
        assert found["scores_bytes"] == 2 * 16 * rows * (rows + words) * 2
        assert found["peak_bytes"] == max(found[f"{stage}_bytes"] for stage in ("reading", "denoising", "pixels"))
    held = found["weights_bytes"]
    assert held["velocity"] == 2 * (2 * 192 * 2048 + 28 * (2048 * 4096 + 2048 * 2048 + 2 * 2048 * 9216))
    assert held["backbone"] + held["encode_first"] < found["reading_bytes"] < found["resident_bytes"]
    assert found["denoising_bytes"] < held["velocity"] + 2e9 and found["scores_counted"] is False
    assert found["pixels_bytes"] < found["resident_bytes"] - held["velocity"] - held["backbone"]
    assert found["states_bytes"] == 2 * 2 * sum(c * 2 * (30 * k) * (52 * k) for c, k in STATES)
    half = told(capsys, *asked, "--precision", "int8")
    assert half["to_be_made"] and 2 * half["weights_bytes"]["velocity"] == held["velocity"]


@pytest.mark.parametrize("target", ["rtx", "jetson-orin", "jetson-thor"])
def test_a_plan_says_which_memories_it_fits_and_what_to_lower(shapes, capsys, target):
    status = main(["plan", str(shapes), "--target", target, "--precision", "fp16", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [m["bytes"] >> 30 for m in found["memories"]] == sorted(TARGETS[target].memories)
    assert all(m["fits"] == (found["peak_bytes"] <= m["usable_bytes"]) for m in found["memories"])
    assert status == 0 and bool(found["lower"]) == (not all(m["fits"] for m in found["memories"]))
    assert main(["plan", str(shapes), "--target", target, "--memory", "0.1"]) == 1
    assert "none of --size 240x416 or --preset draft or --frames 57 by itself" in capsys.readouterr().out


def test_a_cpu_holds_no_scores_and_the_pixels_of_some_frames(shapes, tmp_path, capsys):
    """Scores of 16 heads: 21 GB in float32 at 12,090 rows behind 1700 tokens, if they are products in the graph."""
    asked = ["--target", "cpu", "--precision", "fp16", "--context", "1700"]
    one, products = shapes, write(tmp_path / "products.a2d", fused=False)
    for bundle, counted in ((one, False), (products, True)):
        found = told(capsys, "plan", bundle, *asked, "--memory", "96")
        assert found["scores_counted"] is counted and found["scores_bytes"] == 2 * 16 * 12090 * (12090 + 1700) * 4
        assert (found["denoising_bytes"] > found["scores_bytes"]) == counted
    assert found["clip_bytes"] == 13 * 3 * 16 * 480 * 832, "of 4 latent frames, whatever the clip's length"
    assert told(capsys, "plan", one, *asked, "--memory", "16", "--preset", "draft")["clip"]["height"] == 192
    assert main(["plan", str(one), *asked, "--memory", "16"]) == 1
    assert "does not fit in 16 GiB" in (said := capsys.readouterr().out) and "--preset draft" in said
    assert main(["plan", str(products), *asked, "--memory", "48"]) == 1
    assert "another export of the checkpoint holds none" in capsys.readouterr().out


def test_a_prompt_that_is_too_long_for_the_network_is_refused(shapes, capsys):
    assert main(["plan", str(shapes), "--target", "rtx", "--context", "5000"]) == 2
    assert "expected 1 to 4096" in capsys.readouterr().err


def test_the_tower_that_reads_is_gone_before_the_other_is_loaded(towers_bundle):
    model = load(towers_bundle)
    film = model.film("a red ball", frames=5, steps=2)
    assert isinstance(film, Film) and set(held(model)) == {"backbone"}
    for graph in ("backbone", "encode_first"):
        model.unload(graph)
    assert list(held(model)) == []
    next(film)
    assert set(held(model)) == {"velocity", "pixels_first", "pixels_next"}
    assert film.forwards == 4


def test_the_tower_that_denoises_is_gone_before_the_decoder_is_loaded(towers_bundle, tmp_path, monkeypatch):
    loaded: list[set[str]] = []
    engine = Model.engine

    def watched(model: Model, graph: str):
        made = engine(model, graph)
        loaded.append(set(held(model)))
        return made

    monkeypatch.setattr(Model, "engine", watched)
    asked = ["--prompt", "a red ball", "--frames", "5", "--steps", "2", "--latents", str(tmp_path / "a.npy")]
    assert main(["film", str(towers_bundle), *asked]) == 0
    assert {"velocity"} in loaded and {"pixels_first"} in loaded
    assert not any({"velocity", "pixels_first"} <= graphs or {"backbone", "velocity"} <= graphs for graphs in loaded)


def held(model: Model) -> dict[str, object]:
    return model._engines


def test_every_forward_of_both_kinds_fits_a_profile(towers_bundle):
    manifest = Bundle.open(towers_bundle).manifest
    profiles = towers_profiles(manifest, towers_sizes(manifest))
    for frames, words in ((3, 1), (3, 4096), (1, 50)):
        assert fitting(profiles["velocity"], {"rows": frames * 2, "words": words}) is not None
    assert fitting(profiles["velocity"], {"rows": 4, "words": 50}) is None
    for rows, context in ((1, 64), (512, 4096), (128, 512)):
        assert fitting(profiles["backbone"], {"rows": rows, "context": context, "keys": rows + context}) is not None


def test_engines_of_all_graphs_are_built_ahead_and_again_for_another_size(towers_bundle, tmp_path, capsys):
    pytest.importorskip("tensorrt_rtx")
    asked = ["build", str(towers_bundle), "--target", "rtx", "--sm", "89", "--precision", "fp16", "-o", str(tmp_path)]
    assert main([*asked, "--context", "64", "--quiet"]) == 0
    (made,) = engine_sets(tmp_path)
    graphs = Bundle.open(towers_bundle).manifest.variants["fp32"].graphs
    assert {name.removesuffix(".engine") for name in made.record.files if name.endswith(".engine")} == set(graphs)
    assert made.record.kv_dtype == "float16"
    card = json.loads((made.path / "velocity.json").read_text())
    assert card["inputs"]["condition_key_0"]["dtype"] == "float16" and card["inputs"]["rows"]["dtype"] == "float32"
    capsys.readouterr()
    assert main([*asked, "--context", "64"]) == 0
    assert "is there and fits" in capsys.readouterr().out


def test_a_measurement_has_every_part(towers_bundle: Path, capsys):
    found = told(capsys, "bench", towers_bundle, "--frames", "9", "--repeats", "2")
    assert found["forwards"] == 2 * 8 and found["processor"]
    assert found["prefill_ms"] > 0 and found["commit_fps"] is None
    assert 0 < found["end_to_end_fps"] < min(found["denoise_fps"], found["pixels_fps"])
    words = told(capsys, "bench", towers_bundle, "--prompt", "hi", "--max-tokens", "4", "--repeats", "1")
    assert words["tokens"] <= 4
