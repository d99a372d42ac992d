"""Sets of built engines: found, checked before they are touched, refused with the command that mends it, and run.

The library, the driver and the GPU are played (`fake_cuda`); everything of a2d's own is real.
"""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import fake_cuda
import numpy as np
import pytest
from conftest import EXAMPLES

import a2d
from a2d.engines.errors import BundleError, EngineError, RequestError
from a2d.runtime.cli.arguments import worded
from a2d.runtime.deploy import engine_set as built_module
from a2d.runtime.deploy.build import BuildJob, build
from a2d.runtime.deploy.engine_set import RECORD, EngineSet, Platform
from a2d.runtime.deploy.profiles import profiles, sizes

FRAMES = sorted((EXAMPLES / "slate" / "frames").glob("*.png"))[:4]


@pytest.fixture(scope="module")
def bundle(floats, tmp_path_factory) -> Path:
    """A bundle with engines for the imaginary GPU in it."""
    path = tmp_path_factory.mktemp("built") / "tiny.a2d"
    shutil.copytree(floats, path)
    with pytest.MonkeyPatch.context() as patch:
        fake_cuda.install(patch, "tensorrt")
        assert len([*build(BuildJob(path, "tensorrt", precision="fp16", quiet=True))]) == 1
    return path


@pytest.fixture
def mine(bundle, tmp_path) -> Path:
    """A copy to be tampered with."""
    return Path(shutil.copytree(bundle, tmp_path / "tiny.a2d"))


def folder(bundle: Path) -> Path:
    (found,) = (bundle / "engines").glob("tensorrt-*")
    return found


def doctored(bundle: Path, **changes: object) -> None:
    path = folder(bundle) / RECORD
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


# -- found and run


def test_engines_run_the_bundle(floats, tmp_path, monkeypatch):
    fake_cuda.install(monkeypatch, "tensorrt")
    list(build(BuildJob(floats, "tensorrt", precision="fp32", output=tmp_path, quiet=True)))
    model = a2d.load(floats, engines=tmp_path)
    assert (model.placement.engine, model.placement.device, model.placement.precision) == ("tensorrt", "cuda", "fp32")
    assert "Imaginary GPU" in model.engine("backbone").describe
    plain = a2d.load(floats, device="cpu", threads=1)
    for prompt in ([5, 6, 7], list(range(5, 80))):
        assert model.generate(prompt, max_tokens=32).tokens == plain.generate(prompt, max_tokens=32).tokens
    drawn = [m.generate([5, 6], max_tokens=16, temperature=1.0, seed=3).tokens for m in (model, plain)]
    assert drawn[0] == drawn[1]


def waits_per_step(bundle: Path, driver: fake_cuda.Driver, count: int, **options) -> list[int]:
    generation = a2d.load(bundle).stream([5, 6, 7], **options)
    waits = []
    for _ in range(count):
        before = driver.waits
        next(generation)
        waits.append(driver.waits - before)
    return waits[1:]  # the first also loads


def test_a_step_waits_for_the_device_once(bundle, monkeypatch):
    driver = fake_cuda.install(monkeypatch, "tensorrt")
    assert waits_per_step(bundle, driver, 12, max_tokens=32, threshold=0.9, steps=8) == [1] * 11


def test_fixed_steps_wait_when_the_block_is_done(bundle, monkeypatch):
    driver = fake_cuda.install(monkeypatch, "tensorrt")
    asked = []
    run = fake_cuda.Context.execute_async_v3
    monkeypatch.setattr(
        fake_cuda.Context, "execute_async_v3", lambda self, stream: (asked.append(driver.waits), run(self, stream))[1]
    )
    generation = a2d.load(bundle).stream([5, 6, 7], max_tokens=32, steps=4)
    steps = [*itertools.takewhile(lambda step: step.block < 4, generation)]
    assert len(steps) >= 12 and len(asked) >= 2 * len(steps)  # two graphs a step
    assert len(set(asked)) == 5  # and no wait between those of a block: four, and the one that ended it


@pytest.mark.parametrize("name", ["a2d-qwen3", "tail-qwen3"])
@pytest.mark.parametrize(
    "options", [{"steps": 4}, {"steps": 3, "commit": "separate"}, {"steps": 5, "temperature": 0.9}]
)
def test_steps_that_are_issued_ahead_are_those_of_the_loop(golden, name, options, tmp_path, monkeypatch):
    fake_cuda.install(monkeypatch, "tensorrt")
    list(build(BuildJob(golden(name), "tensorrt", precision="fp32", output=tmp_path, quiet=True)))
    ahead, plain = a2d.load(golden(name), engines=tmp_path), a2d.load(golden(name), device="cpu", threads=1)
    for prompt in ([70, 75, 16, 101, 18], list(range(3, 40))):
        found, wanted = ([*model.stream(prompt, max_tokens=40, **options)] for model in (ahead, plain))
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert (a.block, a.index, a.prompt, a.final) == (b.block, b.index, b.prompt, b.final)
            for field in ("tokens", "masked", "accepted"):
                assert np.array_equal(getattr(a, field), getattr(b, field)), field
            assert np.allclose(a.confidence, b.confidence, atol=1e-5) and a.confidence.dtype == b.confidence.dtype


