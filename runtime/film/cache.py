"""Keys and values of the clean frames that the next block sees, on the engine's device.

Every row of the buffers is seen, so no mask is needed and their order does not matter: a frame's keys carry its place.
Once a window is full, new frames take the slots of those that leave, in place. Rows are moved once a block, when a
further block is at hand, and never for a step. Does not know which frames a block may see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...engines.protocol import Buffer, Memory
from ..decode.cache import CacheShape

__all__ = ["FrameCache", "Held", "KeptFrames"]


@dataclass(frozen=True)
class Held:
    """Keys and values of a clean block, as the network gave them; nobody writes to them."""

    new: Mapping[str, Buffer]
    """Output name to `[1, A, R, D]`; the block's rows come first."""
    frames: tuple[int, ...]


@dataclass(frozen=True)
class KeptFrames:
    """A copy of what a cache held: see `FrameCache.kept`."""

    frames: tuple[int, ...]
    buffers: Mapping[str, Buffer]
    held: Held | None


class FrameCache:
    """Buffers `[1, A, frames * rows, D]`, a key and a value for each layer; `frames` says which frame a slot holds."""

    def __init__(self, shape: CacheShape, rows: int, memory: Memory) -> None:
        self.shape, self.rows, self._memory = shape, rows, memory
        self.frames: tuple[int, ...] = ()
        self._held: Held | None = None
        names = [f"{kind}_{layer}" for layer in range(shape.layers) for kind in ("key", "value")]
        self._buffers: dict[str, Buffer] = {name: self._empty(0) for name in names}

    def feeds(self) -> dict[str, Buffer]:
        """The buffers by the network's input names."""
        return {f"past_{name}": buffer for name, buffer in self._buffers.items()}

    def outputs(self) -> list[str]:
        """The network's output names whose rows `hold` takes."""
        return [f"new_{name}" for name in self._buffers]

    def hold(self, new: Mapping[str, Buffer], frames: Sequence[int]) -> None:
        """Take over the keys and values of the clean `frames`, whose rows come first in the outputs."""
        assert self._held is None, "a block's rows come in before the next block is held"
        self._held = Held(new, tuple(frames))

    def show(self, wanted: Sequence[int]) -> None:
        """Make `wanted` the frames that are seen; those that are neither there nor held have never been run."""
        if self._held is None and set(wanted) == set(self.frames):
            return
        held = () if self._held is None else self._held.frames
        coming = [frame for frame in wanted if frame not in self.frames]
        assert set(coming) <= set(held), f"frames {coming} are wanted, {held} are held"
        leaving = [slot for slot, frame in enumerate(self.frames) if frame not in wanted]
        slots = dict(zip(coming, leaving, strict=False))
        if len(coming) == len(leaving):
            self._take_in(slots)
        else:
            self._resize(wanted)
        self._held = None

    def kept(self) -> KeptFrames:
        """A copy, which later blocks do not change."""
        copies = {name: self._empty(len(self.frames)) for name in self._buffers}
        for name, buffer in self._buffers.items():
            self._copy(buffer, 0, len(self.frames), copies[name], 0)
        return KeptFrames(self.frames, copies, self._held)

    def restore(self, kept: KeptFrames) -> None:
        """Go back to what was kept; it may be gone back to again."""
        self.frames, self._held = kept.frames, kept.held
        for name, buffer in kept.buffers.items():
            self._buffers[name] = self._empty(len(kept.frames))
            self._copy(buffer, 0, len(kept.frames), self._buffers[name], 0)

    def _take_in(self, slots: Mapping[int, int]) -> None:
        """Write held frames over the slots of those that leave."""
        order = list(self.frames)
        for frame, slot in slots.items():
            order[slot] = frame
        self._write([(frame, slot) for frame, slot in slots.items()], self._buffers)
        self.frames = tuple(order)

    def _resize(self, wanted: Sequence[int]) -> None:
        """Buffers of another length: frames that stay, then held ones. One layer at a time is in memory twice."""
        staying = [frame for frame in self.frames if frame in wanted]
        coming = [frame for frame in wanted if frame not in self.frames]
        moves = [(self.frames.index(frame), slot) for slot, frame in enumerate(staying)]
        for name, old in self._buffers.items():
            self._buffers[name] = self._empty(len(wanted))
            for source, slot, count in _runs(moves):
                self._copy(old, source, count, self._buffers[name], slot)
        self._write([(frame, len(staying) + i) for i, frame in enumerate(coming)], self._buffers)
        self.frames = (*staying, *coming)

    def _write(self, places: Sequence[tuple[int, int]], buffers: Mapping[str, Buffer]) -> None:
        """Copy held frames into their slots."""
        if self._held is None or not places:
            return
        runs = _runs([(self._held.frames.index(frame), slot) for frame, slot in places])
        for name, buffer in buffers.items():
            for source, slot, count in runs:
                self._copy(self._held.new[f"new_{name}"], source, count, buffer, slot)

    def _copy(self, source: Buffer, start: int, count: int, target: Buffer, at: int) -> None:
        if count:
            r = self.rows
            self._memory.copy_rows(source, start * r, count * r, target, at * r)

    def _empty(self, frames: int) -> Buffer:
        s = self.shape
        return self._memory.zeros((1, s.kv_heads, frames * self.rows, s.head_dim), s.dtype)


def _runs(moves: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Moves (from, to) as runs (from, to, count) of neighbours."""
    runs: list[tuple[int, int, int]] = []
    for source, target in moves:
        if runs and (source, target) == (runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]):
            runs[-1] = (*runs[-1][:2], runs[-1][2] + 1)
        else:
            runs.append((source, target, 1))
    return runs
