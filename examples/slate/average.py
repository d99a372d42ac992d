"""The mean of the weights of checkpoints of one course; it reads better than each of them (Izmailov, 1803.05407).

python examples/slate/average.py build/slate-a/model build/slate-b/model --out build/slate-mean
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"


def mean(checkpoints: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of each tensor, in its own type. Raises ValueError for checkpoints of other shapes."""
    states = [load_file(folder / WEIGHTS) for folder in checkpoints]
    shapes = [{name: tuple(tensor.shape) for name, tensor in state.items()} for state in states]
    for folder, shape in zip(checkpoints, shapes, strict=True):
        if shape != shapes[0]:
            raise ValueError(f"{folder} has other tensors than {checkpoints[0]}, expected checkpoints of one course")
    return {
        name: torch.stack([state[name].float() for state in states]).mean(0).to(tensor.dtype)
        for name, tensor in states[0].items()
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    chosen = parser.parse_args(arguments)
    weights = mean(chosen.checkpoints)
    shutil.copytree(chosen.checkpoints[0], chosen.out, ignore=shutil.ignore_patterns(WEIGHTS))
    save_file(weights, chosen.out / WEIGHTS, {"format": "pt"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
