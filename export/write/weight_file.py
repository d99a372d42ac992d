"""Torch's tensors to a weight file, one of them in memory at a time, and graphs that point into it.

Knows names and number types; not what a tensor is for.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx_ir as ir
import torch

from ...runtime.bundle.staging import Staging
from ...runtime.bundle.weight_file import WeightFile, file_bytes
from ...runtime.bundle.weight_index import StoredTensor
from ..precision import Precision

__all__ = ["CONFIG_KEY", "TorchWeightFile", "graph_name", "planned_bytes", "save_graph"]

CONFIG_KEY = "a2d.config"
"""Key of the checkpoint's config.json among a graph's metadata."""


@dataclass(frozen=True)
class TorchWeightFile:
    """The weight file of a precision, written from torch's tensors, and read by graphs that are linked to it."""

    precision: Precision
    file: WeightFile

    @staticmethod
    def new(precision: Precision, staging: Staging) -> TorchWeightFile:
        """An empty one in a bundle that is being written."""
        return TorchWeightFile(precision, WeightFile(precision.name, staging))

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Append one tensor, contiguous and of the precision's dtype, or float32."""
        assert tensor.dtype in (self.precision.dtype, torch.float32) and tensor.is_contiguous()
        kind = ir.DataType.FLOAT if tensor.dtype == torch.float32 else self.precision.onnx
        self.file.append(name, tensor.view(-1).view(torch.uint8).numpy(), tuple(tensor.shape), kind.name)

    def mapped(self, name: str) -> torch.Tensor:
        """A tensor where it lies in the closed file. Not to be written to."""
        at = self.file.tensors[name]
        dtype = torch.float32 if at.kind == "FLOAT" else self.precision.dtype
        return torch.from_numpy(self.file.mapped(name)).view(dtype).reshape(at.shape)

    def link(self, model: ir.Model, aliases: Mapping[str, str]) -> ir.Model:
        """Point every initializer without bytes at its tensor; `aliases` are names of tensors stored under another."""
        for name, value in model.graph.initializers.items():
            if value.const_value is None:
                value.const_value = self._external(name, self.file.tensors[aliases.get(name, name)])
        return model

    def link_widened(self, model: ir.Model, aliases: Mapping[str, str]) -> ir.Model:
        """Do as `link` does for a model that computes in float32: weights are cast on their way in.

        So weights of a precision that an engine lacks can be checked from the very bytes that were written.
        """
        for name, value in [*model.graph.initializers.items()]:
            at = self.file.tensors[aliases.get(name, name)] if value.const_value is None else None
            if at is not None and at.kind != ir.DataType.FLOAT.name:
                stored = ir.Value(name=f"{name}.stored", type=ir.TensorType(ir.DataType[at.kind]), shape=value.shape)
                stored.const_value = self._external(str(stored.name), at)
                _widen(model.graph, value, stored)
        return self.link(model, aliases)

    def _external(self, name: str, at: StoredTensor) -> ir.ExternalTensor:
        shape, folder = ir.Shape(at.shape), self.file.staging.path
        kind = ir.DataType[at.kind]
        return ir.ExternalTensor(self.file.name, at.offset, at.bytes, kind, shape=shape, name=name, base_dir=folder)


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
    return file_bytes(prod(s) * (4 if name in exact else precision.bytes) for name, s in shapes.items())


def graph_name(graph: str, precision: Precision) -> str:
    """Name of a graph's file in the bundle."""
    return f"{graph}.{precision.name}.onnx"


def save_graph(model: ir.Model, graph: str, precision: Precision, staging: Staging) -> Path:
    """Write a linked model into the staging directory."""
    file = staging.file(graph_name(graph, precision))
    file.write(ir.to_proto(model).SerializeToString())
    file.close()
    return file.path
