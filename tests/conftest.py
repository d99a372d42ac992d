"""Bundles that several tests read, each exported once per run of the suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from a2d.export.cli import main as export

settings.register_profile("a2d", deadline=None)  # no test asserts a time, and a busy machine is no error
settings.load_profile("a2d")

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
