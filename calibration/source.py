"""The float variant that quantized ones are made from: its graphs, and its weights by name, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .points import Point, external, points, stored

__all__ = ["Source"]


class Source:
    """Graph files in one folder, with the weights that they point to."""

    def __init__(self, folder: Path, graphs: dict[str, str]) -> None:
        self.folder, self.graphs = folder, graphs

    def load(self, graph: str) -> ir.Model:
        """A graph, to be changed at will."""
        return ir.load(self.folder / self.graphs[graph])

    @cached_property
    def tensors(self) -> dict[str, ir.ExternalTensor]:
        """Every stored tensor."""
        return {name: t for g in self.graphs for name, t in _tensors(self.load(g))}

    @cached_property
    def points(self) -> dict[str, tuple[Point, str]]:
        """Every product with weights, with its graph; of those that several graphs share, the first."""
        found: dict[str, tuple[Point, str]] = {}
        for graph in self.graphs:
            for point in points(self.load(graph).graph):
                found.setdefault(point.name, (point, graph))
        return found

    def weight(self, name: str) -> NDArray[np.float32]:
        """One tensor."""
        return stored(self.tensors[name])

    def matrix(self, name: str) -> NDArray[np.float32]:
        """The weight of a product as `[in, out]`."""
        weight = self.weight(name)
        return weight.T if self.points[name][0].table else weight

    def size(self, name: str) -> int:
        """Numbers in a tensor."""
        return int(self.tensors[name].size)


def _tensors(model: ir.Model) -> Iterator[tuple[str, ir.ExternalTensor]]:
    for name, value in model.graph.initializers.items():
        tensor = external(value)
        if tensor is not None:
            yield name, tensor
