"""The tower that denoises a whole clip over prompts that were read: its velocity, guided away from a negative prompt.

The counterpart of `network.py` for the same loop: a clip is one block, and nothing is committed. A picture's frame is
clean: its rows get no time and have no velocity. Knows one clip; not which steps come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import BundleError, RequestError
from ...engines.protocol import Engine
from .cache import KeptFrames
from .clip import Clip
from .condition import Condition
from .contract import FilmContract
from .network import Part
from .places import places, turned
from .positions import sinusoid
from .towers_spec import GuidanceSpec

__all__ = ["Pass", "TowerNetwork", "pass_of"]

Feed = NDArray[np.generic]


@dataclass(frozen=True)
class Pass:
    """A prompt, and the rotations of the clip's rows behind it: its length moves them."""

    condition: Condition
    rope_cos: NDArray[np.float32]
    rope_sin: NDArray[np.float32]
    """`[1, R, 1, D]`, both."""


def pass_of(condition: Condition, contract: FilmContract, clip: Clip, fps: float) -> Pass:
    """The pass of a clip over one prompt."""
    towers = contract.towers
    assert towers is not None, "a contract of two towers"
    at = places(towers.places, condition.length, clip.latents, _grid(clip, towers.patch), fps, contract.latent.temporal)
    cos, sin = turned(towers.places, at)
    return Pass(condition, cos[None, :, None], sin[None, :, None])


@dataclass
class TowerNetwork:
    """Graph `velocity` over one clip's prompts."""

    load: Callable[[], Engine]
    """Function that gives the graph's engine: not before the first step, when the tower that reads may be gone."""
    contract: FilmContract
    clip: Clip
    wanted: Pass
    unwanted: Pass | None
    """The negative prompt's; None where no step is guided."""
    guidance: GuidanceSpec
    clean: int = 0
    """First latent frames that are given."""
    forwards: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        towers = self.contract.towers
        assert towers is not None, "a contract of two towers"
        self._patch, self._time_scale = towers.patch, towers.time_scale

    @cached_property
    def engine(self) -> Engine:
        """The graph's engine. Raises EngineError; BundleError if the graph is not that of the contract."""
        engine, n = self.load(), self.contract.network
        rows, values = engine.inputs.get("rows"), self.contract.latent.channels * self._patch**2
        held = sum(name.startswith("condition_key_") for name in engine.inputs)
        if rows is None or rows.shape[-1] != values or held != n.layers:
            raise BundleError(
                f"the velocity graph does not take rows of {values} numbers over {n.layers} layers of a prompt; export "
                "the checkpoint again"
            )
        return engine

    def let_go(self) -> None:
        """Forget the engine, behind the last step; another step would load it again."""
        self.__dict__.pop("engine", None)

    def velocity(self, noisy: Part, clean: Part | None = None) -> NDArray[np.float32]:
        """Velocity `[C, F, h, w]` of the clip, zero on frames that are given."""
        assert clean is None, "a clip of one block has none before it"
        feeds = self._feeds(noisy)
        made = self._run(feeds, self.wanted)
        if self.unwanted is not None and self.guidance.guided(noisy.timestep):
            away = self._run(feeds, self.unwanted)
            made = away + np.float32(self.guidance.scale) * (made - away)
        velocity = unpatched(made, noisy.latents.shape, self._patch)
        velocity[:, : self.clean] = 0
        return velocity

    def commit(self, clean: Part) -> None:
        """Nothing is kept: nothing comes behind a clip of one block."""

    def kept(self) -> KeptFrames:
        """Raises RequestError: no other film can go on from here."""
        raise RequestError(
            "this bundle makes a clip at once, so nothing can go on behind it; begin another from a picture"
        )

    def _run(self, feeds: dict[str, Feed], one: Pass) -> NDArray[np.float32]:
        turned: dict[str, Feed] = {"rope_cos": one.rope_cos, "rope_sin": one.rope_sin}
        made = self.engine.run({**feeds, **turned, **one.condition.feeds}, ["velocity"])["velocity"]
        self.forwards += 1
        velocity: NDArray[np.float32] = np.asarray(made, np.float32)[0]
        return velocity

    def _feeds(self, noisy: Part) -> dict[str, Feed]:
        rows = patched(noisy.latents, self._patch)
        frame = len(rows) // noisy.latents.shape[1]
        is_noisy = (np.arange(len(rows)) >= self.clean * frame).astype(np.float32)
        time = sinusoid([float(np.float32(noisy.timestep) * np.float32(self._time_scale))], self._width)
        return {"rows": rows[None], "noisy": is_noisy[None, :, None], "time": time}

    @property
    def _width(self) -> int:
        return self.contract.network.freq_dim


def _grid(clip: Clip, patch: int) -> tuple[int, int]:
    """Rows of a frame."""
    return -(-clip.grid[0] // patch), -(-clip.grid[1] // patch)


def patched(latents: NDArray[np.float32], patch: int) -> NDArray[np.float32]:
    """Latents `[C, F, h, w]` to rows `[R, patch patch C]` in the order time, height, width; zeros fill odd sizes."""
    c, f, h, w = latents.shape
    padded = np.pad(latents, ((0, 0), (0, 0), (0, -h % patch), (0, -w % patch)))
    parts = padded.reshape(c, f, padded.shape[2] // patch, patch, padded.shape[3] // patch, patch)
    return np.ascontiguousarray(parts.transpose(1, 2, 4, 3, 5, 0).reshape(-1, patch * patch * c))


def unpatched(rows: NDArray[np.float32], shape: tuple[int, ...], patch: int) -> NDArray[np.float32]:
    """The inverse: rows to latents of `shape [C, F, h, w]`, what filled them cut off."""
    c, f, h, w = shape
    parts = rows.reshape(f, -(-h // patch), -(-w // patch), patch, patch, c).transpose(5, 0, 1, 3, 2, 4)
    whole = parts.reshape(c, f, -(-h // patch) * patch, -(-w // patch) * patch)
    return np.ascontiguousarray(whole[:, :, :h, :w])
