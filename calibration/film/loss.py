"""Error of quantized graphs in single forwards, each of which gets what the reference came to.

Over a whole clip small errors grow into another picture, so a clip says nothing about a precision; one forward does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Errors", "Loss", "error"]


@dataclass(frozen=True)
class Loss:
    """Errors of one kind of output."""

    graph: str
    kind: str
    largest: float
    """Error of all forwards, as a share of the output by root mean square."""
    mean: float


class Errors:
    """Errors by graph and kind of output, growing."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[float]] = {}

    def add(
        self, graph: str, kind: str, reference: Iterable[NDArray[np.float32]], other: Iterable[NDArray[np.float32]]
    ) -> None:
        """Take in pairs of outputs."""
        found = self._found.setdefault((graph, kind), [])
        found += [error(a, b) for a, b in zip(reference, other, strict=True)]

    def losses(self) -> list[Loss]:
        """All kinds, in the order in which they came."""
        return [Loss(*key, max(found), float(np.mean(found))) for key, found in self._found.items()]


def error(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Root mean square of the difference as a share of the reference's."""
    scale = float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(a - b, dtype=np.float64)))) / max(scale, 1e-30)
