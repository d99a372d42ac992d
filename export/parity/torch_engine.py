"""The checkpoint itself behind the engine protocol: the programs computed by torch, piece by piece.

What exported graphs are compared with. Arithmetic is float32 whatever the precision, whose rounding of the weights is
all that is taken over: so 16-bit graphs are held against what they should compute, not against other rounding (and
torch's 16-bit products on a CPU were measured 20 to 40 times slower). Weights are read when a piece wants them and
let go of after, unless they are kept (`Weights`). Knows no ONNX.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ...engines.errors import ParityError
from ...engines.host import HostBuffer, HostMemory, checked, on_host
from ...engines.protocol import Array, Buffer, Feeds, Signature
from ..checkpoint.sources import Sourced, TensorReader, assemble
from ..graphs.film_shapes import FilmNetwork, TowersNetwork
from ..graphs.kind import OWN, Piece, Port, TraceSpec, trace_spec
from ..graphs.kinds import kinds
from ..graphs.shapes import Network
from ..write.weight_file import TorchWeightFile

__all__ = ["TorchEngine", "Weights"]

SLICE = 8192
"""Tokens whose projection is widened at a time."""


class Weights:
    """Parameters by their names in the graphs, as a checkpoint has them, rounded to a precision; given as float32.

    Where they were `written`, they are read there, mapped, once they were found to be what the checkpoint says: then
    none is kept in the process's own memory. Resident ones are kept as they were read.
    """

    def __init__(
        self,
        checkpoint: TensorReader,
        family: Sourced,
        rounded: torch.dtype,
        written: TorchWeightFile | None = None,
        resident: bool = False,
    ) -> None:
        self._checkpoint, self._sources = checkpoint, family.sources
        self._rounded, self._resident, self._written = rounded, resident, written
        self._aliases = family.aliases
        self._kept: dict[str, Tensor] = {}
        self._wide: dict[str, Tensor] = {}

    def get(self, name: str) -> Tensor:
        """One parameter, float32."""
        return self._widened(self._aliases.get(name, name), self._narrow(name))

    def part(self, name: str, rows: Tensor | slice) -> Tensor:
        """Some rows of one parameter, float32: of a table as long as the vocabulary, no more is ever widened."""
        return self._narrow(name)[rows].float()

    def rows(self, name: str) -> int:
        """Rows of one parameter."""
        return len(self._narrow(name))

    def clear(self) -> None:
        """Forget what is resident."""
        self._kept.clear()
        self._wide.clear()

    def _narrow(self, name: str) -> Tensor:
        name = self._aliases.get(name, name)
        if name in self._kept:
            return self._kept[name]
        source = self._sources[name]
        made = assemble(source, self._checkpoint.read, source.dtype(self._rounded))
        if self._written is not None:
            made = _same(name, made, self._written.mapped(name))
        if self._resident or self._written is not None:
            self._kept[name] = made
        return made

    def _widened(self, name: str, made: Tensor) -> Tensor:
        """The tensor in float32; parameters of layers each in memory of the layer before, which is faster than new."""
        if made.dtype == torch.float32 or not name.startswith("layers."):
            return made.float()
        kind = name.split(".", 2)[2]
        if kind not in self._wide:
            self._wide[kind] = torch.empty(made.shape)
        return self._wide[kind].copy_(made)


def _same(name: str, made: Tensor, written: Tensor) -> Tensor:
    """`written`, if it holds the very bytes of `made`. Raises ParityError."""
    if not torch.equal(made.view(-1).view(torch.uint8), written.view(-1).view(torch.uint8)):
        raise ParityError(f"{name} was not written as it was read: the disk or the memory is at fault. Export again.")
    return written


class TorchEngine:
    """One program over a checkpoint's weights.

    `jitter` disturbs the residual stream after every layer, by normal noise of that relative size: what comes out
    then shows how much of a rounding error the network makes.
    """

    def __init__(
        self, graph: str, network: Network | FilmNetwork | TowersNetwork, weights: Weights, jitter: float = 0.0
    ) -> None:
        self.graph = graph
        self.memory = HostMemory()
        self.describe = f"torch {torch.__version__}, CPU, eager"
        self.busy_seconds = 0.0
        self._network, self._kind = network, kinds(network)[graph]
        self.inputs = _signatures(self._kind.inputs(network))
        self.outputs = _signatures(self._kind.outputs(network))
        self._machine = _Eager(network, weights, jitter)

    def run(
        self, feeds: Feeds, outputs: Sequence[str] | None = None, keep: Sequence[str] = ()
    ) -> dict[str, Array | Buffer]:
        """See `Engine.run`."""
        wanted = checked(self.graph, self, feeds, outputs, keep)
        arrays = {name: on_host(feed) for name, feed in feeds.items()}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        started = time.perf_counter()
        with torch.inference_mode():
            made = self._kind.run(self._network, self._machine, tensors)
        self.busy_seconds += time.perf_counter() - started
        results = {name: made[name].contiguous().numpy() for name in wanted}
        return {name: HostBuffer(array) if name in keep else array for name, array in results.items()}


class _Eager:
    """The machine that computes at once."""

    def __init__(self, network: Network | FilmNetwork | TowersNetwork, weights: Weights, jitter: float) -> None:
        self._network, self._weights, self._jitter = network, weights, jitter
        self._generator = torch.Generator().manual_seed(0)
        self._made: dict[str, TraceSpec] = {}

    def apply(self, piece: Piece, inputs: Mapping[str, Tensor], prefix: str = "") -> tuple[Tensor, ...]:
        """See `Machine.apply`."""
        compute = _whole if piece.table is None else _in_slices if piece.lookup is None else _looked_up
        results = compute(piece, self._spec(piece), inputs, self._weights, prefix)
        return self._disturbed(results) if self._jitter and piece.residual else results

    def each(
        self, piece: Piece, count: Tensor, inputs: Mapping[str, Tensor], shared: Mapping[str, Tensor], prefix: str = ""
    ) -> Tensor:
        """See `Machine.each`."""
        made = self._spec(piece)
        weights = _parameters(made, self._weights, prefix)  # once: widening a weight is a copy
        rows = [{name: value[i] for name, value in inputs.items()} for i in range(int(count))]
        return torch.stack([_called(made, weights, {**row, **shared})[0] for row in rows])

    def _spec(self, piece: Piece) -> TraceSpec:
        if piece.name not in self._made:
            self._made[piece.name] = trace_spec(piece, self._network, torch.float32)
        return self._made[piece.name]

    def _disturbed(self, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *rest = results
        return x * (1 + self._jitter * torch.randn(x.shape, generator=self._generator)), *rest


def _called(made: TraceSpec, weights: dict[str, Tensor], inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    result = torch.func.functional_call(made.module, weights, tuple(inputs[name] for name in made.inputs))
    return result if isinstance(result, tuple) else (result,)


def _parameters(made: TraceSpec, weights: Weights, prefix: str) -> dict[str, Tensor]:
    return {name: weights.get(prefix + name) for name in made.weights}


def _whole(
    _: Piece, made: TraceSpec, inputs: Mapping[str, Tensor], weights: Weights, prefix: str
) -> tuple[Tensor, ...]:
    return _called(made, _parameters(made, weights, prefix), inputs)


def _looked_up(
    piece: Piece, made: TraceSpec, inputs: Mapping[str, Tensor], weights: Weights, prefix: str
) -> tuple[Tensor, ...]:
    """The piece over the rows of its table that are asked for."""
    assert piece.table is not None and piece.lookup is not None
    rows, places = inputs[piece.lookup].unique(return_inverse=True)
    return _called(made, {piece.table: weights.part(f"{prefix}{piece.table}", rows)}, {**inputs, piece.lookup: places})


def _in_slices(
    piece: Piece, made: TraceSpec, inputs: Mapping[str, Tensor], weights: Weights, prefix: str
) -> tuple[Tensor, ...]:
    """The piece, some thousand rows of its table at a time."""
    name = f"{prefix}{piece.table}"
    slices = (slice(i, i + SLICE) for i in range(0, weights.rows(name), SLICE))
    return (torch.cat([_called(made, {str(piece.table): weights.part(name, rows)}, inputs)[0] for rows in slices], -1),)


def _signatures(ports: Mapping[str, Port]) -> dict[str, Signature]:
    return {name: Signature("float32" if port.dtype == OWN else port.dtype, port.axes) for name, port in ports.items()}
