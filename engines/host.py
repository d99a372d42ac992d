"""Buffers in the host's own memory: numpy arrays. Shared by every engine whose device is the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .checks import check_rows
from .protocol import Array, Buffer

__all__ = ["HostBuffer", "HostMemory", "on_host"]


@cache
def _name(dtype: np.dtype[np.generic]) -> str:
    return dtype.name  # numpy puts it together anew each time, and every step asks for each layer


@dataclass(frozen=True, eq=False)
class HostBuffer:
    """A numpy array behind the Buffer protocol."""

    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.array.shape

    @property
    def dtype(self) -> str:
        """The elements' numpy name."""
        return _name(self.array.dtype)

    def numpy(self) -> Array:
        """The array itself, not a copy."""
        return self.array


def on_host(feed: Array | Buffer) -> Array:
    """The feed as an array on the host."""
    return feed if isinstance(feed, np.ndarray) else feed.numpy()


class HostMemory:
    """Memory of the host."""

    waits = False

    def zeros(self, shape: Sequence[int], dtype: str) -> HostBuffer:
        """A new array of zeros."""
        return HostBuffer(np.zeros(tuple(shape), dtype))

    def copy_rows(self, source: Buffer, start: int, count: int, target: Buffer, at: int) -> None:
        """Copy rows along the axis before the last. Raises EngineError if they are not there, or not alike."""
        check_rows(source, start, count, target, at)
        target.numpy()[..., at : at + count, :] = source.numpy()[..., start : start + count, :]
