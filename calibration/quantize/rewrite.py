r"""Float graphs to quantized ones: standard operators of opset 21, symmetric, that engines fuse into their own kernels.

    static     x -> Quantize -> Dequantize \\
                          codes -> Dequantize -> MatMul          int8 or fp8, a scale per output channel
    weights    codes in groups -> Dequantize -> MatMul           ONNX Runtime makes MatMulNBits of it
    dynamic    x -> DynamicQuantizeLinear -> MatMulInteger       the projection, where nothing is calibrated
    lookup     rows of codes -> Dequantize, times their scales   the embedding shares the projection's table

Three passes in a row. Zero points are spelled out although they are zero: without them ONNX Runtime leaves the products
in float, 15 times slower (docs/quantization.md). Knows graphs; what to do with each layer comes from `decide`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassError, PassResult, PostconditionError, PreconditionError, Sequential

from ...engines.graph_nodes import GraphNodes
from ..source.products import Point, external, lookups, points
from .assign import Decision, input_format
from .coded_weights import CodedWeights, KeptCodes
from .number_formats import Format
from .weight_file import CodeFile

__all__ = ["rewrite"]

PREFIX = "quantized."
"""Beginning of the names of added nodes: ONNX Runtime wants every node's name to be its own."""


def rewrite(model: ir.Model, decision: Decision, weights: CodedWeights, file: CodeFile) -> None:
    """Quantize a graph in place; all weights that it needs go to `file`. Raises OSError: writing."""
    parts = _Parts(decision, weights, file)
    try:
        Sequential(QuantizeLookups(parts), QuantizeProducts(parts), StoreTheRest(parts))(model)
    except PassError as error:
        if isinstance(error.__cause__, (OSError, MemoryError)):
            raise error.__cause__ from error  # the machine's fault, and no pass's
        raise


def _new_nodes(graph: ir.Graph) -> GraphNodes:
    """Nodes that are numbered from 1 in one row, whichever pass adds them."""
    there = sum(str(node.name).startswith(PREFIX) for node in graph)
    return GraphNodes(graph, lambda _, count: f"{PREFIX}{count}", there + 1)


@dataclass(frozen=True)
class _Parts:
    """Decisions, weights and their file, common to all passes."""

    decision: Decision
    weights: CodedWeights
    file: CodeFile

    def codes(self, nodes: GraphNodes, name: str, form: str) -> tuple[ir.Value, ir.Value, KeptCodes]:
        """Codes and scales of weights as initializers, whose bytes lie in the weight file: of tied tables, the same."""
        made = self.weights.kept(name, form)
        numbers = ir.DataType[made.layout.form.onnx]
        scale = nodes.initializer(f"{name}.scale", self.file.write(f"{name}.scale", made.scale, ir.DataType.FLOAT))
        return nodes.initializer(f"{name}.codes", self.file.write(name, made.codes, numbers)), scale, made

    def product(self, nodes: GraphNodes, point: Point) -> tuple[ir.Value, ir.Value, KeptCodes]:
        """Codes and scales of a product's weights."""
        return self.codes(nodes, point.name, self.form(point))

    def form(self, point: Point) -> str:
        """Treatment of a product."""
        return self.decision.layers[point.name].form


class QuantizeLookups(InPlacePass):
    """Pass: rows of a table become rows of codes, times their scales; where tables stay high, nothing changes."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
        self._high = parts.decision.recipe.head == "high"

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError for a table that the source does not hold."""
        unknown = {str(node.inputs[0].name) for node in lookups(model.graph)} - set(
            self._parts.weights.weights.source.tensors
        )
        if unknown:
            raise PreconditionError(f"looked up, but not in the source: {sorted(unknown)}")

    def call(self, model: ir.Model) -> PassResult:
        """Rewrite every lookup."""
        found = [] if self._high else lookups(model.graph)
        nodes = _new_nodes(model.graph)
        for node in found:
            self._lookup(nodes, node)
        return PassResult(model, modified=bool(found))

    def ensures(self, model: ir.Model) -> None:
        """Raise PostconditionError where rows of floats are still looked up."""
        tables = [external(node.inputs[0]) for node in lookups(model.graph)]
        left = [t.name for t in tables if t is not None and t.dtype == ir.DataType.FLOAT and len(t.shape) > 1]
        if left and not self._high:
            raise PostconditionError(f"looked up as floats: {left}")

    def _lookup(self, nodes: GraphNodes, node: ir.Node) -> None:
        table, index = node.inputs[0], node.inputs[1]
        assert table is not None and index is not None
        codes, scale, _ = self._parts.codes(nodes, str(table.name), "lookup")
        one = nodes.constant("lookup.scale", np.ones((), np.float32))
        zero = nodes.constant("lookup.zero", np.zeros((), np.int8))
        whole = nodes.add(node, "DequantizeLinear", nodes.add(node, "Gather", codes, index), one, zero)
        last = nodes.constant("lookup.axis", np.array([-1], np.int64))
        steps = nodes.add(node, "Unsqueeze", nodes.add(node, "Gather", scale, index), last)
        nodes.replace(node, nodes.add(node, "Mul", whole, steps))


