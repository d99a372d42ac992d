"""Kinds of processors: every one has a row, int8 is exact on all, and a saturating kernel is noticed."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import onnxruntime as ort
import pytest
from cpus.played import PLAYED, ask
from cpus.products import errors, extremes, graph, static

from a2d.engines import onnxruntime as engine
from a2d.engines.cpu import KINDS, NAMES, UNKNOWN, WIDENED, CpuKind, faster, features, kind_of, slow, this_cpu

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
    # Without VNNI, by the name that NumPy has for it since 2.4; and a virtual machine that leaves tiles out.
    bare = {"AVX2": True, "AVX512F": True, "AVX512VNNI": False, "AVX512_SPR": False}
    assert features(host, bare) == {"AVX2", "AVX512F"}
    tiles = {"AVX2": True, "AVX512F": True, "AVX512VNNI": True, "AVX512_SPR": True}
    assert features("flags : avx2 avx512f avx512_vnni\n", tiles) == {"AVX2", "AVX512F", "AVX512_VNNI"}
    assert features("flags : sse4_1\n", {"AVX2": True, "AVX512F": False}) == {"AVX2"}
    assert features("Features\t: fp asimd asimddp i8mm\n", {"ASIMD": True}) >= {"ASIMDDP", "I8MM"}


def test_features_that_numpy_names_are_among_those_that_kinds_need():
    assert set(NAMES) <= set(FEATURES)


@pytest.mark.parametrize("precision", ["fp32", "int8", "int8-weight", "int4-weight"])
def test_options_reach_the_session(tmp_path, monkeypatch, precision):
    """Every graph's: the projection of weights-only precisions multiplies bytes as well."""
    seen: list[ort.SessionOptions] = []
    path = tmp_path / "product.onnx"
    path.write_bytes(graph(static, np.ones((8, 4), np.int8)))
    real = engine._session
    monkeypatch.setattr(engine, "_session", lambda p, v, o, *a, **k: (seen.append(o), real(p, v, o, *a, **k))[1])
    kind = CpuKind("played", "x86_64", (), True, WIDENED)
    assert kind.options_for("int8-avx2") == {}
    made = engine.load(path, precision=precision, cpu=kind)
    assert seen[0].get_session_config_entry("session.x64quantprecision") == "1" and "(played)" in made.describe
    assert seen[0].get_session_config_entry("session.qdq_matmulnbits_accuracy_level") == "4"
    engine.load(path, precision=precision, cpu=CpuKind("played", "x86_64", (), False))
    with pytest.raises(RuntimeError):
        seen[1].get_session_config_entry("session.x64quantprecision")
    assert this_cpu().name in engine.load(path, precision=precision).describe


# -- products on kinds of processors, and the kernel of one without VNNI

EXACT = 0.01
"""Error in shares of the largest sum: inputs that are quantized on the way round by 1/255, sums that saturate lose a
quarter and more."""


def saturating(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The product as `vpmaddubsw` computes it: x moved to unsigned bytes, pairs of products in 16 bits."""
    moved = (x.astype(np.int32) + 128)[:, :, None] * weight.astype(np.int32)[None]
    pairs = np.clip(moved[:, ::2] + moved[:, 1::2], -32768, 32767)
    return pairs.sum(1) - 128 * weight.astype(np.int32).sum(0)


def inexact(found: dict[str, float]) -> list[str]:
    """Forms whose products are wrong."""
    return [form for form, error in found.items() if error > EXACT]


def played(kind: str, *flags: str) -> dict[str, float]:
    """Errors of the products on a kind of processor."""
    found = ask(kind, "products.py", *flags)
    if found is None:
        pytest.skip(f"nothing here plays {kind}: CPUID does not fault or there is no C compiler; and no qemu-x86_64")
    errors_of: dict[str, float] = found["errors"]
    return errors_of


def test_this_processor_multiplies_without_loss():
    assert inexact(errors(plain=False)) == []


@pytest.mark.parametrize("kind", PLAYED)
def test_every_kind_multiplies_without_loss(kind):
    assert inexact(played(kind)) == []


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS if kind.saturates])
def test_kinds_that_saturate_do_so_without_the_option(kind):
    """The planted fault of the test above: it would fail."""
    assert inexact(played(kind, "--plain")) == ["static", "dynamic", "both"]


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS if not kind.saturates and kind.name in PLAYED])
def test_kinds_that_do_not_saturate_need_no_option(kind):
    assert inexact(played(kind, "--plain")) == []


def test_a_saturating_kernel_is_what_an_old_processor_has():
    x, weight = extremes()
    wanted = x.astype(np.int32) @ weight.astype(np.int32)
    model = float(np.abs(saturating(x, weight) - wanted).max() / wanted.max())
    assert model > EXACT
    assert played("AVX2", "--plain")["static"] == pytest.approx(model, rel=1e-6)


# -- precisions that are slow


def test_a_slow_precision_names_one_that_is_not():
    kind = CpuKind("played", "x86_64", (), False, slower=("int8-weight", "int8"))
    said = "int8-weight: on a played processor a step takes longer than in fp32; take fp32 here"
    assert slow("int8-weight", kind) == said
    assert slow("fp32", kind) is None and slow("int4-weight", kind) is None
    sse4 = next(kind for kind in KINDS if kind.name == "SSE4")
    assert "take int8 here" in str(slow("int4-weight", sse4))


def test_a_faster_form_of_int8_is_named_where_there_is_one():
    kinds = {kind.name: kind for kind in KINDS}
    assert "int8-avx2 is faster" in str(faster("int8", kinds["AVX2"]))
    assert faster("int8", kinds["AVX-512 VNNI"]) is None and faster("fp32", kinds["AVX2"]) is None
    assert {kind.fastest for kind in KINDS if kind.saturates} == {"int8-avx2"}


def test_every_kind_has_a_precision_that_is_not_slow():
    assert [kind.name for kind in KINDS if "fp32" in kind.slower] == []
