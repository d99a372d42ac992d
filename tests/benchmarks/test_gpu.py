"""The GPU benchmark's own parts, with the CPU engine in the GPU's place: what it counts, what it says, how it ends."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import GOLDEN
from machines import DESKTOP, ORIN, THOR, gpu, machine

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("gpu_benchmark", ROOT / "benchmarks" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(golden, slate, tmp_path):
    """The bundles that the benchmark would make."""
    for name in GOLDEN:
        shutil.copytree(golden(name), tmp_path / f"{name}.a2d")
    shutil.copytree(slate, tmp_path / "slate.a2d")
    return tmp_path


@pytest.fixture
def cpu(bench):
    return bench.Runner("onnxruntime", "cpu")


def test_the_whole_of_it_in_small(bench, folder, capsys):
    on_cpu = ["--engine", "onnxruntime", "--device", "cpu", "--precisions", "fp32", "--folder", str(folder), "--quick"]
    assert bench.main([*on_cpu, "--json"]) == 0
    made = {row["what"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert list(made) == ["golden", "slate", "step"]
    assert made["golden"]["equal"] == made["golden"]["of"] >= 10
    assert made["slate"]["equal"] == made["slate"]["of"] == 6
    assert made["step"]["step_ms"] > 0 and made["step"]["floor_ms"] > 0 and 0 < made["step"]["python_share"] < 1
    assert all("ONNX Runtime" in row["engine"] and row["failed"] is None for row in made.values())


def test_another_token_is_not_equal(bench, cpu, folder):
    model = cpu.load(folder / "a2d-qwen3.a2d", "fp32")
    case = json.loads((bench.GOLDEN / "a2d-qwen3.json").read_text(encoding="utf-8"))[0]
    assert bench.decoded_alike(model, case, "merged")
    assert not bench.decoded_alike(model, case | {"tokens": [*case["tokens"][:-1], 5]}, "merged")
    assert not bench.decoded_alike(model, case | {"forwards_merged": 1}, "merged")


def test_what_fails_is_a_row_and_a_status(bench, folder, capsys):
    missing = ["--engine", "onnxruntime", "--device", "cpu", "--precisions", "bf16", "--folder", str(folder), "--quick"]
    assert bench.main(missing) == 1
    said = capsys.readouterr().out
    assert said.count("failed: ") == 3 and "bf16" in said


def test_tokens_must_be_equal_in_fp32_alone(bench):
    row = bench.Row("engine", "fp32", "golden", equal=9, of=10)
    assert not row.is_good and replace(row, precision="fp16").is_good and replace(row, equal=10).is_good
    assert not replace(row, equal=10, failed="no memory").is_good
    assert "| engine | fp32 | golden | 9/10 |" in bench.table([row])


def test_a_machine_without_a_gpu_says_why_and_is_skipped(bench, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "facts", lambda: machine(tmp_path, DESKTOP))
    assert bench.main(["--folder", str(tmp_path / "none")]) == bench.NO_GPU
    said = capsys.readouterr().err
    assert "tensorrt_rtx is not used: no NVIDIA driver" in said and "tensorrt is not used" in said
    assert bench.main(["--extras"]) == bench.NO_GPU
    assert "no GPU to measure: no NVIDIA driver" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("files", "sm", "wanted"),
    [
        (DESKTOP, 89, "rtx,tensorrt"),
        (DESKTOP, 90, "tensorrt"),
        (DESKTOP, 61, "gpu"),
        (ORIN, 87, "build"),
        (THOR, 110, "tensorrt"),
    ],
)
def test_what_is_installed_fits_the_gpu(bench, tmp_path, capsys, monkeypatch, files, sm, wanted):
    monkeypatch.setattr(bench, "facts", lambda: machine(tmp_path, files, gpu(sm)))
    assert bench.main(["--extras"]) == 0
    assert capsys.readouterr().out == f"{wanted}\n"


def test_every_gpu_engine_that_runs_is_measured(bench, tmp_path):
    packages = {"tensorrt_rtx": "1.7.1", "tensorrt": "11.4.0", "cuda_bindings": "13.5.0"}
    made, refused = bench.runners(machine(tmp_path, DESKTOP, gpu(89), **packages))
    assert [runner.engine for runner in made] == ["tensorrt_rtx", "tensorrt"]
    assert [verdict.engine for verdict in refused] == ["onnxruntime"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_script_is_one_that_bash_reads():
    subprocess.run(["bash", "-n", str(ROOT / "benchmarks" / "gpu.sh")], check=True)
