"""The weights of one precision in one file: every tensor once, however many graphs read it, and where it lies.

Exports and calibrations write such files, and plans reckon their size. Knows bytes, offsets and names; neither graphs
nor what a tensor is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .staging import Staging, aligned
from .weight_index import StoredTensor

__all__ = ["WeightFile", "file_bytes"]


@dataclass
class WeightFile:
    """`weights.<precision>.data`, growing."""

    precision: str
    staging: Staging
    tensors: dict[str, StoredTensor] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the file in the bundle."""
        return f"weights.{self.precision}.data"

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.staging.file(self.name).size

    def append(self, key: str, raw: NDArray[np.uint8], shape: tuple[int, ...], kind: str) -> StoredTensor:
        """Write a tensor's bytes behind the others."""
        offset = self.staging.file(self.name).tensor(raw.data)
        self.tensors[key] = StoredTensor(offset, len(raw), shape, kind)
        return self.tensors[key]

    def mapped(self, key: str) -> NDArray[np.uint8]:
        """A tensor's bytes where they lie in the closed file; pages are the system's to drop, changes are not kept."""
        at = self.tensors[key]
        return np.memmap(self.staging.path / self.name, np.uint8, "c", at.offset, (at.bytes,))

    def close(self) -> None:
        """Flush to the disk; nothing is appended any more."""
        self.staging.file(self.name).close()


def file_bytes(counts: Iterable[int]) -> int:
    """Size of the file that holds tensors of so many bytes, in this order."""
    size = 0
    for count in counts:
        size = aligned(size, count) + count
    return size
