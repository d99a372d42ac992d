"""The decode loop of frames: noise in, a few steps, a block of frames out, and its keys and values for the next.

A coroutine, as that of words is: it yields requests, is sent what came of them, and yields a step after each forward of
denoising. Knows blocks and step lists; not engines, text, pixels' whereabouts or files. docs/frames.md derives it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .clip import Block
from .contract import StepList
from .network import Part
from .noise import Noise

__all__ = ["Commit", "Finished", "Predict", "Script", "Step", "advanced", "film"]


@dataclass(frozen=True)
class Predict:
    """Ask for the velocity `[C, F, h, w]` of a noisy block; `clean` is run with it and kept."""

    noisy: Part
    step: int
    clean: Part | None = None


@dataclass(frozen=True)
class Commit:
    """Ask for the keys and values of a clean block to be kept."""

    clean: Part


@dataclass(frozen=True)
class Step:
    """A block has taken a step."""

    block: Block
    step: int
    steps: int
    latents: NDArray[np.float32]
    velocity: NDArray[np.float32]
    """`[C, F, h, w]`, both."""


@dataclass(frozen=True)
class Finished:
    """A block is done: its latents are clean."""

    block: Block
    latents: NDArray[np.float32]


@dataclass(frozen=True)
class Script:
    """Everything that a decode of one clip is made of."""

    blocks: Sequence[Block]
    """The blocks to make."""
    first: StepList
    rest: StepList
    """Steps of the clip's first block that is denoised, and of all others."""
    noise: Noise
    commit_timestep: float
    merged: bool
    opening: int = 0
    """Index of the clip's first block that is denoised."""
    picture: NDArray[np.float32] | None = None
    """Latents `[C, 1, h, w]` of the block that is given."""
    pending: Part | None = None
    """The clean block before the first one, if it has not been kept yet."""

    def steps(self, block: Block) -> StepList:
        """Step list of a block."""
        return self.first if block.index == self.opening else self.rest


def film(script: Script) -> Generator[Predict | Commit | Step | Finished, Any, None]:
    """Make the script's blocks. A finished block is kept once a further one is wanted, so the last one never is."""
    pending = script.pending
    for block in script.blocks:
        if pending is not None and (block.given or not script.merged):
            yield Commit(pending)
            pending = None
        if block.given:
            x = script.picture
        else:
            x, steps, velocities = script.noise.start(block), script.steps(block), []
            for s, timestep in enumerate(steps.timesteps):
                # Merged commit: the block before rides along with the first step, and only its rows are kept.
                v = yield Predict(Part(block, x, timestep), s, pending)
                pending = None
                velocities.append(v)
                fresh = script.noise.fresh(block, s) if steps.noise[s] else None
                x = advanced(steps, s, x, velocities, fresh)
                yield Step(block, s, len(steps), x, v)
        assert x is not None, "a block that is given comes with a picture"
        pending = Part(block, x, script.commit_timestep)
        yield Finished(block, x)


def advanced(
    steps: StepList,
    s: int,
    x: NDArray[np.float32],
    velocities: Sequence[NDArray[np.float32]],
    noise: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Latents after step s by the linear rule, computed in float64: keep x + sum of velocity[k] v_k + noise e."""
    made = steps.keep[s] * x.astype(np.float64)
    for c, v in zip(steps.velocity[s], velocities, strict=True):
        if c:
            made += c * v
    if noise is not None:
        made += steps.noise[s] * noise
    return made.astype(np.float32)
