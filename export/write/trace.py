"""Torch modules to ONNX pieces whose weights are inputs, by torch.export.

Tracing never sees a weight: parameters live on the `meta` device and become graph inputs, so that a piece costs the
same whether its matrices hold a thousand numbers or a billion, and one trace serves every layer. All pieces go through
one export, because a single export costs about a second before it looks at its module.
This module does not know what is traced, nor where the weights come from.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OPSET", "Piece", "Recipe", "trace"]

OPSET = 21
"""Newest opset whose plain operators ONNX Runtime, TensorRT 10.3 (JetPack 6) and TensorRT-RTX all take."""


@dataclass(frozen=True)
class Recipe:
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
    """One traced module: `graph.inputs` are the module's inputs and then its weights, in the order of these names."""

    graph: ir.GraphView
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    outputs: tuple[str, ...]


class _SideBySide(nn.Module):
    """Calls each module with the inputs and the weights that it is given, instead of its own."""

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        super().__init__()
        # In tuples, so that torch does not register the parameters.
        self.calls = [(recipe.module, recipe.weights) for recipe in recipes]

    def forward(self, inputs: list[list[Tensor]], weights: list[list[Tensor]]) -> list[object]:
        return [
            torch.func.functional_call(module, dict(zip(names, given, strict=True)), tuple(feeds))
            for (module, names), feeds, given in zip(self.calls, inputs, weights, strict=True)
        ]


def trace(recipes: Mapping[str, Recipe]) -> dict[str, Piece]:
    """Trace every recipe; the pieces come back under the same names."""
    if not recipes:
        return {}
    rows = list(recipes.values())
    inputs = [list(row.inputs.values()) for row in rows]
    weights = [[torch.empty_like(w, device="cpu") for w in row.module.parameters()] for row in rows]
    axes = [[dict(row.dynamic.get(name, {})) for name in row.inputs] for row in rows]
    with _quiet(), torch.no_grad():
        program = torch.export.export(
            _SideBySide(rows),
            (inputs, weights),
            dynamic_shapes=(axes, [[{} for _ in row] for row in weights]),
            strict=False,
        )
        exported = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
    assert exported is not None
    return dict(zip(recipes, _parted(exported.model.graph, rows), strict=True))


def _parted(graph: ir.Graph, recipes: Sequence[Recipe]) -> Iterator[Piece]:
    """The exported graph, recipe by recipe: inputs come before all weights, outputs in order."""
    feeds, weights = iter(graph.inputs), iter(graph.inputs[sum(len(r.inputs) for r in recipes) :])
    results = iter(graph.outputs)
    for recipe in recipes:
        own = [*_take(feeds, len(recipe.inputs)), *_take(weights, len(recipe.weights))]
        made = _take(results, len(recipe.outputs))
        nodes, constants = _behind(graph, made)
        view = ir.GraphView(own, made, nodes=nodes, initializers=constants)
        yield Piece(view, tuple(recipe.inputs), recipe.weights, recipe.outputs)


def _take(values: Iterator[ir.Value], count: int) -> list[ir.Value]:
    return [next(values) for _ in range(count)]


def _behind(graph: ir.Graph, outputs: Sequence[ir.Value]) -> tuple[list[ir.Node], list[ir.Value]]:
    """The nodes that `outputs` come from, in order, and the constants that these take."""
    wanted = set(outputs)
    nodes: list[ir.Node] = []
    for node in reversed(list(graph)):
        if wanted.intersection(node.outputs):
            nodes.append(node)
            wanted.update(value for value in node.inputs if value is not None)
    return nodes[::-1], [value for value in graph.initializers.values() if value in wanted]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tracer's notes to developers of torch away from users of a2d."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
