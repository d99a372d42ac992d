"""Golden decodes of a tiny Cosmos 3 Edge: the stock pipeline made them, and the two commands make them again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from a2d.__main__ import main
from a2d.export.cli import main as export

GOLDEN = Path(__file__).parents[1] / "data" / "golden-frames" / "v3"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("v3") / "bundle"
    assert export([str(GOLDEN / "checkpoint"), "-o", str(made), "--precision", "fp32", "--quiet"]) == 0
    return made


@pytest.mark.parametrize("name", ["case-1", "case-2"])
def test_films_as_the_stock_pipeline(name, bundle, tmp_path, monkeypatch, capfd):
    case, golden = json.loads((GOLDEN / f"{name}.json").read_text()), np.load(GOLDEN / f"{name}.npz")
    places = {"out.npy": str(tmp_path / "out.npy"), "out.npz": str(tmp_path / "out.npz")}
    monkeypatch.chdir(GOLDEN)
    assert main(["film", str(bundle), *(places.get(word, word) for word in case["film"])]) == 0
    told = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert [told[key] for key in ("frames", "height", "width", "forwards")] == [
        case[key] for key in ("frames", "height", "width", "forwards")
    ]
    latents, made = np.load(places["out.npy"]), np.load(places["out.npz"])
    assert np.abs(latents - golden["latents"]).max() <= 1e-4
    assert np.abs(made["pixels"] - golden["pixels"]).max() <= 1e-4
    apart = np.abs(made["frames"].astype(int) - golden["frames"])
    assert apart.max() <= 1
    assert (apart > 0).mean() <= 0.01
