"""Tiny bundles, float and quantized, each made once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calibration_helpers import OPTIONS

from a2d.calibration.job import Job, calibrate
from a2d.calibration.recipes import recipes
from a2d.export.job import Job as Export
from a2d.export.job import export
from a2d.export.synthetic import Synthetic, checkpoint

TINY = Synthetic(
    layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, intermediate=96, vocab=160, max_context=128, tied=True
)


@pytest.fixture(scope="session")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle in fp32 of random weights."""
    folder = tmp_path_factory.mktemp("floats")
    export(Export(checkpoint(folder / "tiny", TINY), folder / "tiny.a2d", quiet=True))
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
