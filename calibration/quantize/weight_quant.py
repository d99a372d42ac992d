"""Weights to codes and scales: one scale per output channel, or per group of inputs. Knows matrices, not layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .number_formats import Format

__all__ = ["Coded", "code", "loss"]

PIECE = 1 << 20
"""Numbers that are worked on at a time."""


@dataclass(frozen=True)
class Coded:
    """A quantized matrix."""

    codes: NDArray[np.generic]
    """`[rows, columns]` in the format's storage."""
    scale: NDArray[np.float32]
    """One for each place along `axis`, or for groups: `[groups, columns]`."""
    axis: int
    """Along which scales differ; with groups, the axis that is cut into them."""
    group: int | None

    def decoded(self) -> NDArray[np.float32]:
        """The matrix that the codes stand for."""
        return self.rows(0, len(self.codes))

    def rows(self, start: int, end: int) -> NDArray[np.float32]:
        """Some rows of it."""
        return np.asarray(self.codes[start:end].astype(np.float32) * _scales(self, start, end), np.float32)


def code(matrix: NDArray[np.float32], form: Format, axis: int, group: int | None = None) -> Coded:
    """Quantize, with a scale for each place along `axis`; or, along axis 0, for each column and group of rows."""
    if group is not None:
        starts = np.arange(0, len(matrix), group)
        most = np.maximum(np.maximum.reduceat(matrix, starts, 0), -np.minimum.reduceat(matrix, starts, 0))
    elif form.paired:
        most = _largest_pair(matrix, axis)
    else:
        most = np.maximum(matrix.max(1 - axis), -matrix.min(1 - axis))
    made = Coded(np.empty(matrix.shape, form.storage), form.scale(most), axis if group is None else 0, group)
    for start, end in _pieces(matrix):
        made.codes[start:end] = form.encode(matrix[start:end], _scales(made, start, end))
    return made


def _largest_pair(matrix: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The largest sum of two neighbouring inputs' magnitudes, for each output along `axis`.

    As the scale's limit it holds the codes of a pair to 127 before rounding, and so to 128 behind it.
    """
    inputs = matrix if axis else matrix.T
    most = np.zeros(inputs.shape[1], np.float32)
    for start in range(0, len(inputs), 2):
        np.maximum(most, np.abs(inputs[start : start + 2]).sum(0), out=most)
    return most


def loss(matrix: NDArray[np.float32], coded: Coded) -> float:
    """Squared error in shares of the matrix's power."""
    off = power = 0.0
    for start, end in _pieces(matrix):
        off += float(np.square(matrix[start:end] - coded.rows(start, end), dtype=np.float64).sum())
        power += float(np.square(matrix[start:end], dtype=np.float64).sum())
    return off / max(power, 1e-300)


def _scales(coded: Coded, start: int, end: int) -> NDArray[np.float32]:
    """Scales of rows `start` to `end`, in a shape that divides them."""
    if coded.group is not None:
        return coded.scale[np.arange(start, end) // coded.group]
    return coded.scale[start:end, None] if coded.axis == 0 else coded.scale[None]


def _pieces(matrix: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Rows from and to, a few megabytes at a time: an embedding is large, and arithmetic makes copies."""
    rows = max(1, PIECE // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), rows):
        yield start, min(start + rows, len(matrix))
