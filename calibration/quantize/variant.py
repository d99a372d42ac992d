"""A quantized variant written beside its source: what a recipe makes of every product, then graphs and weights.

Knows recipes and graphs; not what statistics were taken of, nor what a step reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import onnx_ir as ir
from onnx_ir.passes.common import CheckerPass

from ...runtime.bundle.graph_index import index_of
from ...runtime.bundle.manifest import Variant
from ...runtime.bundle.staging import Staging
from ...runtime.bundle.weight_file import WeightFile
from ...runtime.bundle.weight_index import GraphIndex
from ...runtime.console.lines import Progress
from ..source.products import external
from ..source.smoothquant import Smoothed
from .assign import Decision
from .coded_weights import CodedWeights
from .recipes import Recipe
from .rewrite import rewrite
from .weight_file import CodeFile

__all__ = ["Quantized", "write_quantized"]


@dataclass(frozen=True)
class Quantized:
    """The files of a variant, written, and how they came about."""

    decision: Decision
    file: CodeFile
    graphs: dict[str, str]
    index: dict[str, GraphIndex]

    def variant(self, source: Variant, step_bytes: int) -> Variant:
        """The variant for a manifest."""
        return replace(
            source,
            graphs=self.graphs,
            weights=self.file.file.name,
            weights_bytes=self.file.file.size,
            step_bytes=step_bytes,
            index=self.index,
            parity=(),
        )


def write_quantized(
    recipe: Recipe, weights: Smoothed, staging: Staging, decide: Callable[[CodedWeights], Decision], quiet: bool
) -> Quantized:
    """Write the recipe's precision of the source of `weights`; every graph is held against ONNX's checker."""
    source, name = weights.source, recipe.name
    progress = Progress(f"quantizing {name}", len(source.graphs) + 1, "steps", quiet)
    with progress, CodedWeights(recipe, weights, staging.path) as made_once:
        decision = decide(made_once)
        progress.add()
        file = CodeFile(WeightFile(name, staging), weights)
        graphs, index = {graph: f"{graph}.{name}.onnx" for graph in source.graphs}, dict[str, GraphIndex]()
        for graph, made in graphs.items():
            model = source.model(graph)
            rewrite(model, decision, made_once, file)
            index[graph] = index_of(model)
            staging.add(made, ir.to_proto(model).SerializeToString())
            _check(model)
            progress.add()
    file.file.close()
    return Quantized(decision, file, graphs, index)


def _check(model: ir.Model) -> None:
    """Hold a graph against ONNX's checker, which takes weights that are not there for inputs. It is used up."""
    for value in model.graph.initializers.values():
        if external(value) is not None:
            value.const_value = None
    CheckerPass()(model)
