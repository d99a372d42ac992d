"""The mean of checkpoints' weights, and checkpoints of which there is none."""

from __future__ import annotations

import pytest
import torch
from average import WEIGHTS, main, mean
from safetensors.torch import load_file, save_file


@pytest.fixture
def checkpoints(tmp_path):
    """Two checkpoints whose weights are 1 and 2, each with a configuration."""
    made = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        save_file({"a": torch.full((2, 3), float(number), dtype=torch.float16)}, folder / WEIGHTS)
        made.append(folder)
    return made


def test_each_tensor_is_the_mean_in_its_own_type(checkpoints, tmp_path):
    assert main([*map(str, checkpoints), "--out", str(tmp_path / "mean")]) == 0
    weights = load_file(tmp_path / "mean" / WEIGHTS)["a"]
    assert weights.dtype == torch.float16 and torch.equal(weights, torch.full((2, 3), 1.5, dtype=torch.float16))
    assert (tmp_path / "mean" / "config.json").read_text() == "{}"


def test_checkpoints_of_other_shapes_have_no_mean(checkpoints):
    save_file({"a": torch.zeros(3, 2)}, checkpoints[1] / WEIGHTS)
    with pytest.raises(ValueError, match="has other tensors than"):
        mean(checkpoints)
