"""The float variant that quantized ones are made from: its products with weights, and its weights, one at a time.

Reads graphs as protocol buffers and weights from their file: while a recording runs, nothing larger is to be loaded.
Knows graphs as the exporter writes them (docs/bundle.md): a MatMul by a weight `[in, out]`, a Gemm by a table `[V, H]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

__all__ = ["SOURCE", "Source", "Stored", "products"]

SOURCE = "fp32"
"""The precision that quantized ones are made from: the one that a CPU computes in, so that what it shows is exact."""


@dataclass(frozen=True)
class Stored:
    """Place of a float32 tensor."""

    file: str
    offset: int
    shape: tuple[int, ...]


class Source:
    """Graph files in one folder, with the weights that they point to."""

    def __init__(self, folder: Path, graphs: dict[str, str]) -> None:
        self.folder, self.graphs = folder, graphs

    def path(self, graph: str) -> Path:
        """A graph's file."""
        return self.folder / self.graphs[graph]

    @cached_property
    def _protos(self) -> list[onnx.GraphProto]:
        return [onnx.load(self.path(graph), load_external_data=False).graph for graph in self.graphs]

    @cached_property
    def tensors(self) -> dict[str, Stored]:
        """Every stored tensor."""
        return {name: found for graph in self._protos for name, found in _stored(graph)}

    @cached_property
    def tables(self) -> dict[str, bool]:
        """Every product with weights, by the weight's name: whether that is a table `[out, in]`."""
        return {
            node.input[1]: node.op_type == "Gemm" for graph in self._protos for node in products(graph, self.tensors)
        }

    def held(self, graph: str) -> list[str]:
        """Names of the stored tensors that one graph reads."""
        (proto,) = (proto for name, proto in zip(self.graphs, self._protos, strict=True) if name == graph)
        return [name for name, _ in _stored(proto)]

    def weight(self, name: str) -> NDArray[np.float32]:
        """One tensor."""
        at = self.tensors[name]
        flat = np.fromfile(self.folder / at.file, np.float32, prod(at.shape), offset=at.offset)
        return flat.reshape(at.shape)

    def mapped(self, name: str) -> NDArray[np.float32]:
        """One tensor in its file, of which what is looked at is read."""
        at = self.tensors[name]
        return np.memmap(self.folder / at.file, np.float32, "r", at.offset, at.shape)

    def matrix(self, name: str) -> NDArray[np.float32]:
        """The weight of a product as `[in, out]`."""
        weight = self.weight(name)
        return weight.T if self.tables[name] else weight

    def size(self, name: str) -> int:
        """Numbers in a tensor."""
        return prod(self.tensors[name].shape)


def products(graph: onnx.GraphProto, tensors: dict[str, Stored]) -> list[onnx.NodeProto]:
    """The nodes of a graph that multiply by stored weights, in order."""
    return [node for node in graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in tensors]


def _stored(graph: onnx.GraphProto) -> Iterator[tuple[str, Stored]]:
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            yield tensor.name, Stored(place["location"], int(place.get("offset", 0)), tuple(tensor.dims))
