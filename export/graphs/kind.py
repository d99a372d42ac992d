"""The description of a kind of graph: ports, pieces, and a program that applies pieces to values.

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
"""Dtype of a port that has the variant's dtype."""

DYNAMIC = torch.export.Dim.DYNAMIC

AXES: Axes = {
    name: (size, DYNAMIC)
    for name, size in {"rows": 4, "context": 6, "keys": 10, "block": 3, "vocab": 70, "masks": 2, "bytes": 9}.items()
}
"""Dynamic axes by name, as (size to trace with, range). Sizes differ, so that no two axes are taken for one."""


@dataclass(frozen=True)
class Port:
    """An input or output: its dtype, by numpy's name or OWN, and its axes, of which strings are dynamic."""

    dtype: str
    axes: tuple[int | str, ...]


@dataclass(frozen=True)
class TraceSpec:
    """A module with the inputs and dynamic axes for tracing it.

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
    """A module that is traced once and stamped into a graph wherever a program applies it."""

    name: str
    module: Callable[[Any], nn.Module]
    inputs: Callable[[Any], Mapping[str, Port]]
    """Arguments of the module, in order."""
    outputs: tuple[str, ...]
    axes: Callable[[Any], Axes] = lambda _: {}
    """Dynamic axes beside AXES."""
    residual: bool = False
    """True if the first output is the residual stream."""
    table: str | None = None
    """Name of the parameter that has a row for each token of the vocabulary; None without one."""
    heads: Callable[[Any], int] | None = None
    """Heads of keys of an attention without a mask, which is written as one operator; None leaves it as traced."""
    lookup: str | None = None
    """Name of the input that looks up rows of `table`; None where each row gives one number of the last axis."""


def trace_spec(piece: Piece, network: Any, dtype: torch.dtype) -> TraceSpec:
    """Make the specification of a piece for a network, with weights of `dtype` on the `meta` device."""
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
    """A way to apply pieces to values: see `Kind.run`."""

    def apply(self, piece: Piece, inputs: Mapping[str, V], prefix: str = "") -> tuple[V, ...]:
        """Apply a piece to its inputs; its weights are the tensors named `prefix` + the parameter's name."""

    def each(self, piece: Piece, count: V, inputs: Mapping[str, V], shared: Mapping[str, V], prefix: str = "") -> V:
        """Apply a piece `count []` times, each time to the next row of every one of `inputs` and to `shared`.

        The piece has one output; its results come stacked, `[count, ...]`.
        """


@dataclass(frozen=True)
class Case:
    """Inputs for one check of an exported graph against torch."""

    name: str
    feeds: Mapping[str, Array]


@dataclass(frozen=True)
class Kind:
    """One kind of graph: functions of a network that give its ports, its program and its cases."""

    inputs: Callable[[Any], dict[str, Port]]
    outputs: Callable[[Any], dict[str, Port]]
    run: Callable[[Any, Machine[Any], Mapping[str, Any]], dict[str, Any]]
    cases: Callable[[Any, Array, int], Iterator[Case]]
    """Cases for a network, given hidden rows `[1, R, H]` of its backbone, and a block size."""

    def pieces(self, network: Any) -> list[Piece]:
        """List the pieces that the program applies, each once."""
        noted = _Notes()
        self.run(network, noted, dict.fromkeys(self.inputs(network)))
        return [*noted.pieces.values()]


class _Notes:
    """A machine that computes nothing and notes the pieces that it is given."""

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
    """Draw feeds for `ports` in these `sizes`: multiples of 1/128 up to 3, exact in every precision; integers are 0."""
    return {
        name: _random(port, [sizes.get(str(axis), axis) for axis in port.axes], rng) for name, port in ports.items()
    }


def _random(port: Port, shape: list[Any], rng: np.random.Generator) -> Array:
    if port.dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if port.dtype == "int64":
        return np.zeros(shape, np.int64)
    return (rng.integers(-384, 384, shape) / 128).astype(np.float32)
