"""A pass: attention that a bundle holds as one operator of ONNX Runtime becomes the products that it stands for.

TensorRT has no such operator; its compiler finds MatMul, Softmax, MatMul and fuses them itself. The operator takes
`[1,R,H D]` in float32, and what turns heads into that form before it and back behind it falls away:

    [Cast] Reshape Transpose (q), the same for k and v, MultiHeadAttention, Reshape Transpose [Cast]
    becomes  MatMul(q, k') [Cast] Mul(scale) Softmax [Cast] MatMul(v)

so that products are in the type of q, k and v, and the softmax in float32.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir

from ...errors import EngineError
from ...graph_nodes import GraphNodes, named_after

__all__ = ["OPERATOR", "open_attention"]

OPERATOR = "MultiHeadAttention"


def open_attention(model: ir.Model) -> ir.Model:
    """Rewrite in place. Raises EngineError for an attention of another form."""
    for node in [*model.graph]:
        if node.op_type == OPERATOR:
            _open(model.graph, node)
    return model


def _open(graph: ir.Graph, node: ir.Node) -> None:
    query, key, value = (_apart(part, node) for part in node.inputs)
    end = _reader(_reader(node, "Reshape", node), "Transpose", node)
    cast = node.inputs[0].producer().op_type == "Cast"
    if cast:
        end = _reader(end, "Cast", node)
    nodes = GraphNodes(graph, named_after(node))
    add = partial(nodes.add, node)
    scores = add("MatMul", query, add("Transpose", key, perm=(0, 1, 3, 2)))
    wide = add("Cast", scores, to=int(ir.DataType.FLOAT)) if cast else scores
    scale = nodes.constant(f"{node.name}.scale", np.array(node.attributes["scale"].as_float(), np.float32))
    weights = add("Softmax", add("Mul", wide, scale), axis=-1)
    narrow = add("Cast", weights, to=end.attributes["to"].as_int()) if cast else weights
    ir.convenience.replace_all_uses_with(end.outputs[0], add("MatMul", narrow, value))


def _apart(value: ir.Value | None, node: ir.Node) -> ir.Value:
    """The heads `[1,H,R,D]` that became an input of the operator."""
    maker = None if value is None else value.producer()
    if maker is not None and maker.op_type == "Cast":
        maker = maker.inputs[0].producer() if maker.inputs[0] is not None else None
    for operator in ("Reshape", "Transpose"):
        if maker is None or maker.op_type != operator or maker.inputs[0] is None:
            raise _other_form(node)
        value = maker.inputs[0]
        maker = value.producer()
    assert value is not None, "the loop has seen it"
    return value


def _reader(node: ir.Node, operator: str, attention: ir.Node) -> ir.Node:
    """The one node that reads a node's result."""
    uses = [*node.outputs[0].uses()]
    if len(uses) != 1 or uses[0][0].op_type != operator:
        raise _other_form(attention)
    return uses[0][0]


def _other_form(node: ir.Node) -> EngineError:
    return EngineError(f"{node.name}: {OPERATOR} stands in a form that a2d does not write; export the checkpoint again")
