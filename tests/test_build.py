"""`a2d build` with TensorRT-RTX itself, which needs no GPU to build: what is in engines, and every way to fail."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import PATIENCE

import a2d
from a2d.__main__ import main
from a2d.engines.errors import EngineError, RequestError
from a2d.engines.targets import TARGETS
from a2d.runtime.bundle import staging
from a2d.runtime.bundle.files import Bundle
from a2d.runtime.decode.options import Options
from a2d.runtime.deploy import build as build_module
from a2d.runtime.deploy.build import BuildJob, build
from a2d.runtime.deploy.engine_set import RECORD, EngineSet

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: engines are not built here")

GPUS = {"fp16": "86,89,120", "int8": "86,89,120", "fp8": "89,120"}
"""Precision to the GPUs that an engine serves."""


@pytest.fixture
def tiny(quantized, tmp_path) -> Path:
    return Path(shutil.copytree(quantized, tmp_path / "tiny.a2d"))


def built(capsys, *arguments: object) -> list[dict]:
    assert main(["build", *map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="module")
def quantized_slate(slate, tmp_path_factory) -> Path:
    from a2d.calibration.job import Job, calibrate
    from a2d.calibration.quantize.recipes import recipes

    output = tmp_path_factory.mktemp("slate-q") / "slate.a2d"
    calibrate(Job(slate, output, recipes("int8,fp8"), samples=2, quiet=True))
    return output


@pytest.fixture(scope="module")
def quantized_large(large, tmp_path_factory) -> Path:
    """Layers of the 100M model; two short samples are enough to have scales at all."""
    from a2d.calibration.job import Job, calibrate
    from a2d.calibration.quantize.recipes import recipes

    output = tmp_path_factory.mktemp("100m") / "q.a2d"
    short = Options(max_tokens=16, steps=2)
    calibrate(Job(large, output, recipes("int8,fp8"), samples=2, options=short, quiet=True))
    return output


PRODUCTS = {
    ("fp16", "backbone"): {"fp16"},
    ("int8", "backbone"): {"int8", "fp16"},
    ("fp8", "backbone"): {"fp8", "fp16"},
    ("int8", "denoise"): {"int8"},
}
"""Precisions of a graph's matrix products; attention has no stored weights and stays in fp16."""


def check_engines(engines: list[dict], precision: str, graphs: set[str], products: int) -> None:
    assert {engine["graph"] for engine in engines} == graphs
    for engine in engines:
        assert engine["library"] == "tensorrt_rtx" and engine["version"].count(".") >= 2
        assert engine["precision"] == precision and engine["sm"] == [int(sm) for sm in GPUS[precision].split(",")]
        assert Path(engine["path"]).stat().st_size == engine["bytes"] > 10_000 and engine["seconds"] > 0
        assert sum(engine["layers"].values()) > sum(engine["products"].values()) > 0
        wanted = PRODUCTS.get((precision, engine["graph"]))
        assert wanted is None or set(engine["products"]) == wanted, engine
    backbone = next(engine for engine in engines if engine["graph"] == "backbone")
    assert backbone["products"].get(precision, 0) >= products and backbone["layers"][precision] >= products


@pytest.mark.parametrize("precision", list(GPUS))
def test_the_slate_reader_s_engines(quantized_slate, precision, tmp_path, capsys):
    flags = ["--target", "rtx", "--sm", GPUS[precision], "--precision", precision, "-o", tmp_path]
    engines = built(capsys, quantized_slate, *flags)
    check_engines(engines, precision, {"backbone", "denoise", "sample", "vision"}, 12)


@pytest.mark.slow
@pytest.mark.parametrize("precision", list(GPUS))
def test_the_100m_model_s_engines(quantized_large, precision, tmp_path, capsys):
    flags = ["--target", "rtx", "--sm", GPUS[precision], "--precision", precision, "-o", tmp_path]
    check_engines(built(capsys, quantized_large, *flags), precision, {"backbone", "denoise", "sample"}, 4 * 4 - 2)
    (backbone,) = tmp_path.rglob("backbone.engine")
    manifest = Bundle.open(quantized_large).manifest
    table = manifest.model.vocab * manifest.model.hidden
    products = manifest.variants["fp32"].weights_bytes // 4 - table
    assert backbone.stat().st_size < 1.2 * (2 * table + {"fp16": 2}.get(precision, 1) * products)


def test_auto_builds_the_best_for_each_gpu(tiny, capsys):
    engines = built(capsys, tiny, "--target", "rtx")
    assert {(engine["precision"], *engine["sm"]) for engine in engines} == {("int8", 86), ("fp8", 89, 120)}
    records = [EngineSet.open(path.parent).record for path in tiny.glob(f"engines/*/{RECORD}")]
    assert {(r.precision, r.variant, r.kv_dtype, r.driver) for r in records} == {
        ("int8", "int8", "float16", None),
        ("fp8", "fp8", "float16", None),
    }
    assert main(["inspect", str(tiny)]) == 0  # the bundle is what it was


