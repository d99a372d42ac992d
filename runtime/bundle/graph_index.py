"""A linked graph to its entry in the index of weights.

Exports and calibrations call it; a device never does, and has no onnx_ir.
Knows ONNX as far as stored tensors, inputs and names of operators go.
"""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING

from .weight_index import GraphIndex, StoredTensor

if TYPE_CHECKING:
    from onnx_ir import ExternalTensor, Model, Value

__all__ = ["index_of"]

STATE = "past_state"
"""Prefix of inputs that a former run's outputs are."""

SIDE = re.compile(r"(?:high|wide)_(\d+)")
"""Name of an axis that is so many times as long as the latents' height or width."""

ONE_OPERATOR = "MultiHeadAttention"


def index_of(model: Model) -> GraphIndex:
    """The tensors that a graph reads from its weight file; small constants of its own are not among them."""
    import onnx_ir as ir  # noqa: PLC0415 - see above

    graph = model.graph
    stored = {name: value.const_value for name, value in graph.initializers.items()}
    return GraphIndex(
        {name: _place(tensor) for name, tensor in stored.items() if isinstance(tensor, ir.ExternalTensor)},
        tuple(_elements(port) for port in graph.inputs if str(port.name).startswith(STATE)),
        any(node.op_type == ONE_OPERATOR for node in graph),
    )


def _place(tensor: ExternalTensor) -> StoredTensor:
    return StoredTensor(tensor.offset or 0, tensor.nbytes, tuple(tensor.shape.numpy()), tensor.dtype.name)


def _elements(port: Value) -> int:
    """Elements of a state for one element of a latent frame: an axis is a number, or `high_k` or `wide_k`."""
    assert port.shape is not None, f"{port.name} has no shape"
    return prod(axis if isinstance(axis, int) else _times(str(axis.value)) for axis in port.shape)


def _times(axis: str) -> int:
    found = SIDE.fullmatch(axis)
    assert found is not None, f"a state has an axis {axis!r}, which is neither high_k nor wide_k"
    return int(found[1])
