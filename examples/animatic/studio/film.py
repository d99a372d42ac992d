"""The plain decode loop: prompts and noise in, frames out, block after block with a cache. Slow and obvious.

A step goes straight on, x <- x - (sigma - sigma') v, the rule of a network that has learned velocities alone;
`renoise` is Self-Forcing's, x0 = x - sigma v, x <- (1 - sigma') x0 + sigma' noise. What the last step gives is the
block, and a forward at time 0 commits it. Knows no bundles.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .autoencoder import decoded
from .camera import FRAMES, HEIGHT, WIDTH
from .checkpoint import SHIFT, STEPS, Checkpoint
from .language import rows
from .network import Cache, step

__all__ = ["drawn_noise", "filmed", "latents", "sigmas"]

STEP_LISTS = {1: (1000,), 2: (1000, 500), 4: STEPS, 8: (1000, 875, 750, 625, 500, 375, 250, 125)}


def sigmas(steps: int, shift: float = SHIFT) -> list[float]:
    """Noise levels of a decode, the final 0 included. Raises ValueError for less than one step."""
    if steps < 1:
        raise ValueError(f"got {steps} steps, expected at least 1")
    levels = [value / 1000 for value in STEP_LISTS.get(steps, [1000 * (1 - i / steps) for i in range(steps)])]
    return [shift * s / (1 + (shift - 1) * s) for s in levels] + [0.0]


def drawn_noise(seeds: Sequence[int], channels: int, steps: int, frames: int = FRAMES) -> Tensor:
    """[N, steps, T, C, h, w]: the start, and what is added on the way to each later step."""
    shape = (steps, 1 + (frames - 1) // 4, channels, HEIGHT // 8, WIDTH // 8)
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@torch.no_grad()
def latents(
    net: Any,
    text: Tensor,
    noise: Tensor,
    steps: int,
    guidance: float = 1.0,
    unprompted: Tensor | None = None,
    renoise: bool = False,
) -> Tensor:
    """[N, T, C, h, w]. `guidance` over 1 needs the rows of an empty prompt; `renoise` wants noise for every step."""
    cache, bare = Cache(net, text), Cache(net, unprompted) if unprompted is not None else None
    levels, done = sigmas(steps), []
    for frame in range(noise.shape[2]):
        x = noise[:, 0, frame]
        for index, (sigma, following) in enumerate(pairwise(levels)):
            v = step(net, x, sigma, cache)
            if bare is not None and guidance != 1.0:
                free = step(net, x, sigma, bare)
                v = free + guidance * (v - free)
            if not renoise or following == 0.0:
                x = x - (sigma - following) * v
            else:
                x = (1 - following) * (x - sigma * v) + following * noise[:, index + 1, frame]
        done.append(x)
        if frame + 1 < noise.shape[2]:
            for kept in (cache, bare):
                if kept is not None:
                    step(net, x, 0.0, kept, commit=True)
    return torch.stack(done, 1)


@torch.no_grad()
def filmed(
    parts: Checkpoint,
    prompts: Sequence[str],
    seeds: Sequence[int],
    steps: int = 4,
    guidance: float = 1.0,
    renoise: bool = False,
) -> NDArray[np.uint8]:
    """[N, frames, H, W, 3]."""
    text = rows(parts.encoder, parts.words, prompts)
    unprompted = rows(parts.encoder, parts.words, [""] * len(prompts)) if guidance != 1.0 else None
    noise = drawn_noise(seeds, parts.net.config.in_channels, steps if renoise else 1)
    made = latents(parts.net, text, noise, steps, guidance, unprompted, renoise)
    frames = decoded(parts.vae, parts.kind, made)
    return ((frames.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(2, -1).numpy()
