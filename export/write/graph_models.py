"""Programs to ONNX models: pieces are traced once and stamped wherever a program applies them.

Knows neither files nor weights' bytes: initializers are left empty, for `store.py` to point them at their tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
import torch

from ..graphs.film_shapes import FilmNetwork, TowersNetwork
from ..graphs.kind import OWN, Piece, Port, trace_spec
from ..graphs.kinds import kinds
from ..graphs.shapes import Network
from ..precision import Precision
from .instantiate import Assembly
from .one_attention import one_attention
from .piece_cache import PieceCache
from .trace import Traced, key_of, trace

__all__ = ["Builder"]

_DTYPES = {
    "float32": ir.DataType.FLOAT,
    "int64": ir.DataType.INT64,
    "bool": ir.DataType.BOOL,
    "uint8": ir.DataType.UINT8,
}


class Builder:
    """Builds the graphs of one network in any of `precisions`, from pieces that are traced here, all at once."""

    def __init__(
        self,
        network: Network | FilmNetwork | TowersNetwork,
        precisions: Sequence[Precision],
        graphs: Sequence[str] | None = None,
        cache: Path | None = None,
    ) -> None:
        """`graphs` are those that will be built, default all that the network has; `cache` is a folder of traces."""
        self.network, self._kinds = network, kinds(network)
        self.graphs = tuple(self._kinds if graphs is None else graphs)
        pieces = {piece.name: piece for graph in self.graphs for piece in self._kinds[graph].pieces(network)}
        specs = {
            (name, p.dtype): trace_spec(piece, network, p.dtype) for p in precisions for name, piece in pieces.items()
        }
        self._keys = {at: key_of(spec) for at, spec in specs.items()}  # equal where the precision does not matter
        made = trace({self._keys[at]: spec for at, spec in specs.items()}, PieceCache(cache))
        self._traced = made | {
            self._keys[name, p.dtype]: one_attention(made[self._keys[name, p.dtype]], piece.heads(network))
            for p in precisions
            for name, piece in pieces.items()
            if piece.heads is not None
        }

    def build(self, graph: str, precision: Precision) -> ir.Model:
        """One graph."""
        kind, assembly = self._kinds[graph], Assembly(graph)
        feeds = {
            name: assembly.input(name, _dtype(port, precision), port.axes)
            for name, port in kind.inputs(self.network).items()
        }
        made = kind.run(self.network, _Stamper(self, assembly, precision.dtype), feeds)
        for name, port in kind.outputs(self.network).items():
            assembly.output(made[name], name, port.axes)
        return assembly.model()

    def traced(self, piece: str, dtype: torch.dtype) -> Traced:
        """The piece of that name."""
        return self._traced[self._keys[piece, dtype]]


class _Stamper:
    """The machine that computes nothing: it writes down what would be."""

    def __init__(self, builder: Builder, assembly: Assembly, dtype: torch.dtype) -> None:
        self._builder, self._assembly, self._dtype = builder, assembly, dtype

    def apply(self, piece: Piece, inputs: Mapping[str, ir.Value], prefix: str = "") -> tuple[ir.Value, ...]:
        """See `Machine.apply`."""
        made = self._builder.traced(piece.name, self._dtype)
        return tuple(self._assembly.stamp(made, inputs, {name: prefix + name for name in made.weights}))

    def each(
        self,
        piece: Piece,
        count: ir.Value,
        inputs: Mapping[str, ir.Value],
        shared: Mapping[str, ir.Value],
        prefix: str = "",
    ) -> ir.Value:
        """See `Machine.each`."""
        made = self._builder.traced(piece.name, self._dtype)
        weights = {name: prefix + name for name in made.weights}
        return self._assembly.loop(made, count, inputs, shared, weights)


def _dtype(port: Port, precision: Precision) -> ir.DataType:
    return precision.onnx if port.dtype == OWN else _DTYPES[port.dtype]