class QuantizeProducts(InPlacePass):
    """Pass: every product with weights in the form that was decided; those that stay high are left."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError for a product that nothing was decided of."""
        undecided = [point.name for point in points(model.graph) if point.name not in self._parts.decision.layers]
        if undecided:
            raise PreconditionError(f"nothing was decided of {undecided}")

    def call(self, model: ir.Model) -> PassResult:
        """Rewrite every product."""
        found = [point for point in points(model.graph) if self._parts.form(point) != "high"]
        nodes = _new_nodes(model.graph)
        for point in found:
            WRITTEN[self._parts.form(point)](self._parts, nodes, point)
        return PassResult(model, modified=bool(found))

    def ensures(self, model: ir.Model) -> None:
        """Raise PostconditionError where a product is left that should not be."""
        left = [p.name for p in points(model.graph) if p.name in self._parts.decision.layers]
        if any(self._parts.decision.layers[name].form != "high" for name in left):
            raise PostconditionError(f"still floats: {left}")


class StoreTheRest(InPlacePass):
    """Pass: weights that stay go to the new file, and those that nothing reads any more are dropped."""

    def __init__(self, parts: _Parts) -> None:
        self._file = parts.file

    def call(self, model: ir.Model) -> PassResult:
        """Go through all initializers."""
        initializers = model.graph.initializers
        for name, value in [*initializers.items()]:
            if not value.uses():  # the body of a loop counts
                del initializers[name]
            elif external(value) is not None and not self._file.holds(external(value)):
                value.const_value = self._file.keep(name)
        return PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Raise PostconditionError where a weight lies in another file."""
        stored = {name: external(value) for name, value in model.graph.initializers.items()}
        away = [name for name, tensor in stored.items() if tensor is not None and not self._file.holds(tensor)]
        if away:
            raise PostconditionError(f"in another file: {away}")


def _static(parts: _Parts, nodes: GraphNodes, point: Point) -> None:
    """Both sides quantized, each with a scale known beforehand."""
    numbers = input_format(parts.decision.recipe, point.table)
    limit = parts.decision.layers[point.name].limit
    scale = nodes.constant(f"{point.name}.input_scale", numbers.scale(np.array(limit or 0.0)))
    zero = nodes.constant(f"{point.name}.input_zero", np.zeros((), numbers.storage), ir.DataType[numbers.onnx])
    x = nodes.add(point.node, "QuantizeLinear", point.activation, scale, zero)
    x = nodes.add(point.node, "DequantizeLinear", x, scale, zero)
    _multiply(nodes, point, x, _decoded(parts, nodes, point))


def _weights(parts: _Parts, nodes: GraphNodes, point: Point) -> None:
    """The weights alone."""
    _multiply(nodes, point, point.activation, _decoded(parts, nodes, point))


def _dynamic(parts: _Parts, nodes: GraphNodes, point: Point) -> None:
    """The input quantized by its own range, in integers all the way."""
    made, node = parts.product(nodes, point), point.node
    codes = nodes.add(node, "Transpose", made[0], perm=[1, 0]) if point.table else made[0]
    x, step, zero = nodes.add_many(node, "DynamicQuantizeLinear", 3, point.activation)
    whole = nodes.add(node, "MatMulInteger", x, codes, zero)
    scale = nodes.add(node, "Mul", step, made[1])
    floats = nodes.add(node, "Cast", whole, to=int(ir.DataType.FLOAT))
    nodes.replace(node, nodes.add(node, "Mul", floats, scale))


WRITTEN: dict[str, Callable[[_Parts, GraphNodes, Point], None]] = {
    "static": _static,
    "weights": _weights,
    "relief": _weights,
    "dynamic": _dynamic,
}
"""Form of a product to the function that writes it; `high` is left as it is."""


def _multiply(nodes: GraphNodes, point: Point, x: ir.Value, weight: ir.Value) -> None:
    """A Gemm by a table becomes a MatMul, whose quantized form engines know."""
    nodes.replace(point.node, nodes.add(point.node, "MatMul", x, weight))


def _decoded(parts: _Parts, nodes: GraphNodes, point: Point) -> ir.Value:
    """The weights as a graph sees them, `[in, out]`."""
    codes, scale, made = parts.product(nodes, point)
    form, axis, group = made.layout.form, made.layout.axis, made.layout.group
    if group is not None:
        zeros = [_zeros(parts.file, nodes, point.name, made.scale_shape, form)] if form.bits == 8 else []
        return nodes.add(point.node, "DequantizeLinear", codes, scale, *zeros, axis=0, block_size=group)
    zero = nodes.constant(f"{point.name}.zero", np.zeros(made.scale_shape, form.storage), ir.DataType[form.onnx])
    wide = nodes.add(point.node, "DequantizeLinear", codes, scale, zero, axis=axis)
    return nodes.add(point.node, "Transpose", wide, perm=[1, 0]) if point.table else wide


def _zeros(file: CodeFile, nodes: GraphNodes, name: str, shape: tuple[int, ...], form: Format) -> ir.Value:
    """Zero points of a matrix in groups, of its own name: the same bytes for all matrices of one shape.

    ONNX Runtime's option for processors that saturate moves bytes by 128, and needs a zero point to move with them.
    """
    return nodes.initializer(f"{name}.zero", file.zeros(shape, ir.DataType[form.onnx], form.storage))
