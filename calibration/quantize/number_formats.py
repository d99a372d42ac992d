"""Number formats that values are quantized to: symmetric, one scale for a tensor, a channel or a group.

Knows rounding and its noise; not what is quantized, nor how a scale is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMATS", "Format"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Format:
    """One way to hold a number that was divided by its scale."""

    name: str
    limit: float
    """Largest magnitude."""
    onnx: str
    """ONNX's name of the type."""
    storage: np.dtype[np.generic]
    bits: int
    whole: bool
    """Integers; otherwise floating point."""
    ulp: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    """Distance of neighbours at a magnitude, in units of the scale."""
    paired: bool = False
    """True where the codes of two neighbouring inputs' weights add up to 128 at most, in magnitude."""

    def scale(self, limit: Floats) -> NDArray[np.float32]:
        """The scale by which `limit` becomes the largest magnitude. Of zeros, any is right: it is that of 1."""
        made = (np.where(limit > 0, limit, 1.0) / self.limit).astype(np.float32)
        return np.asarray(np.maximum(made, np.finfo(np.float32).tiny), np.float32)

    def encode(self, x: Floats, scale: Floats) -> NDArray[np.generic]:
        """`x / scale`, clipped and rounded to the nearest, ties to even."""
        scaled = np.clip(x / scale, -self.limit, self.limit)
        return (np.rint(scaled) if self.whole else scaled).astype(self.storage)

    def rounded(self, x: Floats, scale: Floats) -> NDArray[np.float32]:
        """`x` as it comes back."""
        return np.asarray(self.encode(x, scale).astype(np.float32) * scale, np.float32)

    def noise(self, magnitude: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
        """Expected squared error of values of these magnitudes, where `limit` is the largest that is kept.

        Rounding errs evenly within half a distance of neighbours; what is beyond the limit errs by how far it is;
        what rounds to zero errs by all of itself.
        """
        scale = limit / self.limit
        distance = self.ulp(np.minimum(magnitude, limit) / scale) * scale
        inside = np.where(magnitude < distance / 2, magnitude**2, distance**2 / 12)
        return np.where(magnitude > limit, (magnitude - limit) ** 2, inside)


def _one(magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ones_like(magnitude)


def _e4m3(magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Three bits of mantissa; subnormals below 2^-6 (Micikevicius et al., 2209.05433)."""
    exponent = np.floor(np.log2(np.maximum(magnitude, 2.0**-6)))
    return np.asarray(2.0 ** (exponent - 3))


FORMATS = {
    f.name: f
    for f in (
        Format("int8", 127, "INT8", np.dtype(np.int8), 8, True, _one),
        # 255 * 128 fits 16 bits, in which processors without VNNI add two products of bytes.
        Format("int8-paired", 127, "INT8", np.dtype(np.int8), 8, True, _one, paired=True),
        Format("int4", 7, "INT4", np.dtype(ml_dtypes.int4), 4, True, _one),
        Format("fp8", 448, "FLOAT8E4M3FN", np.dtype(ml_dtypes.float8_e4m3fn), 8, False, _e4m3),
    )
}
