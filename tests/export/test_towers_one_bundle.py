"""One bundle from board to words and to a shot: the commands one after the other, on an exported tiny Cosmos 3 Edge."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
from PIL import Image
from towers_checkpoints import RECIPES, Opened, seeing

import a2d
from a2d.__main__ import main
from a2d.export.cli import main as export

PROMPT = "The ball rolls."


def test_reads_a_board_and_films_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    seeing(tmp_path / "checkpoint", RECIPES["edge"])
    bundle, board = tmp_path / "bundle", tmp_path / "board.png"
    assert export([str(tmp_path / "checkpoint"), "-o", str(bundle), "--precision", "fp32"]) == 0
    told = capfd.readouterr().out
    assert "guardrail" in told
    assert "makers advise" in told
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    Image.fromarray(picture).save(board)

    assert (
        main(["run", str(bundle), "--image", str(board), "--prompt", "What is it?", "--max-tokens", "6", "--json"]) == 0
    )
    words = json.loads(capfd.readouterr().out.splitlines()[-1])
    model = a2d.load(bundle)
    assert words["text"] == model.generate("What is it?", images=[board], max_tokens=6).text

    saved = tmp_path / "out.npy"
    asked = ["--frames", "5", "--size", "32x48", "--steps", "2", "--guidance", "3", "--seed", "4"]
    film = ["film", str(bundle), "--image", str(board), "--prompt", PROMPT, *asked, "--latents", str(saved), "--json"]
    assert main(film) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["forwards"] == 4
    options = {"frames": 5, "height": 32, "width": 48, "steps": 2, "guidance": 3.0, "seed": 4}
    (block,) = Opened(tmp_path / "checkpoint").studio().film(PROMPT, image=picture, **options)
    assert np.abs(np.load(saved) - block.latents).max() <= 1e-4
