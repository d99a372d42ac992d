"""The seam between the decode loop and whatever runs a graph: one method, and memory to keep things in.

Why a protocol and not a base class: an engine is a file that imports one third party, and the loop must not care
which. Before adding a method here, look at what decoding-aware engine interfaces grew into elsewhere: an engine that
knows of beams, caches and prompts. It should know tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Buffer", "Engine", "Feeds", "Memory", "Signature"]

Array: TypeAlias = NDArray[np.generic]


class Buffer(Protocol):
    """Opaque memory on an engine's device."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes, outermost first."""

    @property
    def dtype(self) -> str:
        """The elements' numpy name."""

    def numpy(self) -> Array:
        """The content on the host; where the device is the host, possibly the memory itself."""


Feeds: TypeAlias = Mapping[str, "Array | Buffer"]


class Memory(Protocol):
    """The memory where an engine's buffers live. Buffers of engines with equal memory may be fed to one another."""

    @property
    def waits(self) -> bool:
        """Reading a buffer waits for a device; False where the device is the host."""

    def zeros(self, shape: Sequence[int], dtype: str) -> Buffer:
        """A new buffer of zeros; `dtype` by its numpy name."""

    def copy_rows(self, source: Buffer, start: int, count: int, target: Buffer, at: int) -> None:
        """Copy `count` rows, counted along the axis before the last, between buffers alike in dtype and other axes.

        Raises EngineError for rows that either buffer does not have, and for buffers that are not alike.
        """


@dataclass(frozen=True)
class Signature:
    """Names of a graph's inputs or outputs with dtype (numpy name) and shape; a string is a dynamic axis."""

    dtype: str
    shape: tuple[int | str, ...]

    @cached_property
    def fixed(self) -> tuple[tuple[int, int], ...]:
        """Axes of a fixed length, each with that length."""
        return tuple((axis, size) for axis, size in enumerate(self.shape) if isinstance(size, int))


class Engine(Protocol):
    """One graph, ready to run. `run` may be called from several threads at once."""

    @property
    def inputs(self) -> Mapping[str, Signature]:
        """Name to signature of every tensor that `run` must be fed."""

    @property
    def outputs(self) -> Mapping[str, Signature]:
        """Name to signature of every tensor that `run` can return."""

    @property
    def memory(self) -> Memory:
        """Memory where kept outputs stay, and where buffers for its inputs are made."""

    @property
    def describe(self) -> str:
        """The engine, its version and the device in a few words, for people."""

    @property
    def busy_seconds(self) -> float:
        """Seconds spent inside the engine's own code so far, all calls together."""

    def run(
        self, feeds: Feeds, outputs: Sequence[str] | None = None, keep: Sequence[str] = ()
    ) -> dict[str, Array | Buffer]:
        """Run the graph.

        `feeds` names every input; an ndarray is copied to the device if need be, a Buffer is used where it is.
        `outputs` names what to return (default: everything); those also named in `keep` come back as Buffers that
        stay on the device, the others as ndarrays; neither shares memory with the feeds or with another run's.
        Raises EngineError: missing, unknown or ill-typed feeds, unknown outputs, and whatever goes wrong inside.
        """