def test_the_slate_reader_reads_alike_on_engines(slate, tmp_path, monkeypatch):
    fake_cuda.install(monkeypatch, "tensorrt_rtx")
    job = BuildJob(slate, "rtx", (89,), "fp16", tmp_path / "engines", quiet=True)
    ((made, cards),) = build(job)
    assert set(cards) == {"backbone", "denoise", "sample", "vision"} and made.record.kv_dtype == "float16"
    model = a2d.load(slate, engine="tensorrt_rtx", engines=tmp_path / "engines")
    plain = a2d.load(slate, device="cpu", threads=1)
    for frame in FRAMES:
        assert model.generate(images=[frame]).text == plain.generate(images=[frame]).text


def test_the_context_is_what_was_built(floats, tmp_path, monkeypatch):
    fake_cuda.install(monkeypatch, "tensorrt")
    place = tmp_path / "engines"
    list(build(BuildJob(floats, "tensorrt", precision="fp16", output=place, context=64, quiet=True)))
    model = a2d.load(floats, engines=place)
    with pytest.raises(a2d.A2DError, match="the context holds 64"):
        model.generate([5] * 64)
    assert model.generate([5] * 40, max_tokens=64).stop_reason in ("context", "stop")


def test_a_machine_without_a_gpu_says_nothing_of_it(bundle, floats, capsys):
    model = a2d.load(floats)
    assert (model.placement.engine, model.placement.device, model.placement.passed_over) == ("onnxruntime", "cpu", ())
    assert capsys.readouterr().err == ""


def test_engines_that_do_not_fit_are_passed_over_with_a_word(mine, monkeypatch):
    fake_cuda.install(monkeypatch, "tensorrt", version="11.5.0")
    model = a2d.load(mine, device=None)
    assert model.placement.engine == "onnxruntime"
    assert "built by tensorrt 11.4.0, here is 11.5.0" in model.placement.passed_over[0]


def test_engines_are_built_where_they_are_missing(floats, tmp_path, monkeypatch):
    fake_cuda.install(monkeypatch, "tensorrt_rtx")
    mine = Path(shutil.copytree(floats, tmp_path / "tiny.a2d"))
    with pytest.raises(EngineError, match=r"no engines of tensorrt_rtx .*; a2d build .*tiny\.a2d \[target=rtx sm=89\]"):
        a2d.load(mine, engine="tensorrt_rtx")
    model = a2d.load(mine, engine="tensorrt_rtx", build="auto")
    assert model.placement.built is not None and model.placement.built.record.sms == (89,)
    assert a2d.load(mine).placement.engine == "tensorrt_rtx"


# -- refused, each in its own words, with the command that mends it


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "10.3.0"}, r"built by tensorrt 10\.3\.0, here is 11\.4\.0"),
        ({"sms": [86, 120]}, "built for sm86, sm120, this GPU is sm89"),
        ({"machine": {"system": "Plan9", "arch": "x86_64"}}, "built on Plan9 x86_64, this is"),
        ({"sources": {"backbone.fp32.onnx": "0" * 64}}, "built of another backbone.fp32.onnx: the bundle was exported"),
        ({"sources": {"gone.onnx": "0" * 64}}, "built of another gone.onnx"),
    ],
)
def test_a_set_that_does_not_fit_prints_its_rebuild(mine, monkeypatch, changes, message):
    fake_cuda.install(monkeypatch, "tensorrt")
    doctored(mine, **changes)
    with pytest.raises(EngineError, match=message) as caught:
        a2d.load(mine, engine="tensorrt")
    command = f"a2d build {mine} [target=tensorrt precision=fp16 context=128 block_size=8]"
    assert f"build again: {command}" in str(caught.value)


def test_every_mismatch_is_listed(mine, monkeypatch):
    fake_cuda.install(monkeypatch, "tensorrt")
    doctored(mine, version="1", sms=[90])
    with pytest.raises(EngineError, match=r"(?s)built by tensorrt 1, .*built for sm90"):
        a2d.load(mine, engine="tensorrt")


def test_the_command_that_is_printed_mends_it(mine, monkeypatch):
    from a2d.__main__ import main

    fake_cuda.install(monkeypatch, "tensorrt")
    doctored(mine, version="1")
    with pytest.raises(EngineError) as caught:
        a2d.load(mine, engine="tensorrt")
    command = worded(str(caught.value)).split("build again: a2d ")[1].splitlines()[0]
    assert main([*command.split(), "--quiet"]) == 0
    assert a2d.load(mine, engine="tensorrt").placement.precision == "fp16"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 99, "more": 1}', "schema: got 99, this a2d reads up to 1; update a2d, or build again"),
        ("{}", "schema: missing"),
        ("[", "it is not JSON"),
        ('{"schema": 1, "schema": 1}', "key 'schema' stands 2 times"),
        (" " * (1 << 21), "holds more than"),
    ],
)
def test_a_record_that_cannot_be_read(mine, monkeypatch, text, message):
    fake_cuda.install(monkeypatch, "tensorrt")
    (folder(mine) / RECORD).write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=message):
        a2d.load(mine, engine="tensorrt")


