"""Programs to ONNX models: pieces are traced once and stamped wherever a program applies them.

Knows neither files nor weights' bytes: initializers are left empty, for `store.py` to point them at their tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
import torch

from ..graphs.programs import OWN, PROGRAMS, Network, Port
from ..precision import Precision
from .instantiate import Assembly
from .piece_cache import PieceCache
from .pieces import pieces_of, recipe
from .trace import Piece, Recipe, trace

__all__ = ["Builder"]

_DTYPES = {"float32": ir.DataType.FLOAT, "int64": ir.DataType.INT64, "bool": ir.DataType.BOOL}


class Builder:
    """Builds the graphs of one network in any of `precisions`, from pieces that are traced here, all at once."""

    def __init__(
        self,
        network: Network,
        precisions: Sequence[Precision],
        graphs: Sequence[str] | None = None,
        cache: Path | None = None,
    ) -> None:
        """`graphs` are those that will be built, default all that the network has; `cache` is a folder of traces."""
        self.network = network
        self.graphs = tuple(network.graphs if graphs is None else graphs)
        names = dict.fromkeys(name for graph in self.graphs for name in pieces_of(graph, network))
        recipes = {(name, p.dtype): recipe(name, network, p.dtype) for p in precisions for name in names}
        self._keys = {at: _key(at[0], made) for at, made in recipes.items()}
        self._pieces = trace({_key(at[0], made): made for at, made in recipes.items()}, PieceCache(cache))

    def build(self, graph: str, precision: Precision) -> ir.Model:
        """One graph."""
        program, assembly = PROGRAMS[graph], Assembly(graph)
        feeds = {
            name: assembly.input(name, _dtype(port, precision), port.axes)
            for name, port in program.inputs(self.network).items()
        }
        made = program.run(self.network, _Stamper(self, assembly, precision.dtype), feeds)
        for name, port in program.outputs(self.network).items():
            assembly.output(made[name], name, port.axes)
        return assembly.model()

    def piece(self, name: str, dtype: torch.dtype) -> Piece:
        """The traced piece."""
        return self._pieces[self._keys[name, dtype]]


def _key(name: str, made: Recipe) -> str:
    """Equal for recipes that trace to the same graph: most pieces do not depend on the precision."""
    tensors = (*made.inputs.values(), *made.module.parameters())
    return " ".join([name, *(str(tensor.dtype) for tensor in tensors)])


class _Stamper:
    """The machine that computes nothing: it writes down what would be."""

    def __init__(self, builder: Builder, assembly: Assembly, dtype: torch.dtype) -> None:
        self._builder, self._assembly, self._dtype = builder, assembly, dtype

    def apply(self, piece: str, inputs: Mapping[str, ir.Value], prefix: str = "") -> tuple[ir.Value, ...]:
        """See `Machine.apply`."""
        made = self._builder.piece(piece, self._dtype)
        return tuple(self._assembly.stamp(made, inputs, {name: prefix + name for name in made.weights}))

    def each(
        self,
        piece: str,
        count: ir.Value,
        inputs: Mapping[str, ir.Value],
        shared: Mapping[str, ir.Value],
        prefix: str = "",
    ) -> ir.Value:
        """See `Machine.each`."""
        made = self._builder.piece(piece, self._dtype)
        weights = {name: prefix + name for name in made.weights}
        return self._assembly.loop(made, count, inputs, shared, weights)


def _dtype(port: Port, precision: Precision) -> ir.DataType:
    return precision.onnx if port.dtype == OWN else _DTYPES[port.dtype]
