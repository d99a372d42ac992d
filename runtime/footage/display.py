"""A stored frame as a screen displays it: turned upright, and its numbers taken for the right colours.

Orientation is the display matrix of QuickTime and MP4. Untagged footage is taken as players and editing systems take
it: BT.709 from HD sizes on, BT.601 below. PQ and HLG (BT.2100) are shown as a person would see them on an SDR screen:
light as in BT.2100, diffuse white (203 cd/m2, BT.2408) to the screen's white, highlights rolled off, primaries of
BT.2020 brought to those of BT.709. Knows pixels, matrices and tags; not where any of them comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["HDR", "UPRIGHT", "Orientation", "is_hd", "to_sdr"]

WHITE = 203.0
"""Diffuse white in cd/m2."""

PEAK = 1000.0
"""The brightest light that is told apart, in cd/m2: the reference display of BT.2100."""

TO_709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
"""Linear light in BT.2020's primaries to BT.709's (BT.2087)."""

STEPS = 4096
"""Entries of the tables that curves are looked up in: those of 12-bit video."""


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture on a grid: rows and columns swapped first, then mirrored."""

    swapped: bool = False
    """Rows become columns."""
    mirrored: bool = False
    """Left becomes right, after the swap."""
    flipped: bool = False
    """Top becomes bottom, after the swap."""

    @staticmethod
    def of(matrix: Sequence[int]) -> Orientation:
        """The way nearest to a display matrix `[a b u; c d v; x y w]`, row by row: x' = a x + c y, y' = b x + d y."""
        a, b, _, c, d = matrix[:5]
        if abs(b) + abs(c) > abs(a) + abs(d):
            return Orientation(True, c < 0, b < 0)
        return Orientation(False, a < 0, d < 0)

    def laid(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`picture [H, W, 3]` as it is seen: `[H, W, 3]`, or `[W, H, 3]` where it is swapped."""
        rows = picture.swapaxes(0, 1) if self.swapped else picture
        return np.ascontiguousarray(rows[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1])


UPRIGHT = Orientation()


def is_hd(width: int, height: int) -> bool:
    """A size that is taken for BT.709 where no tag says otherwise."""
    return width >= 1280 or height > 576


def pq(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signal 0..1 to light in cd/m2: the PQ curve (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    return 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def hlg(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signal 0..1 to light in cd/m2: HLG's curve (ARIB STD-B67) on a display of 1000 cd/m2, channel by channel."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return PEAK * np.minimum(scene, 1.0) ** 1.2


HDR: dict[int, tuple[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {16: ("PQ", pq), 18: ("HLG", hlg)}
"""Transfer characteristics by their number in ISO/IEC 23091-2: name, and signal to light."""


def to_sdr(signal: NDArray[np.uint16], transfer: int) -> NDArray[np.uint8]:
    """HDR `signal [H, W, 3]` (16 bits, BT.2020) of a transfer of `HDR` to `[H, W, 3]` for an SDR screen."""
    linear = _light(transfer)[signal >> 4] @ TO_709.T
    return _encoded(_rolled_off(np.maximum(linear, 0)))


@cache
def _light(transfer: int) -> NDArray[np.float32]:
    """`[STEPS]`: light relative to diffuse white, by signal."""
    light: NDArray[np.float32] = (HDR[transfer][1](np.linspace(0, 1, STEPS)) / WHITE).astype(np.float32)
    return light


def _rolled_off(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light relative to diffuse white to 0..1 (Reinhard 2002 with a white point), hue kept: by the largest channel."""
    most = np.max(linear, axis=-1, keepdims=True)
    peak = np.float32(PEAK / WHITE)
    squeezed = most * (1 + most / peak**2) / (1 + most)
    made: NDArray[np.float32] = linear * (squeezed / np.maximum(most, np.float32(1e-6))) * (1 + 1 / np.float32(peak))
    return np.minimum(made, 1)


def _encoded(linear: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Light 0..1 to code values of an SDR screen (sRGB's curve)."""
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
    made: NDArray[np.uint8] = np.rint(255 * curve).astype(np.uint8)
    return made