def test_a_set_that_fits_is_not_built_again(tiny, capsys):
    flags = ["build", str(tiny), "--target", "rtx", "--sm", "89", "--precision", "fp16"]
    assert main(flags) == 0
    (record,) = tiny.glob(f"engines/*/{RECORD}")
    before = record.stat().st_mtime_ns
    assert "will take about " in (said := capsys.readouterr().out) and "a2d plan has the parts" in said
    assert main(flags) == 0
    assert "is there and fits; --force builds it again" in capsys.readouterr().out
    assert record.stat().st_mtime_ns == before
    assert main([*flags, "--context", "64"]) == 0  # another size is another engine
    assert EngineSet.open(record.parent).record.context == 64


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--target", "rtx", "--sm", "86", "--precision", "fp8"], "nearest is --precision int8"),
        (["--target", "rtx", "--sm", "90"], "take --target tensorrt"),
        (["--target", "rtx", "--sm", "x"], "expected compute capabilities like 86,89,120"),
        (["--target", "gpu"], "target: got 'gpu', expected one of"),
        (["--target", "cpu"], "there is nothing to build"),
        (["--target", "rtx", "--precision", "int4-weight"], "nearest is --precision int8"),
        (["--target", "rtx", "--context", "100000"], "this model was exported for 1 to 128 rows"),
        (["--target", "jetson-orin"], "it builds for the GPU that is in the machine"),
        ([], "required: --target"),
    ],
)
def test_bad_requests(tiny, flags, message, capsys):
    assert main(["build", str(tiny), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not [*tiny.glob("engines/*")]


def test_a_precision_that_the_bundle_lacks_says_how_to_make_it(floats, tmp_path, capsys):
    for precision, message in (("int8", "a2d calibrate"), ("fp8", "a2d calibrate")):
        flags = ["--target", "rtx", "--sm", "89", "--precision", precision, "-o", str(tmp_path)]
        assert main(["build", str(floats), *flags]) == 2
        assert f"holds fp32, from which {precision} is not built: {message}" in capsys.readouterr().err


def test_a_build_that_fails_keeps_its_log_and_prints_the_first_cause(tiny, monkeypatch, capsys):
    monkeypatch.setattr(build_module, "require", lambda name, *_: TARGETS[name])
    job = BuildJob(tiny, "rtx", (86,), "fp8", quiet=True)
    with pytest.raises(EngineError, match=r"cannot build it: .*\n?.*(fp8|FP8)") as caught:
        list(build(job))
    (log,) = tiny.glob("engines/*.log")
    assert str(log) in str(caught.value)
    first = next(line for line in log.read_text(encoding="utf-8").splitlines() if "ERROR" in line)
    assert first.split(": ", 1)[1].strip() in str(caught.value)
    assert not [path for path in tiny.glob("engines/*") if path.is_dir()]


def test_a_full_disk_leaves_nothing(tiny, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(staging.HashedFile, "write", full)
    with pytest.raises(a2d.A2DError, match="No space left on device.*Nothing was left behind"):
        list(build(BuildJob(tiny, "rtx", (89,), "fp16", quiet=True)))
    assert not [path for path in (tiny / "engines").iterdir() if path.is_dir()]
    monkeypatch.undo()
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(a2d.A2DError, match="0.0 GB free, expected"):
        list(build(BuildJob(tiny, "rtx", (89,), "fp16", quiet=True)))


def process(bundle: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "a2d", "build", str(bundle), "--target", "rtx", "--sm", "89", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_an_interrupt_leaves_nothing(quantized_slate, tmp_path):
    running = process(quantized_slate, "--precision", "fp16", "-o", str(tmp_path))
    deadline = time.monotonic() + PATIENCE
    while not [*tmp_path.glob(".*.partial/.copy.*/*.onnx")] and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130 and "interrupted; nothing half built was left" in err, err
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_of_two_processes_one_builds_and_the_other_waits(tiny):
    both = [process(tiny, "--precision", "fp16") for _ in range(2)]
    outputs = [running.communicate(timeout=PATIENCE)[0] for running in both]
    assert [running.returncode for running in both] == [0, 0]
    assert sum("is there and fits" in output for output in outputs) == 1
    assert len([*tiny.glob(f"engines/*/{RECORD}")]) == 1


def test_without_the_library_it_says_how_to_get_it(tiny, monkeypatch, capsys):
    def missing(name):
        raise EngineError("TensorRT-RTX is not installed here: no such module. pip install 'a2d-runtime[rtx]'")

    monkeypatch.setattr(build_module, "imported", missing)
    assert main(["build", str(tiny), "--target", "rtx", "--precision", "fp16"]) == 2
    assert "pip install 'a2d-runtime[rtx]'" in capsys.readouterr().err


def test_a_library_that_builds_for_its_own_gpu_is_not_told_another(tiny, monkeypatch):
    monkeypatch.setattr(build_module, "_here", lambda target: (89,))
    with pytest.raises(RequestError, match=r"sm: got 120; TensorRT builds for the GPU that is here, sm89"):
        list(build(BuildJob(tiny, "tensorrt", (120,), "fp16", quiet=True)))


def test_run_without_a_gpu_says_nothing_of_engines(tiny, capsys):
    assert main(["build", str(tiny), "--target", "rtx", "--sm", "89", "--precision", "fp16", "--quiet"]) == 0
    capsys.readouterr()
    command = [sys.executable, "-m", "a2d", "run", str(tiny), "--token-ids", "5,6,7", "--max-tokens", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0 and done.stdout
    assert "TensorRT" not in done.stderr and "cuda" not in done.stderr.lower(), done.stderr
