"""The parts that every kind of graph is described by: ports, pieces, and a program that applies pieces to values.

A program is run by a `Machine`. One machine stamps traced pieces into an ONNX graph, another computes them in torch, a
third only notes which they are: what is exported and what it is compared with cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = [
    "AXES",
    "DYNAMIC",
    "OWN",
    "Array",
    "Axes",
    "Case",
    "Kind",
    "Machine",
    "Piece",
    "Port",
    "TraceSpec",
    "random_feeds",
    "trace_spec",
]

V = TypeVar("V")
Array: TypeAlias = NDArray[Any]
Axes: TypeAlias = Mapping[str, tuple[int, Any]]

OWN = "own"
"""Stands for the dtype of the variant in a port."""

DYNAMIC = torch.export.Dim.DYNAMIC

AXES: Axes = {
    name: (size, DYNAMIC)
    for name, size in {"rows": 4, "context": 6, "keys": 10, "block": 3, "vocab": 70, "masks": 2, "bytes": 9}.items()
}
"""Dynamic axes by name: size to trace with, all different so that they are not taken for one, and range."""


@dataclass(frozen=True)
class Port:
    """An input or output: dtype (numpy's name, or OWN) and axes, where a string is dynamic."""

    dtype: str
    axes: tuple[int | str, ...]


@dataclass(frozen=True)
class TraceSpec:
    """A module and how to trace it.

    `inputs` are examples by name, in the order of the module's arguments: only their shapes and dtypes count. Sizes
    of 0 and 1 would be taken as fixed, so a dynamic axis wants an example of at least 2. `dynamic` names the axes of
    each input that may change.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    dynamic: Mapping[str, Mapping[int, Any]]
    outputs: tuple[str, ...]

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the module's parameters."""
        return tuple(name for name, _ in self.module.named_parameters())


@dataclass(frozen=True)
class Piece:
    """A module that graphs are made of: traced once, and applied as often as a program says."""

    name: str
    module: Callable[[Any], nn.Module]
    inputs: Callable[[Any], Mapping[str, Port]]
    """Arguments of the module, in order."""
    outputs: tuple[str, ...]
    axes: Callable[[Any], Axes] = lambda _: {}
    """Dynamic axes beside AXES."""
    residual: bool = False
    """The first output is the residual stream."""
    table: str | None = None
    """Parameter as long as the vocabulary, which may be a good part of a small model."""
    heads: Callable[[Any], int] | None = None
    """Heads of keys of an attention without a mask, which is written as one operator; None leaves it as traced."""
    lookup: str | None = None
    """Input that says which rows of `table` are wanted; None where each row gives one number of the last axis."""


def trace_spec(piece: Piece, network: Any, dtype: torch.dtype) -> TraceSpec:
    """The specification of a piece whose weights are of `dtype`, on the `meta` device."""
    with torch.device("meta"):
        module = piece.module(network).to(dtype).eval()
    for exact in getattr(module, "exact", ()):
        exact.data = exact.data.float()
    axes, ports = {**AXES, **piece.axes(network)}, piece.inputs(network)
    inputs = {
        name: torch.zeros(
            [axes[axis][0] if isinstance(axis, str) else axis for axis in port.axes],
            dtype=dtype if port.dtype == OWN else getattr(torch, port.dtype),
        )
        for name, port in ports.items()
    }
    dynamic = {
        name: {i: axes[axis][1] for i, axis in enumerate(port.axes) if isinstance(axis, str)}
        for name, port in ports.items()
    }
    return TraceSpec(module, inputs, dynamic, piece.outputs)


class Machine(Protocol[V]):
    """Whatever can apply pieces to values."""

    def apply(self, piece: Piece, inputs: Mapping[str, V], prefix: str = "") -> tuple[V, ...]:
        """Apply a piece; each of its weights is the tensor named `prefix` and the weight's own name."""

    def each(self, piece: Piece, count: V, inputs: Mapping[str, V], shared: Mapping[str, V], prefix: str = "") -> V:
        """Apply a piece `count []` times: the i-th time to the i-th row of every one of `inputs`, and to `shared`.

        Gives its one output of all times, stacked.
        """


@dataclass(frozen=True)
class Case:
    """One set of inputs that an exported graph is checked with."""

    name: str
    feeds: Mapping[str, Array]


@dataclass(frozen=True)
class Kind:
    """One graph of a bundle: its ports, how it is computed, and what it is checked with."""

    inputs: Callable[[Any], dict[str, Port]]
    outputs: Callable[[Any], dict[str, Port]]
    run: Callable[[Any, Machine[Any], Mapping[str, Any]], dict[str, Any]]
    cases: Callable[[Any, Array, int], Iterator[Case]]
    """Cases for a network, given hidden rows `[1, R, H]` of its backbone, and a block size."""

    def pieces(self, network: Any) -> list[Piece]:
        """The pieces that the program applies, each once."""
        noted = _Notes()
        self.run(network, noted, dict.fromkeys(self.inputs(network)))
        return [*noted.pieces.values()]


class _Notes:
    """The machine that computes nothing and notes what it is asked for."""

    def __init__(self) -> None:
        self.pieces: dict[str, Piece] = {}

    def apply(self, piece: Piece, _: Mapping[str, None], __: str = "") -> tuple[None, ...]:
        """See `Machine.apply`."""
        self.pieces[piece.name] = piece
        return (None,) * len(piece.outputs)

    def each(self, piece: Piece, _: None, __: Mapping[str, None], ___: Mapping[str, None], ____: str = "") -> None:
        """See `Machine.each`."""
        self.pieces[piece.name] = piece


def random_feeds(ports: Mapping[str, Port], sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, Array]:
    """Numbers that every precision holds exactly: what comes in is not what is checked. Integers are zero."""
    return {
        name: _random(port, [sizes.get(str(axis), axis) for axis in port.axes], rng) for name, port in ports.items()
    }


def _random(port: Port, shape: list[Any], rng: np.random.Generator) -> Array:
    if port.dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if port.dtype == "int64":
        return np.zeros(shape, np.int64)
    return (rng.integers(-384, 384, shape) / 128).astype(np.float32)
