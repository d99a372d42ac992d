"""Calibration from bundle to bundle: what is recorded, resumed, found again, refused, and never left half done."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from calibration_helpers import OPTIONS

import a2d
from a2d.calibration import job as job_module
from a2d.calibration.collect import recording as record_module
from a2d.calibration.collect.recording import Recording
from a2d.calibration.job import Job, calibrate
from a2d.calibration.quantize import coded_weights
from a2d.calibration.quantize.recipes import RECIPES, recipes
from a2d.engines import cpu
from a2d.engines.errors import BundleError, NumericsError, RequestError
from a2d.engines.targets import TARGETS, require
from a2d.runtime.bundle.files import Bundle

INT8 = recipes("int8")


@pytest.fixture
def job(floats, data, tmp_path) -> Job:
    return Job(floats, tmp_path / "out.a2d", INT8, data=data, options=OPTIONS, quiet=True)


def remembered(bundle) -> dict:
    return json.loads((bundle / "calibration.json").read_text())


def strata(bundle, layer: str = "layers.0.qkv") -> dict:
    return remembered(bundle)["recording"]["seen"]["0.5"][layer]


def counts(histogram: dict) -> int:
    return sum(histogram["counts"])


def test_the_bundle_is_whole_and_keeps_what_it_had(quantized, floats):
    bundle = Bundle.open(quantized)
    bundle.check()
    assert remembered(quantized)["processor"] == cpu.this_cpu().name
    assert list(bundle.manifest.variants)[:2] == ["fp32", "int8"]
    assert bundle.manifest.variants["fp32"] == Bundle.open(floats).manifest.variants["fp32"]
    assert sorted(path.name for path in quantized.iterdir()) == sorted([*bundle.manifest.files, "manifest.json"])


def test_strata_are_the_rows_of_the_real_loop(quantized, data):
    """Every row that the loop feeds is counted once: 4 steps of 8 rows a block, prompts, and commits."""
    found = strata(quantized)
    assert {"prefill", "commit", "step 0, 4/4 masked, masked", "step 1, 3/4 masked, settled"} <= set(found)
    model = a2d.load(quantized, precision="fp32", threads=1)
    prompts = [json.loads(line)["tokens"] for line in data.read_text().splitlines()]
    committed = denoised = 0
    for tokens in prompts:
        steps = list(model.stream(tokens, options=OPTIONS))
        denoised += sum(len(step.tokens) for step in steps)
        committed += sum(len(step.tokens) - step.prompt for step in steps if step.final) - len(
            [s for s in steps if s.final][-1].tokens
        )
    noisy = sum(counts(h) for name, h in found.items() if name.startswith("step")) / 64
    assert noisy == denoised
    # The prompt's tail stands in the first block, and is committed with it.
    tails = sum(len(tokens) % 8 for tokens in prompts)
    assert counts(found["prefill"]) / 64 == sum(map(len, prompts))
    assert counts(found["commit"]) / 64 == committed or counts(found["commit"]) / 64 == committed + tails


def test_every_layer_says_what_each_stratum_asked_for(quantized):
    layers = remembered(quantized)["recipes"]["int8"]["layers"]
    assert [y["error"] for y in layers] == sorted((y["error"] for y in layers), reverse=True)
    qkv = next(y for y in layers if y["layer"] == "layers.1.qkv")
    assert set(qkv["asked"]) == set(strata(quantized)) and all(v > 0 for v in qkv["asked"].values())
    assert all(0 < error < 1 for error in qkv["errors"].values())


def test_every_matrix_is_quantized_once_and_a_relieved_one_in_its_other_form(job, monkeypatch):
    code, made = coded_weights.code, []

    def counted(matrix, *form):
        made.append(matrix.shape)
        return code(matrix, *form)

    monkeypatch.setattr(coded_weights, "code", counted)
    calibrate(job)
    layers = remembered(job.output)["recipes"]["int8"]["layers"]
    assert len(made) == len(layers) + sum(layer["form"] == "relief" for layer in layers)
    assert made.count((160, 64)) == 1  # the vocabulary's table: looked up, and multiplied by in two graphs


def test_an_interrupted_calibration_goes_on_and_ends_alike(job, monkeypatch, tmp_path):
    whole = replace(job, output=tmp_path / "whole.a2d")
    calibrate(whole)
    decode, seen = record_module.decode, []

    def interrupted(model, sample, options, observer):
        seen.append(sample.name)
        if len(seen) == 5:  # one to learn the channels' ranges, then the fourth sample
            raise KeyboardInterrupt
        return decode(model, sample, options, observer)

    monkeypatch.setattr(record_module, "decode", interrupted)
    monkeypatch.setattr(record_module, "SAVE_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        calibrate(job)
    left = [path.name for path in tmp_path.iterdir() if path != whole.output]
    assert left == [".out.a2d.recording.json"]
    said: list[str] = []
    calibrate(job, said.append)
    assert "going on after 3 of 6 samples" in said and seen[5:] == seen[4:5] + seen[6:]
    assert not (tmp_path / ".out.a2d.recording.json").exists()
    assert (job.output / "weights.int8.data").read_bytes() == (whole.output / "weights.int8.data").read_bytes()
    assert remembered(job.output)["recipes"] == remembered(whole.output)["recipes"]


def test_what_was_recorded_with_other_data_is_not_taken(job, tmp_path):
    kept = tmp_path / ".out.a2d.recording.json"
    kept.write_text(Recording("another", samples=6).dumps())
    said: list[str] = []
    calibrate(job, said.append)
    assert not any(line.startswith("going on") for line in said)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 1}', '{"version": 1, "key": "x", "samples": "y"}']
)
def test_a_damaged_recording_is_none(text):
    assert Recording.loads(text) is None


def test_the_same_samples_are_not_recorded_twice(quantized, data, tmp_path, monkeypatch):
    wanted = recipes("int8,fp8")
    monkeypatch.setattr(record_module, "decode", lambda *_: pytest.fail("recorded again"))
    said: list[str] = []
    again = Job(quantized, tmp_path / "again.a2d", wanted, data=data, options=OPTIONS, quiet=True, force=True)
    calibrate(again, said.append)
    assert any("nothing is recorded anew" in line for line in said)
    assert (tmp_path / "again.a2d" / "weights.int8.data").read_bytes() == (quantized / "weights.int8.data").read_bytes()


def test_a_precision_that_is_slow_on_this_processor_is_told_with_a_faster_one(floats, tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "this_cpu", lambda: next(kind for kind in cpu.KINDS if kind.name == "SSE4"))
    said: list[str] = []
    calibrate(Job(floats, tmp_path / "out.a2d", recipes("int4-weight"), quiet=True), said.append)
    assert [line for line in said if line.startswith("warning: int4-weight: ") and "take int8 here" in line]


def test_samples_that_do_not_fit_are_left_out_and_named(job, tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"tokens": [5, 6, 7]}\n' + json.dumps({"tokens": [5] * 500}) + "\n")
    said: list[str] = []
    calibrate(replace(job, data=path), said.append)
    assert any("1 samples do not fit the context and were left out: d.jsonl:2 (500 rows)" in line for line in said)
    path.write_text(json.dumps({"tokens": [5] * 500}) + "\n")
    with pytest.raises(RequestError, match="none of the 1 samples fits the context of 128 rows"):
        calibrate(replace(job, data=path, output=tmp_path / "none.a2d"))
    assert not (tmp_path / "none.a2d").exists()


def test_no_data_is_told_with_its_setting(job):
    said: list[str] = []
    calibrate(replace(job, data=None, samples=3), said.append)
    assert said[0].startswith("warning: no samples were named; 3 built-in samples")
    assert said[0].endswith("Better: [data=FILE.jsonl], or [data=FOLDER prompt=TEXT]")


def with_weight(floats, folder, name: str, value: float):
    """A copy of the bundle with one tensor filled, its manifest in order."""
    from a2d.calibration.source.source import Source
    from a2d.runtime.bundle.files import sha256_of
    from a2d.runtime.bundle.manifest import FileRecord

    copy = folder / "changed.a2d"
    shutil.copytree(floats, copy)
    tensor = Source(copy, {"backbone": "backbone.fp32.onnx"}).tensors[name]
    file = copy / "weights.fp32.data"
    raw = bytearray(file.read_bytes())
    array = np.frombuffer(raw, np.float32, tensor.size, tensor.offset)
    array[:] = value if value else 0.0
    file.write_bytes(raw)
    manifest = Bundle.open(copy).manifest
    files = manifest.files | {file.name: FileRecord(file.stat().st_size, sha256_of(file))}
    (copy / "manifest.json").write_text(replace(manifest, files=files).dumps())
    return copy


def test_an_activation_that_is_always_zero_is_no_trouble(job, floats, tmp_path):
    calibrate(replace(job, bundle=with_weight(floats, tmp_path, "layers.0.attention_norm", 0.0)))
    model = a2d.load(job.output, precision="int8", threads=1)
    assert model.generate([5, 6, 7], options=OPTIONS).forwards > 0
    layers = {y["layer"]: y for y in remembered(job.output)["recipes"]["int8"]["layers"]}
    assert layers["layers.0.qkv"]["limit"] == 0.0


def test_an_activation_that_is_not_finite_names_layer_and_sample(job, floats, tmp_path):
    broken = with_weight(floats, tmp_path, "layers.1.mlp_norm", float("nan"))
    with pytest.raises(NumericsError, match=r"input of layers\.1\.gate_up: .* in sample 'data\.jsonl:1'"):
        calibrate(replace(job, bundle=broken))
    assert not job.output.exists()


def test_an_outlier_of_a_million_leaves_the_others_alone(job, floats, tmp_path):
    """One channel of one norm is a million: smoothing and a clipping merge keep the rest readable."""
    source = with_weight(floats, tmp_path, "layers.0.mlp_norm", 1e6)
    calibrate(replace(job, bundle=source))
    assert a2d.load(job.output, precision="int8", threads=1).generate([5, 6, 7], options=OPTIONS).forwards > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merge": "mean"}, "the setting merge: got 'mean', expected one of\n  absmax"),
        ({"strata": "some"}, "the setting strata: got 'some'"),
        ({"target": "tpu"}, "target: got 'tpu', expected one of\n  cpu"),
        ({"target": "jetson-orin", "recipes": recipes("fp8")}, "cannot run fp8: .*nearest is .precision=int8"),
        ({"target": "jetson-orin", "recipes": recipes("int4-weight")}, "nearest is .precision=int8"),
        ({"samples": 0}, "the setting samples: got 0"),
    ],
)  # fmt: skip
def test_bad_wishes_are_refused_before_anything_is_computed(job, monkeypatch, changes, message):
    monkeypatch.setattr(job_module, "Staging", lambda *_: pytest.fail("began to write"))
    with pytest.raises(RequestError, match=message):
        calibrate(replace(job, **changes))


def test_a_bundle_without_fp32_is_refused(job, quantized, tmp_path):
    bundle = Bundle.open(quantized)
    copy = tmp_path / "int8.a2d"
    shutil.copytree(quantized, copy)
    only = {"int8": bundle.manifest.variants["int8"]}
    (copy / "manifest.json").write_text(replace(bundle.manifest, variants=only).dumps())
    with pytest.raises(BundleError, match="holds int8; calibration decodes in fp32"):
        calibrate(replace(job, bundle=copy))


def test_the_table_of_recipes_is_printed_for_an_unknown_name():
    with pytest.raises(RequestError, match="(?s)got 'int9'.*int8 .*fp8 .*int4-weight"):
        recipes("int9")
    assert [r.name for r in recipes("fp8, int8")] == ["fp8", "int8"]


def test_every_recipe_can_run_somewhere_and_targets_name_known_precisions():
    known = {*RECIPES, "fp32", "fp16", "bf16"}
    for target in TARGETS.values():
        assert {*target.precisions, *target.emulated} <= known
    assert all(require("cpu", name) for name in RECIPES)


def test_calibration_on_the_prompt_alone_sees_less(job, quantized):
    calibrate(replace(job, strata="prefill"))
    layers = {y["layer"]: y for y in remembered(job.output)["recipes"]["int8"]["layers"]}
    assert set(layers["layers.0.qkv"]["asked"]) == {"prefill"}
