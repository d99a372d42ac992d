"""The common part of engines: buffers in the host's own memory, and checks of what an engine is fed before it runs.

All engines refuse the same things in the same words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .errors import EngineError
from .protocol import Array, Buffer, Feeds, Signature

__all__ = [
    "HostBuffer",
    "HostMemory",
    "check_feeds",
    "check_outputs",
    "check_rows",
    "on_host",
]


def check_feeds(graph: str, feeds: Feeds, inputs: Mapping[str, Signature]) -> None:
    """Raise EngineError unless `feeds` are exactly the inputs, with their dtypes and ranks; all faults at once."""
    if feeds.keys() == inputs.keys() and all(_fits(feed, inputs[name]) for name, feed in feeds.items()):
        return
    lines = [f"input {name!r} is missing" for name in inputs if name not in feeds]
    for name, feed in feeds.items():
        lines += _faults(name, feed, inputs[name]) if name in inputs else [f"{name!r} is not an input"]
    if lines:
        shown = ", ".join(f"{name} {s.dtype}{list(s.shape)}" for name, s in list(inputs.items())[:8])
        raise EngineError(f"{graph}: {'; '.join(lines)}. Its inputs are {shown}{', ...' * (len(inputs) > 8)}.")


def check_outputs(graph: str, wanted: Sequence[str], keep: Sequence[str], outputs: Mapping[str, Signature]) -> None:
    """Raise EngineError unless `wanted` are outputs, each once and at least one, and hold all of `keep`."""
    if wanted and outputs.keys() >= (names := set(wanted)) >= set(keep) and len(names) == len(wanted):
        return
    lines = [f"{name!r} is not an output" for name in wanted if name not in outputs]
    lines += [f"{name!r} is asked for {n} times" for name, n in Counter(wanted).items() if n > 1]
    lines += [f"{name!r} is to be kept, but is not returned" for name in keep if name not in wanted]
    lines += [] if wanted else ["no output is asked for"]
    if lines:
        raise EngineError(f"{graph}: {'; '.join(lines)}. Its outputs are {', '.join(outputs)}.")


def check_rows(source: Buffer, start: int, count: int, target: Buffer, at: int) -> None:
    """Raise EngineError unless both buffers are alike but for their rows, and have the rows that are to be copied."""
    old, new = source.shape, target.shape
    alike = source.dtype == target.dtype and old[:-2] == new[:-2] and old[-1] == new[-1]
    # Slices beyond the end would copy fewer rows without a word.
    if not (alike and 0 <= start <= start + count <= old[-2] and 0 <= at <= at + count <= new[-2]):
        raise EngineError(
            f"cannot copy {count} rows from {start} of {source.dtype}{list(old)} to {at} of "
            f"{target.dtype}{list(new)}; expected buffers alike but for their rows, and rows within both"
        )


def _fits(feed: Array | Buffer, expected: Signature) -> bool:
    """True where `_faults` would find none; every step asks for every input, so this does no more than it must."""
    try:
        shape = feed.shape
        if feed.dtype != expected.dtype or len(shape) != len(expected.shape):
            return False
    except AttributeError:
        return False
    for axis, size in expected.fixed:  # noqa: SIM110 - `all` of a generator takes twice as long
        if shape[axis] != size:
            return False
    return True


def _faults(name: str, feed: Array | Buffer, expected: Signature) -> list[str]:
    if not isinstance(feed, np.ndarray) and not hasattr(feed, "numpy"):
        return [f"{name!r} is a {type(feed).__name__}, expected an ndarray or a Buffer"]
    if feed.dtype != expected.dtype:
        return [f"{name!r} is {feed.dtype}, expected {expected.dtype}"]
    shape = feed.shape
    if len(shape) == len(expected.shape) and all(shape[axis] == size for axis, size in expected.fixed):
        return []
    return [f"{name!r} has shape {list(shape)}, expected {list(expected.shape)}"]


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
