"""Buffers in the host's own memory: numpy arrays. Shared by every engine whose device is the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .errors import EngineError
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
    """What was fed, as an array."""
    return feed if isinstance(feed, np.ndarray) else feed.numpy()


class HostMemory:
    """Memory of the host."""

    waits = False

    def zeros(self, shape: Sequence[int], dtype: str) -> HostBuffer:
        """A new array of zeros."""
        return HostBuffer(np.zeros(tuple(shape), dtype))

    def copy_rows(self, source: Buffer, start: int, count: int, target: Buffer, at: int) -> None:
        """Copy rows along the axis before the last. Raises EngineError if they are not there, or not alike."""
        old, new = source.numpy(), target.numpy()
        alike = old.dtype == new.dtype and old.shape[:-2] == new.shape[:-2] and old.shape[-1] == new.shape[-1]
        # Slices beyond the end would copy fewer rows without a word.
        if not (alike and 0 <= start <= start + count <= old.shape[-2] and 0 <= at <= at + count <= new.shape[-2]):
            raise EngineError(
                f"cannot copy {count} rows from {start} of {old.dtype}{list(old.shape)} to {at} of "
                f"{new.dtype}{list(new.shape)}; expected buffers alike but for their rows, and rows within both"
            )
        new[..., at : at + count, :] = old[..., start : start + count, :]
