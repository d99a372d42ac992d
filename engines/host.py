"""The common part of engines: buffers in the host's own memory, and checks of what an engine is fed before it runs.

All engines refuse the same things in the same words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from .errors import EngineError
from .protocol import Array, Buffer, Engine, Feeds, Signature

__all__ = [
    "HostBuffer",
    "HostMemory",
    "check_rows",
    "checked",
    "on_host",
]


def checked(
    graph: str, engine: Engine, feeds: Feeds, outputs: Sequence[str] | None, keep: Sequence[str]
) -> tuple[str, ...]:
    """The outputs that a run of `graph` is asked for, all where `outputs` is None.

    Raises EngineError unless `feeds` are exactly the engine's inputs, with their dtypes and ranks, and the outputs are
    its own, each once and at least one, and hold all of `keep`; all faults of either at once.
    """
    wanted = tuple(engine.outputs) if outputs is None else tuple(outputs)
    _check_feeds(graph, feeds, engine.inputs)
    _check_outputs(graph, wanted, keep, engine.outputs)
    return wanted


def _check_feeds(graph: str, feeds: Feeds, inputs: Mapping[str, Signature]) -> None:
    lines = []
    if not inputs.keys() <= feeds.keys():
        lines = [f"input {name!r} is missing" for name in inputs if name not in feeds]
    for name, feed in feeds.items():
        expected = inputs.get(name)
        if expected is None:
            lines.append(f"{name!r} is not an input")
        elif not _fits(feed, expected):
            lines.append(_fault(name, feed, expected))
    if lines:
        shown = ", ".join(f"{name} {s.dtype}{list(s.shape)}" for name, s in list(inputs.items())[:8])
        raise EngineError(f"{graph}: {'; '.join(lines)}. Its inputs are {shown}{', ...' * (len(inputs) > 8)}.")


def _check_outputs(graph: str, wanted: Sequence[str], keep: Sequence[str], outputs: Mapping[str, Signature]) -> None:
    asked = set(wanted)
    if wanted and len(asked) == len(wanted) and asked <= outputs.keys() and asked.issuperset(keep):
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
    """True if `feed` has dtype and shape of `expected`. Called for each input of each step, so it calls little."""
    if isinstance(feed, np.ndarray):
        # numpy reads a name anew each time it compares a dtype with one; the name does not tell the order of bytes
        dtype = _name(feed.dtype) if feed.dtype.isnative else ""
    elif isinstance(feed, HostBuffer) or hasattr(feed, "numpy"):
        dtype = feed.dtype
    else:
        return False
    shape = feed.shape
    if dtype != expected.dtype or len(shape) != len(expected.shape):
        return False
    for axis, size in expected.fixed:  # noqa: SIM110 - a generator would be a call for each axis
        if shape[axis] != size:
            return False
    return True


def _fault(name: str, feed: Array | Buffer, expected: Signature) -> str:
    """The sentence about a feed that does not fit."""
    if not isinstance(feed, np.ndarray) and not hasattr(feed, "numpy"):
        return f"{name!r} is a {type(feed).__name__}, expected an ndarray or a Buffer"
    if feed.dtype != expected.dtype:
        return f"{name!r} is {feed.dtype}, expected {expected.dtype}"
    return f"{name!r} has shape {list(feed.shape)}, expected {list(expected.shape)}"


@cache
def _name(dtype: np.dtype[np.generic]) -> str:
    return dtype.name  # numpy puts it together anew each time, and every step asks for each layer


class HostBuffer:
    """A numpy array behind the Buffer protocol."""

    __slots__ = ("array", "dtype", "shape")

    def __init__(self, array: Array) -> None:
        self.array = array
        self.shape: tuple[int, ...] = array.shape
        """Sizes of the axes."""
        self.dtype: str = _name(array.dtype)
        """The elements' numpy name."""

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
