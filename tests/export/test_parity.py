"""Verdicts: rounding passes, near ties are ambiguous, faults fail."""

from __future__ import annotations

import numpy as np
import pytest

from a2d.engines.fake import FakeEngine
from a2d.engines.protocol import Signature
from a2d.export.parity.check import _margins
from a2d.export.parity.tolerances import (
    AMBIGUOUS,
    FAIL,
    PASS,
    ROUNDING,
    Tolerance,
    allowed,
    compared,
    distance,
    table,
    worst,
)
from a2d.runtime.bundle.manifest import ParityRow

LOOSE = Tolerance(1e-3, 1e-3)
A = np.linspace(-4, 4, 50, dtype=np.float32)


@pytest.mark.parametrize(
    ("other", "margins", "verdict"),
    [
        (A, [], PASS),
        (A + 1e-3, [], PASS),
        (A, [1e-4], AMBIGUOUS),
        (A, [1e-4, 1e-2], FAIL),
        (A, [float("inf")], FAIL),
        (A, [float("nan")], FAIL),
        (A + 1e-2, [], FAIL),
        (A + 1e-2, [1e-4], FAIL),
        (A * np.float32("nan"), [], FAIL),
        (A[:-1], [], FAIL),
    ],
)
def test_verdicts(other: np.ndarray, margins: list[float], verdict: str) -> None:
    row = compared("backbone", "x", [(A, A), (A, other)], LOOSE, margins)
    assert row.verdict == verdict
    assert row.mean_error <= row.max_error


def test_errors_are_shares_of_the_largest_number() -> None:
    assert distance([(A, A + 0.04)]) == pytest.approx(0.01, rel=1e-3)
    assert distance([(A * 1000, A * 1000 + 40)]) == pytest.approx(0.01, rel=1e-3)
    assert distance([(np.zeros(3), np.zeros(3)), (np.zeros(0), np.zeros(0))]) == 0


def test_tolerance_follows_what_the_network_amplifies() -> None:
    fp16 = ROUNDING["fp16"]
    assert allowed(fp16, 0.0) == fp16.least
    assert allowed(fp16, 0.01).error == pytest.approx(0.08)
    assert allowed(fp16, 5.0).error == 0.25
    assert ROUNDING["bf16"] == ROUNDING["fp32"]


def test_worst_and_table() -> None:
    rows = [ParityRow("denoise", "tokens", 1e-3, 1e-4, verdict) for verdict in (PASS, AMBIGUOUS)]
    assert worst([]) == PASS
    assert worst(rows) == AMBIGUOUS
    assert worst([*rows, ParityRow("decode", "x", 1, 1, FAIL)]) == FAIL
    lines = table({"fp32": rows}).splitlines()
    assert len(lines) == 3
    assert lines[1].endswith(PASS)
    assert len({line.index("e-0") for line in lines[1:]}) == 1


def block(**fields: object) -> dict[str, np.ndarray]:
    made: dict[str, object] = {
        "proposed": [[5, 6]],
        "confidence": [[0.5, 0.4]],
        "next_masked": [[False, True]],
        "masked": [[True, True]],
        "threshold": [2.0],
        "tokens": [[0, 0]],
        **fields,
    }
    return {name: np.array(value) for name, value in made.items()}


def engine(held: list[float]) -> FakeEngine:
    ports = {name: Signature(str(value.dtype), value.shape) for name, value in block().items()}
    return FakeEngine(ports, {"held": Signature("float32", (1, 2))}, lambda _: {"held": np.array([held], np.float32)})


def test_another_token_is_as_near_as_the_engine_believes() -> None:
    a, b = block(), block(proposed=[[7, 6]])
    assert _margins(engine([0.49, 0.4]), block(), a, b, 0.1) == [pytest.approx(0.01)]


def test_another_accept_is_as_near_as_its_rival() -> None:
    a, b = block(), block(next_masked=[[True, False]])
    assert _margins(engine([]), block(), a, b, 0.1) == [pytest.approx(0.1)] * 2
    near = block(threshold=[0.41])
    assert _margins(engine([]), near, a, block(next_masked=[[False, False]]), 0.1) == [pytest.approx(0.01)]


def test_equal_choices_have_no_margin() -> None:
    assert _margins(engine([]), block(), block(), block(), 0.1) == []
