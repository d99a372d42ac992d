"""A pass: a table of codes is dequantized before it is looked up.

TensorRT wants it so (`Quantized constant is only allowed before DQ`) and then folds the two; ONNX Runtime would
dequantize the whole table at every step, so bundles look up first.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

__all__ = ["look_up_late"]


def look_up_late(model: ir.Model) -> ir.Model:
    """Rewrite in place."""
    graph = model.graph
    for node in [*graph]:
        if node.op_type == "Gather" and _is_codes(node.inputs[0]):
            _look_up_late(graph, node)
    return model


def _is_codes(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and value.const_value.dtype == ir.DataType.INT8


def _look_up_late(graph: ir.Graph, gather: ir.Node) -> None:
    """Gather(codes) -> Dequantize by 1 -> Mul by the rows' scales, to Dequantize(codes) -> Gather."""
    codes, index = gather.inputs[0], gather.inputs[1]
    (wide,) = gather.outputs[0].consumers()
    (product,) = wide.outputs[0].consumers()
    steps = product.inputs[1]
    assert codes is not None and index is not None and steps is not None
    unsqueeze = steps.producer()
    assert unsqueeze is not None and unsqueeze.inputs[0] is not None
    looked_up = unsqueeze.inputs[0].producer()
    assert looked_up is not None and looked_up.inputs[0] is not None
    count = int(codes.shape[0])
    zero = ir.Value(name=f"{codes.name}.zero", const_value=ir.tensor(np.zeros(count, np.int8)))
    zero.type, zero.shape = ir.TensorType(ir.DataType.INT8), ir.Shape([count])
    graph.initializers[str(zero.name)] = zero
    table = ir.node("DequantizeLinear", [codes, looked_up.inputs[0], zero], {"axis": 0}, name=f"{gather.name}.table")
    rows = ir.node("Gather", [table.outputs[0], index], {"axis": 0}, name=f"{gather.name}.rows")
    graph.insert_before(gather, [table, rows])
    ir.convenience.replace_all_uses_with(product.outputs[0], rows.outputs[0])
    for node in (product, wide, unsqueeze, looked_up, gather):
        graph.remove(node, safe=True)
