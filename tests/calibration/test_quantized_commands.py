"""The commands as a user meets them: calibrate without torch, verify without onnx, bench, export."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import a2d
from patience import PATIENCE

from a2d.runtime.bundle.files import Bundle

WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None
from a2d.__main__ import main
sys.exit(main(sys.argv[1:]))
"""

ONNX = ("torch", "onnx", "onnx_ir", "ml_dtypes", "onnxscript", "transformers")


def lacking(without: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process that has no package of these names."""
    command = [sys.executable, "-c", WITHOUT.format(names=without), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_calibrate_needs_no_torch_and_says_what_it_did(floats, data, tmp_path):
    flags = ["-o", tmp_path / "q.a2d", "--precision", "int8,fp8", "--data", data, "--max-tokens", "16"]
    done = lacking(("torch", "onnxscript", "transformers", "safetensors"), "calibrate", floats, *flags)
    assert done.returncode == 0, done.stderr
    for part in (
        "int8: ",
        "layers by the error that would be expected",
        "decoding 6 samples",
        "about",
        "next: a2d verify",
    ):
        assert part in done.stdout
    assert "calibrating: 100%  6 of 6 samples" in done.stderr
    assert list(Bundle.open(tmp_path / "q.a2d").manifest.variants) == ["fp32", "int8", "fp8"]
    assert list(tmp_path.iterdir()) == [tmp_path / "q.a2d"]


def test_calibrate_without_its_packages_says_which(floats, tmp_path):
    done = lacking(ONNX, "calibrate", floats, "-o", tmp_path / "q", "--precision", "int8")
    assert done.returncode == 2 and "[calibrate]'" in done.stderr and "a2d[" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--precision", "int9"], "got 'int9', expected one or more"),
        (["--precision", "fp8", "--target", "jetson-orin"], "The nearest is --precision int8"),
        (["--precision", "int8", "--data", "nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
        (["--precision", "int8", "--merge", "mean"], "--merge: got 'mean'"),
        ([], "required: --precision"),
    ],
)
def test_calibrate_bad_input(floats, tmp_path, flags, message):
    done = a2d("calibrate", floats, "-o", tmp_path / "q", *flags)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_verify_ends_with_one_object_and_needs_no_onnx(quantized, data):
    flags = ["--precision", "int8", "--against", "fp32", "--data", data, "--max-tokens", "16", "--force", "--json"]
    done = lacking(ONNX, "verify", quantized, *flags)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["n"] == 6 and 0 <= found["token_agreement"] <= 1 and found["size_ratio"] < 0.35
    for name in ("output_agreement", "accept_agreement", "speed_ratio"):
        low, high = found[f"{name}_interval"]
        assert low <= found[name] <= high
    assert set(found["tokens_per_forward"]) == {"fp32", "int8"}
    assert [row["error"] for row in found["layers"]] == sorted((r["error"] for r in found["layers"]), reverse=True)


def test_verify_refuses_unless_forced(quantized, data, tmp_path):
    flags = ["--precision", "int4-weight", "--data", data, "--max-tokens", "16", "--samples", "4"]
    done = a2d("verify", quantized, *flags, "--report", tmp_path / "report.html")
    forced = a2d("verify", quantized, *flags, "--force")
    assert "int4-weight is refused" in done.stdout, done.stdout  # a random network's tokens hang by a hair
    assert (done.returncode, forced.returncode) == (2, 0)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--precision", "int7"], "got precision 'int7', this bundle holds fp32, int8"),
        (["--precision", "fp32"], "--precision fp32 --against fp32: the same"),
        (["--against", "fp16"], "got precision 'fp16'"),
        (["--samples", "0", "--data", "x"], "--samples: got 0"),
    ],
)
def test_verify_bad_input(quantized, flags, message):
    done = a2d("verify", quantized, *flags)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_run_reads_a_quantized_precision(quantized):
    done = a2d("run", quantized, "--precision", "int8", "--token-ids", "5,6,7", "--max-tokens", "16", "--json")
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["precision"] == "int8"


def test_bench_compares_precisions(quantized):
    flags = ["--precision", "int8", "--against", "fp32", "--prompt-tokens", "24", "--max-tokens", "32", "--steps", "4"]
    done = a2d("bench", quantized, *flags, "--repeats", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["precision"] == "int8" and found["ratio_to_fp32"] > 0 and found["step_ratio_to_fp32"] > 0


def test_export_in_quantized_precisions(tiny_checkpoint, data, tmp_path):
    flags = ["-o", tmp_path / "b.a2d", "--precision", "int8", "--data", data, "--samples", "3"]
    done = a2d("export", tiny_checkpoint, *flags)
    assert done.returncode == 0, done.stderr
    assert list(Bundle.open(tmp_path / "b.a2d").manifest.variants) == ["int8"]
    assert [path.name for path in Path(tmp_path).iterdir()] == ["b.a2d"]
    assert ".float" not in done.stdout


def test_export_refuses_bad_data_before_it_works(tiny_checkpoint, tmp_path):
    flags = ["-o", tmp_path / "b.a2d", "--precision", "int8", "--data", tmp_path / "no.jsonl"]
    done = a2d("export", tiny_checkpoint, *flags)
    assert done.returncode == 2 and "no.jsonl: cannot be read" in done.stderr and "tracing" not in done.stderr
