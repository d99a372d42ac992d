"""The network that denoises frames, over its cache: velocities of noisy blocks, keys and values of clean ones.

One graph serves steps and commits; a merged commit runs a clean block and the next noisy one together under a mask.
Knows what a block sees; not in which order blocks and steps come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import BundleError
from ...engines.protocol import Buffer, Engine
from ..decode.cache import CacheShape
from .cache import FrameCache, KeptFrames
from .clip import Block, Clip
from .contract import FilmContract
from .positions import rotations, sinusoid
from .text import Attended

__all__ = ["FrameNetwork", "Part"]

Feed = NDArray[np.generic]


@dataclass(frozen=True)
class Part:
    """A block's latents at a time: a noisy one, or a clean one that is to be kept."""

    block: Block
    latents: NDArray[np.float32]
    """`[C, F, h, w]`"""
    timestep: float


class FrameNetwork:
    """Graphs `frames` and `frames_merged` over one cache and one prompt."""

    def __init__(
        self, engine: Callable[[str], Engine], contract: FilmContract, shape: CacheShape, clip: Clip, prompt: Attended
    ) -> None:
        """`engine` gives a graph's engine by name. Raises BundleError if the graphs are not those of the contract."""
        frames = engine("frames")
        shape.check(frames.inputs)
        if (time := frames.inputs.get("time")) is None or time.shape[-1] != contract.network.freq_dim:
            raise BundleError(
                f"the frames graph has no input time [1, F, {contract.network.freq_dim}]; export the checkpoint again"
            )
        self.contract, self.clip, self.prompt = contract, clip, prompt
        self.cache = FrameCache(shape, clip.rows, frames.memory)
        self.forwards = 0
        self._engine = engine
        n = contract.network
        self._rotations = lru_cache(maxsize=4)(
            lambda start, count: rotations(start, count, clip.rows_grid, n.rope_axes, n.rope_theta)
        )

    def velocity(self, noisy: Part, clean: Part | None = None) -> NDArray[np.float32]:
        """Velocity `[C, F, h, w]` of a noisy block. `clean`, the block before, is run with it, and kept."""
        if clean is None:
            self.cache.show(self.clip.window.past(noisy.block))
            return self._run("frames", [noisy], {}, ["velocity"])
        self.cache.show(self.clip.window.past(clean.block))
        made = self._run("frames_merged", [clean, noisy], {"visible": self._visible(clean, noisy)}, self._all(), clean)
        return made[:, len(clean.block) :]

    def commit(self, clean: Part) -> None:
        """Run a clean block for its keys and values alone."""
        self.cache.show(self.clip.window.past(clean.block))
        # An engine that is not asked for the velocity may leave out what only leads there.
        self._run("frames", [clean], {}, self.cache.outputs(), clean)

    def kept(self) -> KeptFrames:
        """A copy of the cache, for a film that goes on from here."""
        return self.cache.kept()

    def recompute(self, clean: Sequence[Part]) -> None:
        """Keys and values of what the next block sees once more, for another prompt; those of the sink stay.

        The sink has to stay what it was, or else the scene is lost; LongLive does the same.
        """
        sink = [frame for frame in self.cache.frames if frame < self.clip.window.sink]
        for part in clean:
            if part.block.end > self.clip.window.sink:
                past = self.clip.window.past(part.block)
                self.cache.show([frame for frame in past if frame in sink])
                self._run("frames", [part], {}, self.cache.outputs(), part)
                sink += range(part.block.start, part.block.end)

    def _all(self) -> list[str]:
        return ["velocity", *self.cache.outputs()]

    def _run(
        self, graph: str, parts: Sequence[Part], more: dict[str, Feed], outputs: list[str], keep: Part | None = None
    ) -> NDArray[np.float32]:
        """Run a graph; hold what it gives of the block `keep`. Returns the velocity of all parts, if asked for."""
        feeds: dict[str, Feed | Buffer] = {
            **self.cache.feeds(),
            **self.prompt.feeds,
            "cross_bias": self.prompt.bias,
            **self._feeds(parts),
            **more,
        }
        kept = [name for name in outputs if name != "velocity"]
        made = dict(self._engine(graph).run(feeds, outputs, keep=kept))
        self.forwards += 1
        velocity = made.pop("velocity", None)
        if keep is not None:
            self.cache.hold(made, range(keep.block.start, keep.block.end))  # type: ignore[arg-type]
        return np.empty(0, np.float32) if velocity is None else np.asarray(velocity, np.float32)[0]

    def _feeds(self, parts: Sequence[Part]) -> dict[str, Feed]:
        times = [part.timestep for part in parts for _ in range(len(part.block))]
        turned = [self._rotations(part.block.start, len(part.block)) for part in parts]
        cos, sin = (np.concatenate([pair[i] for pair in turned]) for i in (0, 1))
        return {
            "latents": np.concatenate([part.latents for part in parts], axis=1)[None],
            "time": sinusoid(times, self.contract.network.freq_dim)[None],
            "rope_cos": cos[None, :, None],
            "rope_sin": sin[None, :, None],
        }

    def _visible(self, clean: Part, noisy: Part) -> NDArray[np.bool_]:
        """Mask `[1, 1, R, T + R]` of a merged commit: each half sees its own past, and clean rows no noisy ones."""
        past, own = self.clip.window.past(noisy.block), range(clean.block.start, clean.block.end)
        columns = (*self.cache.frames, *own, *range(noisy.block.start, noisy.block.end))
        held, first = len(self.cache.frames), len(clean.block)
        seen = np.zeros((first + len(noisy.block), len(columns)), np.bool_)
        seen[:first, : held + first] = True
        seen[first:] = [frame in past or frame >= noisy.block.start for frame in columns]
        rows = self.clip.rows
        return np.repeat(np.repeat(seen, rows, axis=0), rows, axis=1)[None, None]