def test_a_truncated_engine_is_refused_before_the_library_sees_it(mine, monkeypatch):
    fake_cuda.install(monkeypatch, "tensorrt")
    engine = folder(mine) / "backbone.engine"
    engine.write_bytes(engine.read_bytes()[:-1])
    (folder(mine) / "denoise.engine").unlink()
    (folder(mine) / "sample.json").write_text("{}")
    with pytest.raises(BundleError) as caught:
        a2d.load(mine, engine="tensorrt")
    assert "backbone.engine: holds" in str(caught.value) and "denoise.engine: missing" in str(caught.value)
    assert "sample.json: holds 2 bytes" in str(caught.value) and "Build again: a2d build" in str(caught.value)


def test_a_changed_engine_of_the_same_size_is_refused(mine, monkeypatch):
    fake_cuda.install(monkeypatch, "tensorrt")
    engine = folder(mine) / "backbone.engine"
    content = bytearray(engine.read_bytes())
    content[-1] ^= 1
    engine.write_bytes(content)
    with pytest.raises(BundleError, match=r"backbone\.engine: its SHA-256 is not that of the record"):
        a2d.load(mine, engine="tensorrt")


def test_several_sets_take_the_best_that_fits(mine, monkeypatch):
    fake_cuda.install(monkeypatch, "tensorrt")
    other = Path(shutil.copytree(folder(mine), mine / "engines" / "tensorrt-another"))
    path = other / RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"precision": "int8"}))
    assert a2d.load(mine).placement.precision == "int8"
    assert a2d.load(mine, precision="fp16").placement.precision == "fp16"
    with pytest.raises(EngineError, match="no engines of tensorrt in fp8 have been built.*precision=fp8"):
        a2d.load(mine, engine="tensorrt", precision="fp8")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"engine": "tensorflow"}, "engine: got 'tensorflow', expected one of onnxruntime, tensorrt, tensorrt_rtx"),
        ({"device": "tpu"}, "device: got 'tpu', expected one of cpu, cuda"),
        ({"engine": "tensorrt", "device": "cpu"}, "does not run on device 'cpu'; what runs is tensorrt_rtx on cuda"),
        ({"build": "always"}, "build: got 'always', expected one of never, auto"),
    ],
)
def test_what_cannot_be_asked(floats, asked, message):
    with pytest.raises(RequestError, match=message):
        a2d.load(floats, **asked)


def test_a_gpu_that_is_asked_for_and_not_there(floats):
    for asked in ({"device": "cuda"}, {"engine": "tensorrt"}, {"engine": "onnxruntime", "device": "cuda:1"}):
        with pytest.raises(EngineError, match="NVIDIA driver|CUDA bindings|this machine has"):
            a2d.load(floats, **asked)


# -- what is built for which sizes


def test_profiles_hold_whatever_the_loop_asks(golden, slate):
    for path in (golden("tail-qwen3"), slate):
        manifest = a2d.runtime.bundle.files.Bundle.open(path).manifest
        held = sizes(manifest)
        made = profiles(manifest, held)
        assert set(made) == set(manifest.variants["fp32"].graphs)
        step, prefill = made["backbone"]
        block = manifest.decode.block_size
        assert step.axes["rows"].high == 2 * block and prefill.axes["rows"].high == 128 + block
        assert made["denoise"][0].axes["rows"].high == prefill.axes["rows"].high
        assert step.axes["keys"].high == step.axes["context"].high + step.axes["rows"].high


@pytest.mark.parametrize(("context", "block"), [(0, None), (10**6, None), (None, 0), (None, 10**6)])
def test_sizes_that_the_model_does_not_have(golden, context, block):
    manifest = a2d.runtime.bundle.files.Bundle.open(golden("tail-qwen3")).manifest
    with pytest.raises(RequestError, match="context: got|block_size: got"):
        sizes(manifest, context, block)


def test_machines_are_called_alike_everywhere(monkeypatch):
    for system, arch, name in (
        ("Windows", "AMD64", "x86_64"),
        ("Darwin", "arm64", "aarch64"),
        ("Linux", "x86_64", "x86_64"),
    ):
        monkeypatch.setattr(built_module.platform, "machine", lambda arch=arch: arch)
        monkeypatch.setattr(built_module.platform, "system", lambda system=system: system)
        assert Platform.here() == Platform(system, name)


def test_a_folder_without_a_record_is_no_set(tmp_path):
    with pytest.raises(BundleError, match="holds no built engines"):
        EngineSet.open(tmp_path)
