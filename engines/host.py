"""Buffers in the host's own memory: numpy arrays. Shared by every engine whose device is the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .protocol import Array, Buffer

__all__ = ["HostBuffer", "HostMemory"]


@dataclass(frozen=True, eq=False)
class HostBuffer:
    """A numpy array behind the Buffer protocol."""

    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.array.shape

    def numpy(self) -> Array:
        """The array itself, not a copy."""
        return self.array


class HostMemory:
    """Memory of the host."""

    def zeros(self, shape: Sequence[int], dtype: str) -> HostBuffer:
        """A new array of zeros."""
        return HostBuffer(np.zeros(tuple(shape), dtype))

    def copy_rows(self, source: Buffer, start: int, count: int, target: Buffer, at: int) -> None:
        """Copy rows along the axis before the last."""
        target.numpy()[..., at : at + count, :] = source.numpy()[..., start : start + count, :]
