"""Samples by index, and rendered shards of them on disk, so that no training waits for a renderer.

A sample is a pure function of a stream's name and an index. Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from .clip import clip
from .prompts import loosely, sentence
from .scene import Scene, draw_scene

__all__ = ["EVALUATION", "SHARD", "TRAINING", "prompt_of", "render_shards", "save", "scene_of"]

TRAINING, EVALUATION = "train", "evaluation"
SHARD = 100
"""Clips in a file."""


def scene_of(stream: str, index: int) -> Scene:
    return draw_scene(f"{stream}/{index}")


def prompt_of(scene: Scene, variant: int = 0, whole: bool = False) -> str:
    """One of the sentences for a scene; `whole` leaves nothing out."""
    rng = Random(f"prompt/{scene.seed}/{variant}")
    return sentence(scene, rng) if whole else loosely(scene, rng)


def render_shards(folder: Path, stream: str, shards: range) -> Iterator[Path]:
    """Files of [SHARD, frames, H, W, 3] uint8; those that exist are left as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        path = folder / f"{stream}-{shard:05}.npy"
        if not path.is_file():
            clips = [clip(scene_of(stream, index)) for index in range(shard * SHARD, (shard + 1) * SHARD)]
            save(path, np.stack(clips))
        yield path


def save(path: Path, array: NDArray[np.generic]) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, array)
    part.replace(path)
