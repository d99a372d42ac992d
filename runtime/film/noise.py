"""Noise of a clip as data: given as arrays, or drawn from a seed so that any language can draw it again.

Drawn noise belongs to a latent frame: it does not depend on the clip's length, on its blocks, on the engine, or on
which blocks were made before. Philox4x64 with 10 rounds (Salmon et al. 2011) and Box and Muller's transform in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError
from .clip import Block, Clip
from .contract import FilmContract

__all__ = ["Anchored", "Drawn", "Given", "Noise", "given", "normal"]

STREAM = 2
"""Streams 0 and 1 of a seed are those of words."""


class Noise(Protocol):
    """Standard normal numbers `[C, F, h, w]` for the latents of a block."""

    def start(self, block: Block) -> NDArray[np.float32]:
        """Latents that denoising begins with."""

    def fresh(self, block: Block, step: int) -> NDArray[np.float32]:
        """Noise that is added on the way from `step` to the next."""


def normal(seed: int, frame: int, draw: int, count: int) -> NDArray[np.float32]:
    """`count` normal numbers of one latent frame; `draw` 0 is the start, 1 + s is added behind step s.

    Each 64 bits give a pair: u1 = (high 32 bits + 1) / 2^32, u2 = low 32 bits / 2^32, and sqrt(-2 ln u1) times the
    cosine and the sine of 2 pi u2. So no number lies beyond 6.7.
    """
    bits = np.random.Philox(key=seed, counter=[0, STREAM, draw, frame]).random_raw((count + 1) // 2)
    u1 = ((bits >> np.uint64(32)) + np.uint64(1)).astype(np.float64) * 2.0**-32
    u2 = (bits & np.uint64(0xFFFFFFFF)).astype(np.float64) * 2.0**-32
    radius, angle = np.sqrt(-2 * np.log(u1)), 2 * np.pi * u2
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1)[:count].astype(np.float32)


@dataclass(frozen=True)
class Drawn:
    """Noise of a seed."""

    seed: int
    channels: int
    grid: tuple[int, int]

    def start(self, block: Block) -> NDArray[np.float32]:
        """See `Noise.start`."""
        return self._block(block, 0)

    def fresh(self, block: Block, step: int) -> NDArray[np.float32]:
        """See `Noise.fresh`."""
        return self._block(block, 1 + step)

    def _block(self, block: Block, draw: int) -> NDArray[np.float32]:
        shape = (self.channels, *self.grid)
        frames = [normal(self.seed, f, draw, prod(shape)).reshape(shape) for f in range(block.start, block.end)]
        return np.stack(frames, axis=1)


@dataclass(frozen=True)
class Given:
    """Noise as arrays."""

    noise: NDArray[np.float32]
    """`[C, T, h, w]`"""
    renoise: NDArray[np.float32]
    """`[S - 1, C, T, h, w]`"""

    def start(self, block: Block) -> NDArray[np.float32]:
        """See `Noise.start`."""
        return self.noise[:, block.start : block.end]

    def fresh(self, block: Block, step: int) -> NDArray[np.float32]:
        """See `Noise.fresh`."""
        return self.renoise[step, :, block.start : block.end]


@dataclass(frozen=True)
class Anchored:
    """Noise whose first frame is a picture's latents, at the start and whenever noise is added.

    A frame without velocity then stays the picture under every rule whose latents and noise have weights that add to 1.
    """

    noise: Noise
    picture: NDArray[np.float32]
    """`[C, 1, h, w]`"""

    def start(self, block: Block) -> NDArray[np.float32]:
        """See `Noise.start`."""
        return self._anchored(self.noise.start(block), block)

    def fresh(self, block: Block, step: int) -> NDArray[np.float32]:
        """See `Noise.fresh`."""
        return self._anchored(self.noise.fresh(block, step), block)

    def _anchored(self, noise: NDArray[np.float32], block: Block) -> NDArray[np.float32]:
        return np.concatenate([self.picture, noise[:, 1:]], axis=1) if block.start == 0 else noise


def given(
    noise: NDArray[np.float32], renoise: NDArray[np.float32] | None, clip: Clip, contract: FilmContract, steps: int
) -> Given:
    """Arrays as the noise of `clip`, whose blocks take up to `steps` steps.

    `noise` is `[C, T, h, w]`, `renoise` `[S - 1, C, T, h, w]`, both normal numbers in float32; more frames or steps
    than needed are left. Raises RequestError for other shapes and for numbers that are not finite.
    """
    wanted = (contract.latent.channels, clip.latents, *clip.grid)
    rows = np.zeros((0, *wanted), np.float32) if renoise is None else np.asarray(renoise)
    noise, lines = np.asarray(noise), []
    if not _fits(noise.shape, wanted):
        lines.append(f"noise: got shape {list(noise.shape)}, expected {list(wanted)} (channels, frames, height, width)")
    if len(rows.shape) != 5 or rows.shape[0] < steps - 1 or not _fits(rows.shape[1:], wanted):
        lines.append(
            f"renoise: got shape {list(rows.shape)}, expected {[steps - 1, *wanted]}: one for each step but the last"
        )
    for name, array in (("noise", noise), ("renoise", rows)):
        if array.dtype.kind != "f":
            lines.append(f"{name}: got {array.dtype}, expected float32")
        elif wrong := int(np.count_nonzero(~np.isfinite(array))):
            lines.append(f"{name}: {wrong} of {array.size} numbers are not finite (NaN or infinite), expected none")
    if lines:
        raise RequestError("\n".join(lines))
    return Given(noise.astype(np.float32, copy=False), rows.astype(np.float32, copy=False))


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """`shape` has at least the wanted frames, and is `wanted` otherwise."""
    return len(shape) == 4 and shape[1] >= wanted[1] and (shape[0], *shape[2:]) == (wanted[0], *wanted[2:])
