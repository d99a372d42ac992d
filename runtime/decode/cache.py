"""Keys and values of the settled rows, on the engine's device.

The graphs only read the cache; rows are appended here once they are final. Memory is taken in chunks: between two
growths the engine sees the same buffers at every step, and nothing is copied. Unused rows are zeros that the mask
hides. Does not know which rows are worth keeping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakSet

from ...engines.errors import BundleError
from ...engines.protocol import Buffer, Memory, Signature

__all__ = ["CHUNK", "Cache", "CacheShape", "Pool"]

CHUNK = 64
"""Rows by which the cache grows: a block or several, small beside any context worth caching."""


@dataclass(frozen=True)
class CacheShape:
    """Sizes of one model's cache."""

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


class Pool:
    """Buffers `[1, Hkv, capacity, D]`, a key and a value for each layer, in which caches have slots side by side.

    Sessions whose caches share a pool can be run by one forward: it is fed the same buffers for all. The slot of a
    cache that nobody holds any more is free.
    """

    def __init__(self, shape: CacheShape, memory: Memory) -> None:
        self.shape, self.memory, self.capacity = shape, memory, 0
        self._names = [f"{kind}_{layer}" for layer in range(shape.layers) for kind in ("key", "value")]
        self._made = tuple(f"new_{name}" for name in self._names)
        self._buffers: dict[str, Buffer] = {}
        self._feeds: dict[str, Buffer] = {}
        self._caches: WeakSet[Cache] = WeakSet()

    @property
    def shared(self) -> bool:
        """Several caches have slots here."""
        return len(self._caches) > 1

    def feeds(self) -> Mapping[str, Buffer]:
        """The buffers by the backbone's input names."""
        return self._feeds

    def outputs(self) -> Sequence[str]:
        """The backbone's output names whose rows `write` takes."""
        return self._made

    def write(self, new: Mapping[str, Buffer], first: int, count: int, at: int) -> None:
        """Copy `count` rows of the backbone's outputs from the `first` on to row `at`."""
        for name, buffer in self._buffers.items():
            self.memory.copy_rows(new[f"new_{name}"], first, count, buffer, at)

    def place(self, cache: Cache, rows: int) -> None:
        """Give `cache` a slot of at least `rows` rows, with its settled rows in it."""
        need, old = -(-rows // CHUNK) * CHUNK, cache.start
        slots = sorted((one.start, one.start + one.capacity) for one in self._caches)
        after = [start for start, _ in slots if start > cache.start]
        if cache not in self._caches or (after and after[0] - old < need):
            cache.start = _gap(slots, need)
        self._caches.add(cache)
        if cache.start + need > self.capacity:
            self._resize(cache.start + need, max((end for _, end in slots), default=0))
        if cache.start != old:
            for buffer in self._buffers.values():
                self.memory.copy_rows(buffer, old, cache.length, buffer, cache.start)
        cache.capacity = need

    def leave(self, cache: Cache) -> None:
        """Free the slot of `cache`."""
        self._caches.discard(cache)

    def take(self, cache: Cache, source: Pool, start: int, room: int) -> None:
        """Give `cache` a slot of `room` rows, with its rows as they stand in another pool from row `start` on."""
        rows, cache.length, cache.start, cache.capacity = cache.length, 0, 0, 0
        self.place(cache, room)
        cache.length = rows
        for name, buffer in self._buffers.items():
            self.memory.copy_rows(source._buffers[name], start, rows + cache.drafted, buffer, cache.start)

    def wipe(self, cache: Cache) -> None:
        """Fill the slot of `cache` with zeros."""
        zeros = self._empty(cache.capacity)
        for buffer in self._buffers.values():
            self.memory.copy_rows(zeros, 0, cache.capacity, buffer, cache.start)

    def _resize(self, rows: int, used: int) -> None:
        self._feeds = {}  # those who were given the old ones keep them
        for name in self._names:  # one at a time, so that only one is ever held twice
            made = self._empty(rows)
            if used:
                self.memory.copy_rows(self._buffers[name], 0, used, made, 0)
            self._buffers[name] = self._feeds[f"past_{name}"] = made
        self.capacity = rows

    def _empty(self, rows: int) -> Buffer:
        s = self.shape
        return self.memory.zeros((1, s.kv_heads, rows, s.head_dim), s.dtype)


def _gap(slots: Sequence[tuple[int, int]], rows: int) -> int:
    """First row of the first gap between `slots` (start, end) that holds `rows`."""
    at = 0
    for start, end in slots:
        if start - at >= rows:
            break
        at = end
    return at


class Cache:
    """`length` settled rows in a slot of `capacity` rows; with a pool of its own the slot is all of it."""

    def __init__(self, shape: CacheShape, memory: Memory, home: Pool | None = None) -> None:
        """`home`: a pool that others share, where this cache goes when it is run with them."""
        self.length = 0
        self.drafted = 0
        """Rows behind the settled ones that may still change."""
        self.start = self.capacity = 0
        self.home = home
        self.wanted = 0
        """Rows that it is going to hold, which are made room for where it is run with others."""
        self.sound = True
        """No row that it holds is known to be anything but finite numbers."""
        self.pool = Pool(shape, memory)
        self.pool.place(self, CHUNK)

    @property
    def shape(self) -> CacheShape:
        """Sizes of a row."""
        return self.pool.shape

    def feeds(self) -> Mapping[str, Buffer]:
        """The pool's buffers by the backbone's input names."""
        return self.pool.feeds()

    def outputs(self) -> Sequence[str]:
        """The backbone's output names whose rows `append` takes."""
        return self.pool.outputs()

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows in all, so that the slot need not grow on the way."""
        if rows > self.capacity:
            self.pool.place(self, rows)

    def append(self, new: Mapping[str, Buffer], count: int, drafted: int = 0, first: int = 0) -> None:
        """Keep `count` rows, from the `first` on, of the outputs named by `outputs()`, and the `drafted` after them.

        Drafted rows lie behind the settled ones until the next append or truncation.
        """
        self.reserve(self.length + count + drafted)
        self.pool.write(new, first, count + drafted, self.start + self.length)
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
        self.sound = True
        self.pool.wipe(self)

    def enter(self) -> None:
        """Go with all rows into the pool that others share, unless a row may be no number: it would spoil theirs."""
        if self.home is not None and self.pool is not self.home and self.sound:
            self._move(self.home, max(self.capacity, self.wanted))

    def leave(self) -> None:
        """Go with all rows into a pool of its own."""
        if self.pool is self.home:
            self._move(Pool(self.shape, self.pool.memory), max(self.length + self.drafted, 1))

    def _move(self, pool: Pool, room: int) -> None:
        source, start = self.pool, self.start
        source.leave(self)
        self.pool = pool
        pool.take(self, source, start, room)
