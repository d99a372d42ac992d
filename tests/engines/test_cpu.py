"""Kinds of processors: every one has a row, int8 is exact on all, and a saturating kernel is noticed."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from a2d.engines import onnxruntime as engine
from a2d.engines.cpu import KINDS, UNKNOWN, WIDENED, CpuKind, features, kind_of, this_cpu

FEATURES = sorted({name for kind in KINDS for name in kind.needs})


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_every_set_of_features_has_one_row(arch):
    for count in range(len(FEATURES) + 1):
        for found in combinations(FEATURES, count):
            kind = kind_of(arch, found)
            assert kind.arch == arch and set(kind.needs) <= set(found)
    assert kind_of("riscv64", FEATURES) is UNKNOWN


@pytest.mark.parametrize(
    ("arch", "found", "name"),
    [
        ("x86_64", {"AVX2"}, "AVX2"),  # Haswell, Zen 1 to 3
        ("x86_64", {"AVX2", "AVX512F"}, "AVX-512"),  # Skylake-X
        ("x86_64", {"AVX2", "AVX512F", "AVX512_VNNI"}, "AVX-512 VNNI"),  # Ice Lake, Zen 4
        ("x86_64", {"AVX2", "AVX_VNNI"}, "AVX-VNNI"),  # Alder Lake
        ("x86_64", {"AVX2", "AVX512F", "AVX512_VNNI", "AVX_VNNI", "AMX_INT8"}, "AMX"),  # Sapphire Rapids
        ("x86_64", set(), "SSE4"),  # Nehalem
        ("aarch64", set(), "NEON"),  # Cortex-A57
        ("aarch64", {"ASIMDDP"}, "dot product"),  # Cortex-A76, Orin
        ("aarch64", {"ASIMDDP", "I8MM"}, "i8mm"),  # Thor, Apple M2
    ],
)
def test_processors_of_the_field(arch, found, name):
    assert kind_of(arch, found).name == name


def test_no_kind_that_saturates_is_without_the_option():
    assert [kind.name for kind in KINDS if kind.saturates and kind.options != WIDENED] == []
    assert [kind.name for kind in KINDS if not kind.saturates and kind.options] == []  # it rewrites weights anyway


def test_what_the_processor_says_goes_before_what_a_file_says():
    host = "flags\t\t: fpu avx2 avx512f avx512_vnni amx_int8\n"  # an emulator shows the machine below it
    assert features(host, {"AVX2": True, "AVX512F": False, "AVX512_CLX": False}) == {"AVX2"}
    assert features("flags : avx2 avx_vnni", {"AVX2": True, "AVX512F": False}) == {"AVX2", "AVX_VNNI"}
    assert features(host, {}) == {"AVX2", "AVX512F", "AVX512_VNNI", "AMX_INT8"}
    assert "AVX512_VNNI" in features("", {"AVX2": True, "AVX512F": True, "AVX512_CLX": True})
    assert features("Features\t: fp asimd asimddp i8mm\n", {"ASIMD": True}) >= {"ASIMDDP", "I8MM"}


def test_options_reach_the_session(tmp_path, monkeypatch):
    seen: list[ort.SessionOptions] = []
    path = tmp_path / "product.onnx"
    path.write_bytes(product(np.ones((8, 4), np.int8)))
    real = engine._session
    monkeypatch.setattr(engine, "_session", lambda p, v, o, *a, **k: (seen.append(o), real(p, v, o, *a, **k))[1])
    made = engine.load(path, precision="int8", cpu=CpuKind("played", "x86_64", (), True, WIDENED))
    assert seen[0].get_session_config_entry("session.x64quantprecision") == "1" and "(played)" in made.describe
    engine.load(path, precision="int8-weight", cpu=CpuKind("played", "x86_64", (), True, WIDENED))
    assert seen[1].get_session_config_entry("session.qdq_matmulnbits_accuracy_level") == "4"
    with pytest.raises(RuntimeError):
        seen[1].get_session_config_entry("session.x64quantprecision")
    assert this_cpu().name in engine.load(path, precision="int8").describe


# -- a product, and the kernel of a processor without VNNI


def product(weight: np.ndarray) -> bytes:
    """x -> codes -> x @ weight, as calibration writes int8: symmetric, zero points spelled out."""
    K, N = weight.shape
    table = {
        "w": weight,
        "ws": np.ones(N, np.float32),
        "wz": np.zeros(N, np.int8),
        "s": np.float32(1),
        "z": np.int8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["e"], axis=1),
        helper.make_node("MatMul", ["d", "e"], ["y"]),
    ]
    io = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["R", k]) for n, k in (("x", K), ("y", N))]
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in table.items()]
    graph = helper.make_graph(nodes, "g", io[:1], io[1:], made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def saturating(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The product as `vpmaddubsw` computes it: x moved to unsigned bytes, pairs of products in 16 bits."""
    moved = (x.astype(np.int32) + 128)[:, :, None] * weight.astype(np.int32)[None]
    pairs = np.clip(moved[:, ::2] + moved[:, 1::2], -32768, 32767)
    return pairs.sum(1) - 128 * weight.astype(np.int32).sum(0)


def widened(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x.astype(np.int32) @ weight.astype(np.int32)


@pytest.fixture(scope="module")
def extreme() -> tuple[np.ndarray, np.ndarray]:
    """Codes as calibrated weights and activations have them at their ends: large, and of one sign in pairs."""
    chance = np.random.default_rng(5)
    return chance.integers(64, 128, (4, 64)).astype(np.int8), chance.integers(90, 128, (64, 32)).astype(np.int8)


def test_this_processor_multiplies_without_loss(tmp_path, extreme):
    x, weight = extreme
    path = tmp_path / "product.onnx"
    path.write_bytes(product(weight))
    made = engine.load(path, precision="int8").run({"x": x.astype(np.float32)})["y"]
    assert np.abs(np.asarray(made) - widened(x, weight)).max() <= 1


def test_a_saturating_kernel_would_be_noticed(extreme):
    x, weight = extreme
    lost = np.abs(saturating(x, weight) - widened(x, weight)).max() / np.abs(widened(x, weight)).max()
    assert lost > 0.1  # the test above bounds it by one in half a million
