"""Bundles that several tests read, each exported once per run of the suite, whichever worker asks first.

Rooms that need torch are imported where a bundle is made: whoever collects or runs other tests does not wait for it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from calibration_helpers import OPTIONS
from hypothesis import settings
from shared import Shared, shared, turn

from a2d.runtime.bundle.kept_folder import kept_folder

__all__ = ["shared"]

# No test asserts a time, and a busy machine is no error; the same examples on every machine.
settings.register_profile("a2d", deadline=None, derandomize=True)
settings.load_profile("a2d")

# What one test has traced, no other traces again: in any worker, in later runs, or in another clone of the same source.
os.environ.setdefault("A2D_CACHE", str(kept_folder() / "tests"))
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for tests that use ONNX Runtime themselves

# A shell that starts the suite in the background has it ignore interrupts, and programs that tests start inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).parent
DATA = HERE / "data"
EXAMPLES = HERE.parent / "examples"

GOLDEN = {"a2d-qwen3": ("left", "linear-round"), "tail-qwen3": ("tail", "base-remainder")}
"""Golden checkpoint to the alignment and schedule of the sampler that decoded it."""


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores: a seventh of a run is waiting for servers, hosts and other processes."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="module", autouse=True)
def settled() -> None:
    """What is there when the tests of a file begin stays: the search for unreachable cycles leaves it out from then on.

    With torch and transformers loaded a search takes 0.3 s, and an export makes nine.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def golden(shared: Shared) -> Callable[[str], Path]:
    """The bundle of one golden checkpoint, by name."""

    def bundle(name: str) -> Path:
        alignment, schedule = GOLDEN[name]
        flags = f"--precision fp32 --mask-token 127 --stop-token 2 --block-size 8 --alignment {alignment}".split()
        return shared(name, lambda path: exported(DATA / "golden" / name, path, *flags, "--schedule", schedule))

    return bundle


@pytest.fixture(scope="session")
def slate(shared: Shared) -> Path:
    """The bundle of the trained slate reader."""
    return shared("slate.a2d", lambda path: exported(EXAMPLES / "slate" / "model", path))


def exported(checkpoint: Path, bundle: Path, *flags: str) -> None:
    from a2d.export.cli import main as export

    assert export([str(checkpoint), "-o", str(bundle), *flags]) == 0


@pytest.fixture(scope="session")
def golden_film(shared: Shared) -> Callable[[str], Path]:
    """The bundle of a golden checkpoint that films, by name, exported by the command line that its cases name."""

    def bundle(name: str) -> Path:
        folder = DATA / "golden-frames" / name
        flags = json.loads((folder / "case-1.json").read_text(encoding="utf-8"))["export"]
        return shared(f"film-{name}.a2d", lambda path: exported(folder / "checkpoint", path, "--quiet", *flags))

    return bundle


@pytest.fixture(scope="session")
def filming(golden_film: Callable[[str], Path]) -> Path:
    """The bundle of a tiny checkpoint that films: blocks of 3 latent frames in 4 steps."""
    return golden_film("v1")


@pytest.fixture(scope="session")
def tiny_checkpoint(shared: Shared) -> Path:
    """A checkpoint of random weights."""
    from tiny_model import tiny_checkpoint

    return shared("tiny", tiny_checkpoint)


@pytest.fixture(scope="session")
def floats(shared: Shared, tiny_checkpoint: Path) -> Path:
    """Its bundle in fp32."""
    from a2d.export.job import Job, export

    return shared("tiny.a2d", lambda path: export(Job(tiny_checkpoint, path, quiet=True)))


@pytest.fixture(scope="session")
def large(shared: Shared) -> Path:
    """The synthetic model of 100 million parameters with a third of its layers, in fp32: products of the same sizes."""
    from a2d.export.synthetic import MODEL_100M, bundle_100m

    model = replace(MODEL_100M, layers=4)
    return shared("100m.a2d", lambda path: bundle_100m(path, model=model))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts as token ids."""
    path = tmp_path_factory.mktemp("data") / "data.jsonl"
    rows = [{"tokens": [5 + (7 * i + j * j) % 150 for j in range(6 + i)]} for i in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def quantized(floats: Path, data: Path, shared: Shared) -> Path:
    """The bundle with every precision of the table."""
    from a2d.calibration.job import Job, calibrate
    from a2d.calibration.quantize.recipes import recipes

    wanted = recipes("int8,int8-avx2,fp8,int8-weight,int4-weight,int4-int8,int4")
    made = {"data": data, "options": OPTIONS, "quiet": True}
    return shared("tiny-q.a2d", lambda path: calibrate(Job(floats, path, wanted, **made)))


@pytest.fixture(scope="session")
def towers_bundle(shared: Shared) -> Path:
    """A tiny Cosmos 3 Edge that reads pictures, exported in fp32: 9 frames of 32x48 in 8 steps."""

    def made(path: Path) -> None:
        from towers_checkpoints import RECIPES, seeing

        seeing(path.with_name("towers-checkpoint"), RECIPES["edge"])
        flags = ["--precision", "fp32", "--size", "32x48", "--frames", "9", "--step-count", "8", "--quiet"]
        exported(path.with_name("towers-checkpoint"), path, *flags)

    return shared("towers.a2d", made)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: turn(item.path))
