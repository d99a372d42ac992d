"""Weights to codes and scales: one scale per output channel, or per group of inputs. Knows matrices, not layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .formats import Format

__all__ = ["Coded", "code", "loss"]


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
        scale = np.expand_dims(self.scale, 1 - self.axis) if self.group is None else self.scale
        if self.group is not None:
            scale = np.repeat(scale, self.group, self.axis)[: len(self.codes)]
        return np.asarray(self.codes.astype(np.float32) * scale, np.float32)


def code(matrix: NDArray[np.float32], form: Format, axis: int, group: int | None = None) -> Coded:
    """Quantize, with a scale for each place along `axis`; or, along axis 0, for each column and group of rows."""
    if group is None:
        scale = form.scale(np.abs(matrix).max(1 - axis))
        return Coded(form.encode(matrix, np.expand_dims(scale, 1 - axis)), scale, axis, None)
    starts = np.arange(0, len(matrix), group)
    scale = form.scale(np.maximum.reduceat(np.abs(matrix), starts, 0))
    codes = form.encode(matrix, np.repeat(scale, group, 0)[: len(matrix)])
    return Coded(codes, scale, 0, group)


def loss(matrix: NDArray[np.float32], coded: Coded) -> float:
    """Squared error in shares of the matrix's power."""
    power = float(np.square(matrix, dtype=np.float64).sum())
    return float(np.square(matrix - coded.decoded(), dtype=np.float64).sum()) / max(power, 1e-300)
