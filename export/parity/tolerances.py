"""Two computations of the same numbers: how far apart they are, and whether that is rounding, a near tie, or a fault.

Three verdicts. PASS: equal within what rounding does to this network. AMBIGUOUS: numbers agree, and tokens differ only
where the reference itself could hardly tell them apart. FAIL: everything else, and anything that is not finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...engines.protocol import Array
from ...runtime.bundle.manifest import ParityRow

__all__ = [
    "AMBIGUOUS",
    "ANOTHER_EXPERT",
    "FAIL",
    "PASS",
    "ROUNDING",
    "Rounding",
    "Tolerance",
    "allowed",
    "compared",
    "distance",
    "table",
    "worst",
]

PASS, AMBIGUOUS, FAIL = "PASS", "AMBIGUOUS", "FAIL"


@dataclass(frozen=True)
class Tolerance:
    """The effect that rounding may have on one kind of output."""

    error: float
    """Largest error of a number, as a share of the largest number in its output."""
    margin: float = 0.0
    """Probability by which two choices must differ to count as different."""


@dataclass(frozen=True)
class Rounding:
    """The arithmetic of a precision as far as it is checked."""

    step: float
    """Relative error of rounding once."""
    least: Tolerance
    """Allowed whatever the network: what one graph without layers makes of it, such as logits from given rows."""


_FP32 = Rounding(2.0**-24, Tolerance(1e-5, 1e-5))

ROUNDING = {"fp32": _FP32, "fp16": Rounding(2.0**-11, Tolerance(2e-2, 2e-2)), "bf16": _FP32}
"""Precision to its arithmetic; bf16 is checked in float32 arithmetic, because no engine for the CPU computes in it."""

FACTOR = 8.0
"""A network may err by this many times what it makes of one random rounding after each layer.

Exported graphs were measured at 0.3 to 2.5 times, over precisions, depths and widths, while the error itself lay
anywhere between 5e-7 and 5e-2: some networks amplify a rounding a hundred times more than others, so no fixed
tolerance is right for two of them.
"""

HOPELESS = 0.25
"""No tolerance is larger: a network that amplifies rounding up to this has no use of the precision."""

ANOTHER_EXPERT = Tolerance(HOPELESS, 1.0)
"""For the decode of a mixture of experts in half precision: a near tie between two experts may fall the other way.

That row then says something else, however clearly: AMBIGUOUS. The numbers of all others still count.
"""


def allowed(rounding: Rounding, spread: float, margin: float = 0.0, chained: float = 1.0) -> Tolerance:
    """The tolerance where a reference, disturbed by one rounding per layer, was found to move by `spread`.

    `margin` is what its probabilities moved by; `chained` is for outputs that come of several forwards.
    """
    error, close = (min(FACTOR * chained * moved, HOPELESS) for moved in (spread, margin))
    return Tolerance(max(rounding.least.error, error), max(rounding.least.margin, close))


@dataclass(frozen=True)
class _Error:
    largest: float
    mean: float


def compared(
    graph: str, check: str, pairs: Iterable[tuple[Array, Array]], tolerance: Tolerance, margins: Iterable[float] = ()
) -> ParityRow:
    """One row of the table from (reference, exported) arrays.

    `margins` are those of the choices that differ: how much the reference preferred its own, inf if that is unknown.
    """
    errors = [_error(a, b) for a, b in pairs]
    largest = _largest(errors)
    mean = float(np.mean([e.mean for e in errors])) if errors else 0.0
    close = list(margins)
    # Written so that NaN fails.
    right = largest <= tolerance.error and all(margin <= tolerance.margin for margin in close)
    finite = largest if np.isfinite(largest) else float("inf")
    verdict = (AMBIGUOUS if close else PASS) if right else FAIL
    return ParityRow(graph, check, finite, mean if np.isfinite(mean) else float("inf"), verdict)


def distance(pairs: Iterable[tuple[Array, Array]]) -> float:
    """The largest error of all, as a share of the largest number in its reference."""
    return _largest([_error(a, b) for a, b in pairs])


def worst(rows: Iterable[ParityRow]) -> str:
    """The verdict over all rows."""
    verdicts = {row.verdict for row in rows}
    return next((v for v in (FAIL, AMBIGUOUS) if v in verdicts), PASS)


def table(rows: Mapping[str, Sequence[ParityRow]]) -> str:
    """Rows by precision, as text."""
    wide = max((len(row.check) for some in rows.values() for row in some), default=0)
    lines = [f"{'':6} {'graph':9} {'check':{wide}} {'max':>9} {'mean':>9}  verdict"]
    for precision, some in rows.items():
        for row in some:
            errors = f"{row.max_error:9.1e} {row.mean_error:9.1e}"
            lines.append(f"{precision:6} {row.graph:9} {row.check:{wide}} {errors}  {row.verdict}")
    return "\n".join(lines)


def _largest(errors: Sequence[_Error]) -> float:
    return max((e.largest for e in errors), default=0.0)


def _error(reference: Array, exported: Array) -> _Error:
    """Relative to the reference's largest number: what matters is the rounding of sums of its size."""
    a, b = reference.astype(np.float64), exported.astype(np.float64)
    if a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all():
        return _Error(float("inf"), float("inf"))
    if not a.size:
        return _Error(0.0, 0.0)
    scale = max(float(np.abs(a).max()), 1e-30)
    difference = np.abs(a - b) / scale
    return _Error(float(difference.max()), float(difference.mean()))
