"""What may be asked of which target, and what an illegal question is told."""

from __future__ import annotations

import pytest

from a2d.engines import ENGINES
from a2d.engines.errors import RequestError
from a2d.engines.targets import GPUS, NEAREST, TARGETS, legal, require


def test_targets_name_known_gpus_engines_and_precisions():
    for target in TARGETS.values():
        assert set(target.sms) <= set(GPUS) and set(target.default_sms) <= set(target.sms)
        assert target.precisions and bool(target.host_precisions) == (not target.sms)
        for sm in target.sms:
            assert all(require(target.name, precision, [sm]) is target for precision in GPUS[sm].precisions)
    assert {"cpu", "rtx", "tensorrt", "jetson-orin", "jetson-thor"} == set(TARGETS)
    assert TARGETS["cpu"].library in ENGINES


@pytest.mark.parametrize(
    ("target", "precision", "sms", "message"),
    [
        ("tpu", "fp16", [], "(?s)got 'tpu', expected one of.*jetson-orin"),
        ("rtx", "fp8", [86, 89, 120], r"cannot run fp8: sm86 .*nearest is \[precision=int8\], or \[sm=89,120\]$"),
        ("rtx", "fp8", [86], r"sm86 .*nearest is \[precision=int8\]$"),
        ("jetson-orin", "fp8", [], r"nearest is \[precision=int8\]"),
        ("rtx", "int4-weight", [89], r"nearest is \[precision=int8\]"),
        ("rtx", "bf16", [], r"nearest is \[precision=fp16\]"),
        ("rtx", "fp32", [75], r"nearest is \[precision=fp16\]"),
        ("rtx", "fp16", [90], r"(?s)sm: got 90, target 'rtx'.*  86 .*take \[target=tensorrt\]"),
        ("jetson-orin", "fp16", [110], r"take \[target=jetson-thor\]"),
        ("rtx", "fp16", [61], r"(?s)got 61.*120  GeForce RTX 50.*DGX Spark$"),
    ],
)
def test_an_illegal_pair_names_the_nearest_legal_one(target, precision, sms, message):
    with pytest.raises(RequestError, match=message):
        require(target, precision, sms)


def test_a_refused_pair_s_advice_is_legal():
    for target in TARGETS.values():
        for precision in NEAREST:
            for sms in [[sm] for sm in target.sms]:
                try:
                    require(target.name, precision, sms)
                except RequestError as error:
                    advice = str(error).split("[precision=")[1].split("]")[0]
                    assert require(target.name, advice, sms) is target


def test_the_best_of_what_a_bundle_holds():
    rtx = TARGETS["rtx"]
    assert [legal(rtx, sm, ["fp16", "int8", "fp8"]) for sm in (75, 86, 89)] == ["int8", "int8", "fp8"]
    assert legal(rtx, 86, ["fp8"]) is None and legal(rtx, 90, ["fp16"]) is None
