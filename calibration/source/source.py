"""The float variant that quantized ones are made from: its products with weights, and its weights, one at a time.

Graphs are read without their weights, and weights from their file: while a recording runs, nothing larger is to be
loaded. Knows graphs as `products` does; not what becomes of them.
"""

from __future__ import annotations

from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .products import external, points

__all__ = ["SOURCE", "Source"]

SOURCE = "fp32"
"""The precision that quantized ones are made from: the one that a CPU computes in, so that what it shows is exact."""


class Source:
    """Graph files in one folder, with the weights that they point to."""

    def __init__(self, folder: Path, graphs: dict[str, str]) -> None:
        self.folder, self.graphs = folder, graphs

    def model(self, graph: str) -> ir.Model:
        """A graph, read anew: it may be edited."""
        return ir.load(self.folder / self.graphs[graph])

    @cached_property
    def _read(self) -> dict[str, ir.Graph]:
        return {graph: self.model(graph).graph for graph in self.graphs}

    @cached_property
    def tensors(self) -> dict[str, ir.ExternalTensor]:
        """Every stored tensor, in float32."""
        return {name: tensor for graph in self._read.values() for name, tensor in _stored(graph).items()}

    @cached_property
    def tables(self) -> dict[str, bool]:
        """Every product with weights, by the weight's name: whether that is a table `[out, in]`."""
        return {point.name: point.table for graph in self._read.values() for point in points(graph)}

    def held(self, graph: str) -> list[str]:
        """Names of the stored tensors that one graph reads."""
        return list(_stored(self._read[graph]))

    def weight(self, name: str) -> NDArray[np.float32]:
        """One tensor."""
        at = self.tensors[name]
        return np.fromfile(at.path, np.float32, self.size(name), offset=at.offset or 0).reshape(at.shape.numpy())

    def mapped(self, name: str) -> NDArray[np.float32]:
        """One tensor in its file, of which what is looked at is read."""
        at = self.tensors[name]
        return np.memmap(at.path, np.float32, "r", at.offset or 0, at.shape.numpy())

    def matrix(self, name: str) -> NDArray[np.float32]:
        """The weight of a product as `[in, out]`."""
        weight = self.weight(name)
        return weight.T if self.tables[name] else weight

    def size(self, name: str) -> int:
        """Numbers in a tensor."""
        return prod(self.tensors[name].shape.numpy())


def _stored(graph: ir.Graph) -> dict[str, ir.ExternalTensor]:
    found = {name: external(value) for name, value in graph.initializers.items()}
    return {name: tensor for name, tensor in found.items() if tensor is not None}
