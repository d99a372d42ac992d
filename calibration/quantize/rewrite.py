r"""Float graphs to quantized ones: standard operators of opset 21, symmetric, that engines fuse into their own kernels.

    static     x -> Quantize -> Dequantize \\
                          codes -> Dequantize -> MatMul          int8 or fp8, a scale per output channel
    weights    codes in groups -> Dequantize -> MatMul           ONNX Runtime makes MatMulNBits of it
    dynamic    x -> DynamicQuantizeLinear -> MatMulInteger       the projection, where nothing is calibrated
    lookup     rows of codes -> Dequantize, times their scales   the embedding shares the projection's table

Zero points are spelled out although they are zero: without them ONNX Runtime leaves the products in float, 15 times
slower (docs/quantization.md). Knows graphs; what to do with each layer comes from `decide`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..source.products import Point, external, lookups, points
from ..source.smoothquant import Smoothed
from .assign import Decision, coded, input_format, table_format, weight_format
from .number_formats import FORMATS, Format
from .weight_file import CodeFile
from .weight_quant import Coded, code

__all__ = ["rewritten"]

Value: TypeAlias = ir.Value


def rewritten(path: Path, decision: Decision, weights: Smoothed, file: CodeFile) -> bytes:
    """The quantized form of a graph file, as a file; all weights that it needs go to `file`."""
    model = ir.load(path)
    editor = _Editor(model.graph, decision, weights, file)
    for node in lookups(model.graph):
        editor.lookup(node)
    for point in points(model.graph):
        getattr(editor, decision.layers[point.name].form)(point)
    editor.keep_the_rest()
    made: bytes = ir.to_proto(model).SerializeToString()
    return made


class _Editor:
    """One graph on its way."""

    def __init__(self, graph: ir.Graph, decision: Decision, weights: Smoothed, file: CodeFile) -> None:
        self._graph, self._decision, self._weights, self._file = graph, decision, weights, file
        self._count = 0

    def high(self, _: Point) -> None:
        """Leave it."""

    def static(self, point: Point) -> None:
        """Both sides quantized, each with a scale known beforehand."""
        numbers = input_format(self._decision.recipe, point.table)
        limit = self._decision.layers[point.name].limit
        scale = self._constant(f"{point.name}.input_scale", numbers.scale(np.array(limit or 0.0)))
        zero = self._constant(f"{point.name}.input_zero", np.zeros((), numbers.storage), numbers)
        x = self._add(point.node, "QuantizeLinear", point.activation, scale, zero)
        x = self._add(point.node, "DequantizeLinear", x, scale, zero)
        self._multiply(point, x, self._decoded(point))

    def weights(self, point: Point) -> None:
        """The weights alone."""
        self._multiply(point, point.activation, self._decoded(point))

    relief = weights

    def dynamic(self, point: Point) -> None:
        """The input quantized by its own range, in integers all the way."""
        made, node = self._coded(point), point.node
        codes = self._add(node, "Transpose", made[0], perm=[1, 0]) if point.table else made[0]
        x, step, zero = self._add_many(node, "DynamicQuantizeLinear", 3, point.activation)
        whole = self._add(node, "MatMulInteger", x, codes, zero)
        scale = self._add(node, "Mul", step, made[1])
        result = self._add(node, "Mul", self._add(node, "Cast", whole, to=int(ir.DataType.FLOAT)), scale)
        ir.convenience.replace_all_uses_with(node.outputs[0], result)
        self._graph.remove(node, safe=True)

    def lookup(self, node: ir.Node) -> None:
        """Rows of a table: of codes, if it is quantized."""
        table = node.inputs[0]
        assert table is not None
        if self._decision.recipe.head == "high":
            return
        codes, scale = self._table(str(table.name))
        one = self._constant("lookup.scale", np.ones((), np.float32))
        zero = self._constant("lookup.zero", np.zeros((), np.int8), FORMATS["int8"])
        index, rows = node.inputs[1], node.outputs[0]
        assert index is not None
        whole = self._add(node, "DequantizeLinear", self._add(node, "Gather", codes, index), one, zero)
        last = self._constant("lookup.axis", np.array([-1], np.int64))
        steps = self._add(node, "Unsqueeze", self._add(node, "Gather", scale, index), last)
        result = self._add(node, "Mul", whole, steps)
        ir.convenience.replace_all_uses_with(rows, result)
        self._graph.remove(node, safe=True)

    def keep_the_rest(self) -> None:
        """Write the weights that stay; drop those that nothing reads any more."""
        for name, value in [*self._graph.initializers.items()]:
            if not value.uses():  # the body of a loop counts
                del self._graph.initializers[name]
            elif external(value) is not None and not self._file.holds(external(value)):
                value.const_value = self._file.keep(name, self._weights)

    def _decoded(self, point: Point) -> Value:
        """The weights as a graph sees them, `[in, out]`."""
        codes, scale, made = self._coded(point)
        form = self._form(point)
        if made.group is not None:
            zeros = [self._zeros(point.name, made.scale.shape, form)] if form.bits == 8 else []
            return self._add(point.node, "DequantizeLinear", codes, scale, *zeros, axis=0, block_size=made.group)
        zero = self._constant(f"{point.name}.zero", np.zeros(len(made.scale), form.storage), form)
        wide = self._add(point.node, "DequantizeLinear", codes, scale, zero, axis=made.axis)
        return self._add(point.node, "Transpose", wide, perm=[1, 0]) if point.table else wide

    def _zeros(self, name: str, shape: tuple[int, ...], form: Format) -> Value:
        """Zero points of a matrix in groups, of its own name: the same bytes for all matrices of one shape.

        ONNX Runtime's option for processors that saturate moves bytes by 128, and needs a zero point to move with them.
        """
        return self._initializer(f"{name}.zero", self._file.zeros(shape, ir.DataType[form.onnx], form.storage))

    def _coded(self, point: Point) -> tuple[Value, Value, Coded]:
        made = coded(self._decision.recipe, self._weights, point.name, self._decision.layers[point.name].form)
        if point.table:
            return (*self._table(point.name), made)
        scale = self._stored(f"{point.name}.scale", made.scale, None)
        return self._stored(point.name, made.codes, self._form(point)), scale, made

    def _form(self, point: Point) -> Format:
        return weight_format(self._decision.recipe, point.table, self._decision.layers[point.name].form)

    def _table(self, name: str) -> tuple[Value, Value]:
        """Codes `[V, H]` and their scales `[V]`: of tied tables, the same bytes."""
        form = table_format(self._decision.recipe)
        made = code(self._weights.weight(name), form, 0)
        scale = self._stored(f"{name}.scale", made.scale, None)
        return self._stored(name, made.codes, form), scale

    def _stored(self, name: str, array: NDArray[np.generic], form: Format | None) -> Value:
        """An initializer whose bytes lie in the weight file."""
        tensor = self._file.write(name, array, ir.DataType["FLOAT" if form is None else form.onnx])
        return self._initializer(f"{name}.codes" if form else name, tensor)

    def _constant(self, name: str, array: NDArray[np.generic], form: Format | None = None) -> Value:
        """A small initializer inside the graph's own file."""
        if name not in self._graph.initializers:
            self._initializer(name, ir.Tensor(array, dtype=None if form is None else ir.DataType[form.onnx], name=name))
        return self._graph.initializers[name]

    def _initializer(self, name: str, tensor: ir.TensorProtocol) -> Value:
        value = Value(name=name, const_value=tensor)
        value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape)
        self._graph.initializers[name] = value
        return value

    def _multiply(self, point: Point, x: Value, weight: Value) -> None:
        """A Gemm by a table becomes a MatMul, whose quantized form engines know."""
        result = self._add(point.node, "MatMul", x, weight)
        ir.convenience.replace_all_uses_with(point.node.outputs[0], result)
        self._graph.remove(point.node, safe=True)

    def _add(self, before: ir.Node, kind: str, *inputs: Value, **attributes: object) -> Value:
        return self._add_many(before, kind, 1, *inputs, **attributes)[0]

    def _add_many(self, before: ir.Node, kind: str, count: int, *inputs: Value, **attributes: object) -> list[Value]:
        node = ir.node(kind, list(inputs), attributes, num_outputs=count)
        self._count += 1
        node.name = f"quantized.{self._count}"  # ONNX Runtime wants every node's name to be its own
        for i, value in enumerate(node.outputs):
            value.name = f"{node.name}.{i}"
        self._graph.insert_before(before, node)
        return list(node.outputs)
