"""Weights of one precision in one file, and graphs that point into it.

Every tensor is written once, whatever the number of graphs that use it, and only one is in memory at a time. Knows
bytes, offsets and names; not what a tensor is for.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from ...runtime.bundle.staging import Staging, aligned
from ..precision import Precision

__all__ = ["CONFIG_KEY", "Located", "WeightFile", "graph_name", "planned_bytes", "save_graph"]

CONFIG_KEY = "a2d.config"
"""Key of the checkpoint's config.json among a graph's metadata."""


@dataclass(frozen=True)
class Located:
    """The place of a tensor in the file."""

    offset: int
    bytes: int
    shape: tuple[int, ...]
    dtype: ir.DataType


@dataclass
class WeightFile:
    """`weights.<precision>.data`, growing."""

    precision: Precision
    staging: Staging
    located: dict[str, Located] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the file in the bundle."""
        return f"weights.{self.precision.name}.data"

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Append one tensor, contiguous and of the precision's dtype, or float32."""
        assert tensor.dtype in (self.precision.dtype, torch.float32) and tensor.is_contiguous()
        raw = tensor.view(-1).view(torch.uint8).numpy()
        dtype = ir.DataType.FLOAT if tensor.dtype == torch.float32 else self.precision.onnx
        offset = self.staging.file(self.name).tensor(memoryview(raw))
        self.located[name] = Located(offset, len(raw), tuple(tensor.shape), dtype)

    def mapped(self, name: str) -> torch.Tensor:
        """A tensor where it lies in the closed file; its pages are the system's to drop. Not to be written to."""
        at = self.located[name]
        raw = np.memmap(self.staging.path / self.name, np.uint8, "c", at.offset, (at.bytes,))
        dtype = torch.float32 if at.dtype == ir.DataType.FLOAT else self.precision.dtype
        return torch.from_numpy(raw).view(dtype).reshape(at.shape)

    def link(self, model: ir.Model, aliases: Mapping[str, str]) -> ir.Model:
        """Point every initializer without bytes at its tensor; `aliases` are names of tensors stored under another."""
        for name, value in model.graph.initializers.items():
            if value.const_value is None:
                value.const_value = self._external(name, self.located[aliases.get(name, name)])
        return model

    def link_widened(self, model: ir.Model, aliases: Mapping[str, str]) -> ir.Model:
        """Do as `link` does for a model that computes in float32: weights are cast on their way in.

        So weights of a precision that an engine lacks can be checked from the very bytes that were written.
        """
        for name, value in [*model.graph.initializers.items()]:
            at = self.located[aliases.get(name, name)] if value.const_value is None else None
            if at is not None and at.dtype != ir.DataType.FLOAT:
                stored = ir.Value(name=f"{name}.stored", type=ir.TensorType(at.dtype), shape=value.shape)
                stored.const_value = self._external(str(stored.name), at)
                _widen(model.graph, value, stored)
        return self.link(model, aliases)

    def _external(self, name: str, at: Located) -> ir.ExternalTensor:
        return ir.ExternalTensor(
            self.name,
            at.offset,
            at.bytes,
            at.dtype,
            shape=ir.Shape(at.shape),
            name=name,
            base_dir=self.staging.path,
        )


def _widen(graph: ir.Graph, value: ir.Value, stored: ir.Value) -> None:
    """Put `stored` and a Cast in the place of the initializer `value`: of a table, only the rows that are looked up."""
    graph.initializers.pop(str(value.name))
    graph.initializers.add(stored)
    uses = list(value.uses())
    if any(use.node.op_type != "Gather" for use in uses):
        # Beside its first use, not before everything: so that one weight at a time is widened.
        wanted = {use.node for use in uses}
        first = next(node for node in graph if node in wanted)
        graph.insert_before(first, ir.node("Cast", [stored], {"to": ir.DataType.FLOAT}, outputs=[value]))
        return
    for use in uses:
        rows = use.node.outputs[0]
        use.node.replace_input_with(use.idx, stored)
        cast = ir.node("Cast", [rows], {"to": ir.DataType.FLOAT})
        cast.outputs[0].name = f"{rows.name}.wide"  # names are unique through all bodies
        ir.convenience.replace_all_uses_with(rows, cast.outputs[0])
        cast.replace_input_with(0, rows)
        rows.type = stored.type
        assert use.node.graph is not None
        use.node.graph.insert_after(use.node, cast)  # which may be the body of a loop


def planned_bytes(shapes: Mapping[str, tuple[int, ...]], precision: Precision, exact: Container[str] = ()) -> int:
    """Size of the file that holds tensors of these shapes, in this order; those that are `exact` in float32."""
    size = 0
    for name, shape in shapes.items():
        count = prod(shape) * (4 if name in exact else precision.bytes)
        size = aligned(size, count) + count
    return size


def graph_name(graph: str, precision: Precision) -> str:
    """Name of a graph's file in the bundle."""
    return f"{graph}.{precision.name}.onnx"


def save_graph(model: ir.Model, graph: str, precision: Precision, staging: Staging) -> Path:
    """Write a linked model into the staging directory."""
    file = staging.file(graph_name(graph, precision))
    file.write(ir.to_proto(model).SerializeToString())
    file.close()
    return file.path
