"""Random checkpoints are real ones: any family, any size, and what they decode is not one token over and over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from a2d.export.checkpoint.directory import Checkpoint
from a2d.export.families import describe
from a2d.export.synthetic import Synthetic, checkpoint
from a2d.runtime.decode.block import Prompt
from a2d.runtime.decode.options import Options
from a2d.runtime.load import load

SMALL = Synthetic(layers=2, hidden=16, heads=2, kv_heads=1, head_dim=8, intermediate=24, vocab=40)


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama", "a2d-qwen3"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_checkpoints_of_every_text_family(tmp_path: Path, model_type: str, tied: bool, dtype: str) -> None:
    made = Checkpoint.open(checkpoint(tmp_path, replace(SMALL, model_type=model_type, tied=tied, dtype=dtype)))
    family = describe(made)
    made.verify(family.sources, family.ignorable)
    assert set(load_file(tmp_path / "model.safetensors")) == set(made.files)
    assert ("lm_head.weight" in made) != tied


def test_the_seed_is_the_model(tmp_path: Path) -> None:
    paths = [checkpoint(tmp_path / str(i), replace(SMALL, seed=seed)) for i, seed in enumerate((1, 1, 2))]
    first, same, other = ((path / "model.safetensors").read_bytes() for path in paths)
    assert first == same != other


def test_decodes_are_not_degenerate(bundle: Path) -> None:
    model = load(bundle)
    prompt = np.random.default_rng(0).integers(4, 160, 12)
    rows = Prompt.of(prompt, np.arange(12), 12)
    tokens = model.session().generate(rows, Options(max_tokens=32, steps=4)).tokens
    assert len(set(tokens)) > 12
