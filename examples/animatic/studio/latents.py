"""Rendered clips as latents on disk: small enough to keep all of them. Knows the autoencoder; no prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .autoencoder import Kind, encoded
from .clip import clip
from .compression import pixels
from .corpus import SHARD, save, scene_of

__all__ = ["Latents", "latent_shards"]


@torch.no_grad()
def latent_shards(
    vae: Any, kind: Kind, folder: Path, stream: str, shards: range, device: str, first: int | None = None
) -> Iterator[Path]:
    """Files of [SHARD, T, C, h, w] float16, of a clip's `first` frames alone, if given; those that exist stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        path = folder / f"{stream}-{shard:05}.npy"
        if not path.is_file():
            made = []
            for index in range(shard * SHARD, (shard + 1) * SHARD):
                frames = pixels(clip(scene_of(stream, index), first=first))[None].to(device)
                made.append(encoded(vae, kind, frames)[0].float().cpu().numpy().astype(np.float16))
            save(path, np.stack(made))
        yield path


class Latents:
    """What is on disk by now; a training run looks again from time to time, for a writer may be at work."""

    def __init__(self, folder: Path, stream: str) -> None:
        self._folder, self._stream = folder, stream
        self._files: dict[int, np.ndarray[Any, Any]] = {}
        self.look()

    def look(self) -> None:
        for path in sorted(self._folder.glob(f"{self._stream}-*.npy")):
            shard = int(path.stem.rsplit("-", 1)[1])
            if shard not in self._files:
                self._files[shard] = np.load(path, mmap_mode="r")
        if not self._files:
            raise ValueError(f"{self._folder} holds no latents of {self._stream!r}; run train.py latents first")

    def drawn(self, rng: np.random.Generator, count: int) -> tuple[list[int], torch.Tensor]:
        """Indices of the samples, and their latents [count, T, C, h, w]."""
        names = list(self._files)
        shards = [names[i] for i in rng.integers(len(names), size=count)]
        inside = rng.integers(SHARD, size=count)
        rows = [self._files[shard][at] for shard, at in zip(shards, inside, strict=True)]
        indices = [shard * SHARD + int(at) for shard, at in zip(shards, inside, strict=True)]
        return indices, torch.from_numpy(np.stack(rows)).float()

    def __len__(self) -> int:
        return SHARD * len(self._files)
