"""What an export keeps in memory, by the system's own count. Ratios of sizes, not of times."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import pytest
from onnx import TensorProto

from a2d.engines.onnxruntime import load
from a2d.export.checkpoint.directory import Checkpoint
from a2d.export.synthetic import Synthetic, checkpoint

WIDE = Synthetic(
    layers=12, hidden=512, heads=4, kv_heads=2, head_dim=128, intermediate=2048, vocab=4000, max_context=128
)
"""Many layers, as large models have: the widened one is a small part of all."""

SHARD = 25_000_000

EXPORT = """
import sys
from pathlib import Path
from a2d.export.job import Job, export
from a2d.export.precision import precisions
export(Job(Path(sys.argv[1]), Path(sys.argv[2]), precisions(sys.argv[3]), quiet=True, cache=None))
"""


def peaks(source: Path, bundle: Path, precision: str) -> tuple[int, int]:
    """Bytes that the exporting process had at the most: of its own, and with mapped files."""
    process = subprocess.Popen([sys.executable, "-c", EXPORT, str(source), str(bundle), precision])
    own = total = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except ProcessLookupError:
            break
        found = {
            key: int(value.split()[0]) * 1024 for key, _, value in (x.partition(":") for x in lines) if "kB" in value
        }
        own, total = max(own, found.get("RssAnon", 0)), max(total, found.get("VmRSS", 0))
        time.sleep(0.02)
    assert process.wait() == 0
    return own, total


@pytest.fixture(scope="module")
def least(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, int]:
    """The peaks of a tiny model in fp32; those in half precision differ from them by little beside what is measured."""
    small = replace(WIDE, layers=1, hidden=64, heads=1, kv_heads=1, intermediate=128, vocab=64)
    folder = tmp_path_factory.mktemp("small")
    return peaks(checkpoint(folder / "small", small), folder / "small.a2d", "fp32")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is counted by Linux' /proc")
@pytest.mark.parametrize(("dtype", "precision"), [("F32", "fp32"), ("F16", "fp16"), ("BF16", "bf16")])
def test_peak_memory_beyond_that_of_a_tiny_model(
    tmp_path: Path, least: tuple[int, int], dtype: str, precision: str
) -> None:
    source = checkpoint(tmp_path / "wide", replace(WIDE, dtype=dtype), SHARD * (2 if dtype == "F32" else 1))
    opened = Checkpoint.open(source)
    shard = max(path.stat().st_size for path in source.glob("*.safetensors"))
    assert len({file.path for file in opened.files.values()}) > 3
    own, total = peaks(source, tmp_path / "wide.a2d", precision)
    assert total - least[1] < 1.3 * opened.bytes + shard
    assert own - least[0] < 0.6 * opened.bytes + shard  # the rest is the mapped file


@pytest.mark.parametrize(("dtype", "fuse"), [(TensorProto.FLOAT16, True), (TensorProto.FLOAT16, False)])
def test_a_frugal_engine_computes_the_same(tmp_path: Path, dtype: int, fuse: bool) -> None:
    rng, helper = np.random.default_rng(0), onnx.helper
    weights = [rng.normal(0, 0.3, (16, 16)).astype(np.float16) for _ in range(3)]
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(3)]
    ports = [helper.make_tensor_value_info(name, dtype, ["rows", 16]) for name in ("x0", "x3")]
    held = [onnx.numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    onnx.save(model, tmp_path / "g.onnx", save_as_external_data=True, location="g.data", size_threshold=0)
    x = rng.normal(size=(5, 16)).astype(np.float16)
    plain, frugal = (
        load(tmp_path / "g.onnx", precision="fp16", **chosen).run({"x0": x})["x3"]
        for chosen in ({}, {"frugal": True, "fuse": fuse})
    )
    np.testing.assert_allclose(np.asarray(plain), np.asarray(frugal), rtol=1e-2, atol=1e-3)
