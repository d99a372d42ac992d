"""A torch module to one ONNX piece whose weights are inputs, by torch.export.

Tracing never sees a weight: parameters live on the `meta` device and become graph inputs, so that a piece costs the
same whether its matrices hold a thousand numbers or a billion, and one trace serves every layer.
This module does not know what is traced, nor where the weights come from.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OPSET", "Piece", "trace"]

OPSET = 21
"""Newest opset whose plain operators ONNX Runtime, TensorRT 10.3 (JetPack 6) and TensorRT-RTX all take."""


@dataclass(frozen=True)
class Piece:
    """One traced module: `graph.inputs` are the module's inputs, then its weights by name."""

    graph: ir.Graph
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    outputs: tuple[str, ...]


class _WeightsAsInputs(nn.Module):
    """Calls `module` with the weights that it is given instead of its own."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = [module]  # in a list, so that torch does not register its parameters
        self.names = names

    def forward(self, inputs: tuple[Tensor, ...], weights: tuple[Tensor, ...]) -> object:
        return torch.func.functional_call(self.module[0], dict(zip(self.names, weights, strict=True)), inputs)


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    dynamic: Mapping[str, Mapping[int, str]],
    outputs: tuple[str, ...],
) -> Piece:
    """Trace `module(*inputs.values())`; `dynamic` names the axes of each input that may change.

    `inputs` are examples: only their shapes and dtypes count. Sizes of 0 and 1 would be taken as fixed, so a dynamic
    axis wants an example of at least 2.
    """
    weights = dict(module.named_parameters())
    wrapped = _WeightsAsInputs(module, tuple(weights))
    axes = tuple({axis: torch.export.Dim.DYNAMIC for axis in dynamic.get(name, {})} for name in inputs)
    with _quiet(), torch.no_grad():
        program = torch.export.export(
            wrapped,
            (tuple(inputs.values()), tuple(torch.empty_like(w, device="cpu") for w in weights.values())),
            dynamic_shapes=(axes, tuple({} for _ in weights)),
            strict=False,
        )
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[*inputs, *weights],
            output_names=list(outputs),
            verbose=False,
        )
    if exported is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    return Piece(exported.model.graph, tuple(inputs), tuple(weights), outputs)


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
