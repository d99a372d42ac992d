"""Keys and values of the settled rows, on the engine's device.

The graphs only read the cache; rows are appended here once they are final. Memory is taken in chunks: between two
growths the engine sees the same buffers at every step, and nothing is copied. Unused rows are zeros that the mask
hides. Does not know which rows are worth keeping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...engines.errors import BundleError
from ...engines.protocol import Buffer, Memory, Signature

__all__ = ["CHUNK", "Cache", "CacheShape"]

CHUNK = 64
"""Rows by which the cache grows: a block or several, small beside any context worth caching."""


@dataclass(frozen=True)
class CacheShape:
    """What the cache of one model holds."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: str

    def bytes(self, rows: int) -> int:
        """Size of `rows` rows in bytes."""
        width = 4 if self.dtype == "float32" else 2
        return 2 * self.layers * self.kv_heads * rows * self.head_dim * width

    def check(self, inputs: Mapping[str, Signature]) -> None:
        """Raise BundleError unless a backbone with these inputs reads such a cache: a manifest may claim any size."""
        takes = {name: signature for name, signature in inputs.items() if name.startswith("past_")}
        names = [f"past_{kind}_{layer}" for layer in range(self.layers) for kind in ("key", "value")]
        row = (1, self.kv_heads, self.head_dim)
        alike = all(s.dtype == self.dtype and (*s.shape[:2], s.shape[-1]) == row for s in takes.values())
        if sorted(takes) != sorted(names) or not alike:
            got = ", ".join(f"{name} {s.dtype}{list(s.shape)}" for name, s in list(takes.items())[:2])
            raise BundleError(
                f"the manifest speaks of {self.layers} layers with {self.kv_heads} {self.dtype} heads of "
                f"{self.head_dim}, but the backbone reads {len(takes)} caches: {got}, .... Export the checkpoint again."
            )


class Cache:
    """`length` settled rows in buffers `[1, Hkv, capacity, D]`, a key and a value for each layer."""

    def __init__(self, shape: CacheShape, memory: Memory) -> None:
        self.length = 0
        self.drafted = 0
        """Rows behind the settled ones that may still change."""
        self.capacity = CHUNK
        self.shape, self._memory = shape, memory
        names = [f"{kind}_{layer}" for layer in range(shape.layers) for kind in ("key", "value")]
        self._buffers = {name: self._empty(CHUNK) for name in names}

    def feeds(self) -> dict[str, Buffer]:
        """The buffers by the backbone's input names."""
        return {f"past_{name}": buffer for name, buffer in self._buffers.items()}

    def outputs(self) -> Sequence[str]:
        """The backbone's output names whose rows `append` takes."""
        return [f"new_{name}" for name in self._buffers]

    def append(self, new: Mapping[str, Buffer], count: int, drafted: int = 0) -> None:
        """Keep the first `count` rows of the outputs named by `outputs()`, and the `drafted` rows after them.

        Drafted rows lie behind the settled ones until the next append or truncation.
        """
        rows = count + drafted
        if self.length + rows > self.capacity:
            self._grow(self.length + rows)
        for name, buffer in self._buffers.items():
            self._memory.copy_rows(new[f"new_{name}"], 0, rows, buffer, self.length)
        self.length, self.drafted = self.length + count, drafted

    def settle(self, count: int) -> None:
        """Keep the first `count` of the drafted rows, and forget the others."""
        self.length, self.drafted = self.length + count, 0

    def truncate(self, length: int) -> None:
        """Forget the rows from `length` on; their memory is used again."""
        self.length, self.drafted = min(length, self.length), 0

    def clear(self) -> None:
        """Forget all rows and what stands in their memory."""
        self.length = self.drafted = 0
        self._buffers = {name: self._empty(self.capacity) for name in self._buffers}

    def _grow(self, rows: int) -> None:
        self.capacity = -(-rows // CHUNK) * CHUNK
        for name, old in self._buffers.items():  # one at a time, so that only one is ever held twice
            self._buffers[name] = self._empty(self.capacity)
            self._memory.copy_rows(old, 0, self.length, self._buffers[name], 0)

    def _empty(self, rows: int) -> Buffer:
        s = self.shape
        return self._memory.zeros((1, s.kv_heads, rows, s.head_dim), s.dtype)
