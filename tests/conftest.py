"""Bundles that several tests read, each exported once per run of the suite."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from calibration_helpers import OPTIONS
from hypothesis import settings

from a2d.calibration.job import Job, calibrate
from a2d.calibration.quantize.recipes import recipes
from a2d.export.cli import main as export
from a2d.export.job import Job as Export
from a2d.export.job import export as export_job
from a2d.export.synthetic import Synthetic, checkpoint

# No test asserts a time, and a busy machine is no error; the same examples on every machine.
settings.register_profile("a2d", deadline=None, derandomize=True)
settings.load_profile("a2d")

# What one test has traced, no other traces again, in any worker of this run or of the next.
os.environ["A2D_CACHE"] = str(Path(__file__).parent.parent / "build" / "test-cache")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for tests that use ONNX Runtime themselves

# A shell that starts the suite in the background has it ignore interrupts, and programs that tests start inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).parent
DATA = HERE / "data"
EXAMPLES = HERE.parent / "examples"

GOLDEN = {"a2d-qwen3": ("left", "linear-round"), "tail-qwen3": ("tail", "base-remainder")}
"""Golden checkpoint to the alignment and schedule of the sampler that decoded it."""


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The bundle of one golden checkpoint, by name."""
    folder, made = tmp_path_factory.mktemp("golden"), {}

    def bundle(name: str) -> Path:
        if name not in made:
            alignment, schedule = GOLDEN[name]
            flags = f"--precision fp32 --mask-token 127 --stop-token 2 --block-size 8 --alignment {alignment}"
            path = folder / name
            assert export([str(DATA / "golden" / name), "-o", str(path), *flags.split(), "--schedule", schedule]) == 0
            made[name] = path
        return made[name]

    return bundle


@pytest.fixture(scope="session")
def slate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the trained slate reader."""
    path = tmp_path_factory.mktemp("slate") / "slate.a2d"
    assert export([str(EXAMPLES / "slate" / "model"), "-o", str(path)]) == 0
    return path


TINY = Synthetic(
    layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, intermediate=96, vocab=160, max_context=128, tied=True
)


@pytest.fixture(scope="session")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle in fp32 of random weights."""
    folder = tmp_path_factory.mktemp("floats")
    export_job(Export(checkpoint(folder / "tiny", TINY), folder / "tiny.a2d", quiet=True))
    return folder / "tiny.a2d"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts as token ids."""
    path = tmp_path_factory.mktemp("data") / "data.jsonl"
    rows = [{"tokens": [5 + (7 * i + j * j) % 150 for j in range(6 + i)]} for i in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def quantized(floats: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with every precision of the table."""
    output = tmp_path_factory.mktemp("quantized") / "tiny-q.a2d"
    wanted = recipes("int8,fp8,int8-weight,int4-weight,int4-int8,int4")
    calibrate(Job(floats, output, wanted, data=data, options=OPTIONS, quiet=True))
    return output


@pytest.fixture(scope="session")
def towers_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Cosmos 3 Edge that reads pictures, exported in fp32: 9 frames of 32x48 in 8 steps."""
    from towers_checkpoints import RECIPES, seeing

    from a2d.export.cli import main as export

    path = tmp_path_factory.mktemp("towers")
    seeing(path / "checkpoint", RECIPES["edge"])
    flags = ["--precision", "fp32", "--size", "32x48", "--frames", "9", "--step-count", "8", "--quiet"]
    assert export([str(path / "checkpoint"), "-o", str(path / "bundle"), *flags]) == 0
    return path / "bundle"
