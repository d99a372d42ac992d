"""Products of int8 at their extremes, in every form that calibration writes, on the processor that runs this.

usage: products.py [--plain]     (--plain leaves the processor's own options out; prints the error of each form as JSON)

Codes are large and of one sign, so a kernel that adds two products in 16 bits loses a tenth of every sum. Inputs are
whole numbers and every group of them has one of 127, so a kernel that computes in integers is exact.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from a2d.engines.cpu import CpuKind, this_cpu
from a2d.engines.onnxruntime import load

GROUP = 32
NODE = helper.make_node
Tensors = dict[str, np.ndarray]
Form = Callable[[np.ndarray], tuple[list[NodeProto], Tensors]]


def extremes(rows: int = 4, inputs: int = 64, outputs: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Codes as calibrated activations `[R, K]` and weights `[K, N]` have them at their ends."""
    chance = np.random.default_rng(5)
    x = chance.integers(64, 128, (rows, inputs)).astype(np.int8)
    x[:, ::GROUP] = 127
    return x, chance.integers(90, 128, (inputs, outputs)).astype(np.int8)


def paired(inputs: int = 64, outputs: int = 32) -> np.ndarray:
    """Codes `[K, N]` as `int8-avx2` has them at their ends: neighbours add up to 128."""
    first = np.random.default_rng(6).integers(1, 128, (inputs // 2, outputs))
    return np.stack([first, 128 - first], 1).reshape(inputs, outputs).astype(np.int8)


def static(weight: np.ndarray) -> tuple[list[NodeProto], Tensors]:
    """Both sides quantized, a scale per output channel."""
    columns = weight.shape[1]
    nodes = [
        NODE("QuantizeLinear", ["x", "s", "z"], ["q"]),
        NODE("DequantizeLinear", ["q", "s", "z"], ["d"]),
        NODE("DequantizeLinear", ["w", "ws", "wz"], ["e"], axis=1),
        NODE("MatMul", ["d", "e"], ["y"]),
    ]
    table = {"s": np.float32(1), "z": np.int8(0), "ws": np.ones(columns, np.float32), "wz": np.zeros(columns, np.int8)}
    return nodes, {"w": weight, **table}


def grouped(weight: np.ndarray) -> tuple[list[NodeProto], Tensors]:
    """Weights alone, a scale per group."""
    scales = (len(weight) // GROUP, weight.shape[1])
    nodes = [NODE("DequantizeLinear", ["w", "ws", "wz"], ["e"], axis=0, block_size=GROUP)]
    nodes.append(NODE("MatMul", ["x", "e"], ["y"]))
    return nodes, {"w": weight, "ws": np.ones(scales, np.float32), "wz": np.zeros(scales, np.int8)}


def dynamic(weight: np.ndarray) -> tuple[list[NodeProto], Tensors]:
    """The input quantized by its own range: the projection of weights-only precisions, a table `[V, H]`."""
    nodes = [
        NODE("Transpose", ["w"], ["t"], perm=[1, 0]),
        NODE("DynamicQuantizeLinear", ["x"], ["q", "step", "zero"]),
        NODE("MatMulInteger", ["q", "t", "zero"], ["whole"]),
        NODE("Cast", ["whole"], ["wide"], to=TensorProto.FLOAT),
        NODE("Mul", ["step", "ws"], ["scale"]),
        NODE("Mul", ["wide", "scale"], ["y"]),
    ]
    return nodes, {"w": np.ascontiguousarray(weight.T), "ws": np.ones(weight.shape[1], np.float32)}


def both(weight: np.ndarray) -> tuple[list[NodeProto], Tensors]:
    """A static product before one in groups, as in a graph with relief; a permutation by 1 hands its sums on."""
    first, table = static(weight)
    second, grouped_table = grouped(np.ascontiguousarray(np.eye(weight.shape[1], dtype=np.int8)))
    renamed = {"w": "gw", "ws": "gs", "wz": "gz", "x": "middle", "e": "f"}
    first[-1].output[0] = "middle"
    for node in second:
        for ports in (node.input, node.output):
            ports[:] = [renamed.get(name, name) for name in ports]
    return [*first, *second], table | {renamed[name]: value for name, value in grouped_table.items()}


FORMS: dict[str, Form] = {"static": static, "grouped": grouped, "dynamic": dynamic, "both": both}


def graph(form: Form, weight: np.ndarray) -> bytes:
    """x `[R, K]` times `weight` as a graph."""
    nodes, table = form(weight)
    io = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["R", k]) for n, k in zip("xy", weight.shape, strict=True)
    ]
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in table.items()]
    made = helper.make_graph(nodes, "g", io[:1], io[1:], held)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def errors(plain: bool) -> dict[str, float]:
    """Largest error of each form, in shares of the largest sum."""
    x, weight = extremes()
    kind = replace(this_cpu(), options={}) if plain else this_cpu()
    made = {name: error(form, x, weight, "int8", kind) for name, form in FORMS.items()}
    return made | {"paired": error(static, x, paired(), "int8-avx2", kind)}


def error(form: Form, x: np.ndarray, weight: np.ndarray, precision: str, kind: CpuKind) -> float:
    """Largest error of a form's product, in shares of the largest sum."""
    wanted = x.astype(np.int64) @ weight.astype(np.int64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "product.onnx")
        path.write_bytes(graph(form, weight))
        got = load(path, precision=precision, threads=1, cpu=kind).run({"x": x.astype(np.float32)})["y"]
    return float(np.abs(np.asarray(got) - wanted).max() / wanted.max())


if __name__ == "__main__":
    print(json.dumps({"kind": this_cpu().name, "errors": errors("--plain" in sys.argv)}))
