"""One bundle from board to words and to a shot: the commands one after the other, on tiny Cosmos 3 networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
import torch
from PIL import Image
from towers_checkpoints import PICTURES, PROCESSORS, RECIPES, Opened, seeing

import a2d
from a2d.__main__ import main
from a2d.export.cli import main as export

PROMPT = "The ball rolls."


@pytest.mark.parametrize("name", ["edge", "nano"])
def test_reads_a_board_and_films_it(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    _, reasoner = seeing(tmp_path / "checkpoint", RECIPES[name])
    bundle, board = tmp_path / "bundle", tmp_path / "board.png"
    assert export([str(tmp_path / "checkpoint"), "-o", str(bundle), "--precision", "fp32"]) == 0
    told = capfd.readouterr().out
    assert "guardrail" in told
    assert ("makers advise" in told) == (name == "edge")
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    Image.fromarray(picture).save(board)

    assert (
        main(["run", str(bundle), "--image", str(board), "--prompt", "What is it?", "--max-tokens", "6", "--json"]) == 0
    )
    words = json.loads(capfd.readouterr().out.splitlines()[-1])
    model = a2d.load(bundle)
    prompt = model.prompt("What is it?", images=[board])
    answer = model.generate("What is it?", images=[board], max_tokens=6)
    assert words["text"] == answer.text
    processor = PROCESSORS[name].from_pretrained(tmp_path / "checkpoint")
    assert list(answer.tokens) == greedy(reasoner, prompt.rows.tokens, processor(images=[picture], return_tensors="pt"))

    saved = tmp_path / "out.npy"
    asked = ["--frames", "5", "--size", "32x48", "--steps", "2", "--guidance", "3", "--seed", "4"]
    film = ["film", str(bundle), "--image", str(board), "--prompt", PROMPT, *asked, "--latents", str(saved), "--json"]
    assert main(film) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["forwards"] == 4
    options = {"frames": 5, "height": 32, "width": 48, "steps": 2, "guidance": 3.0, "seed": 4}
    (block,) = Opened(tmp_path / "checkpoint").studio().film(PROMPT, image=picture, **options)
    assert np.abs(np.load(saved) - block.latents).max() <= 1e-4


@torch.no_grad()
def greedy(model, tokens: np.ndarray, seen) -> list[int]:
    """The answer of transformers' class, a token a forward, without its cache."""
    ids = torch.from_numpy(np.asarray(tokens))[None]
    for _ in range(6):
        types = (ids == PICTURES["image"]).int()
        pixels = {"pixel_values": seen["pixel_values"], "image_grid_thw": seen["image_grid_thw"]}
        made = model(input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=types, **pixels)
        ids = torch.cat([ids, made.logits[:, -1:].argmax(-1)], 1)
    return ids[0, -6:].tolist()
