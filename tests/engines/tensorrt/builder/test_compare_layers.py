"""Value by value: what TensorRT's copy of a graph changes, and that the library builds a graph of marked values."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx_ir as ir
import pytest
from denoise_feeds import denoise_feeds

from a2d.__main__ import main
from a2d.engines.errors import EngineError
from a2d.engines.tensorrt.builder.compare_layers import differences, marked_engine
from a2d.engines.tensorrt.builder.copy import copy_graph

pytest.importorskip("polygraphy", reason="polygraphy is not installed: values are not compared here")


def feeds(rows: int = 5) -> dict[str, np.ndarray]:
    return denoise_feeds(rows, np.random.default_rng(3))


def test_an_exact_copy_differs_nowhere_and_half_precision_at_its_products(floats):
    graph = floats / "denoise.fp32.onnx"
    exact, half = (differences("onnxruntime", graph, feeds(), half=half) for half in (False, True))
    assert len(exact) > 10 and all(difference.error == 0 for difference in exact)
    first = next(difference for difference in half if difference.error > 0)
    assert "Gemm" in first.name and 1e-5 < first.error < 1e-2


def test_a_wrong_value_is_the_first_to_differ(floats, tmp_path, monkeypatch):
    from a2d.engines.tensorrt.builder import compare_layers as drift

    def spoiled(source, target, **how):
        copy_graph(source, target, **how)
        model = ir.load(target)
        exp = next(node for node in model.graph if node.op_type == "Exp")
        ir.convenience.replace_all_uses_with(exp.outputs[0], exp.inputs[0])
        spoiled.after = exp.outputs[0].name
        model.graph.remove(exp, safe=True)
        ir.save(model, target)

    monkeypatch.setattr(drift, "copy_graph", spoiled)
    found = differences("onnxruntime", floats / "denoise.fp32.onnx", feeds(), half=False)
    wrong = [difference.name for difference in found if difference.error > 1e-3]
    assert wrong and found[0].error == 0 and spoiled.after not in [difference.name for difference in found]


def test_tensorrt_rtx_builds_a_graph_whose_values_are_all_outputs(floats, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: engines are not built here")
    path = tmp_path / "copy.onnx"
    copy_graph(floats / "denoise.fp32.onnx", path, half=True)
    assert len(bytes(marked_engine("tensorrt_rtx", path, feeds()))) > 10_000


def test_without_a_gpu_the_library_s_half_says_so(floats):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    with pytest.raises(EngineError, match="NVIDIA driver"):
        differences("tensorrt_rtx", floats / "denoise.fp32.onnx", feeds(), half=True)


def test_verify_layers_prints_where_a_step_differs(floats, data, tmp_path, capsys):
    mine = shutil.copytree(floats, tmp_path / "tiny.a2d")
    flags = ["verify", str(mine), "--engine", "onnxruntime", "--layers", "--precision", "fp16", "--data", str(data)]
    assert main([*flags, "--json"]) == 0
    found = {line["graph"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert set(found) == {"backbone", "denoise"}
    assert all(0 < len(line["values"]) <= 10 and line["precision"] == "fp16" for line in found.values())
    assert max(error for _, error in found["backbone"]["values"]) < 0.05
    assert main(flags) == 0
    assert "backbone in fp16 by onnxruntime" in capsys.readouterr().out
