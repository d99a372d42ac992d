"""What can be measured in a clip's pixels: colours by region, how the background moves, where each costume is.

Everything becomes one row of numbers per clip; what a number means is for `judge`. Knows palettes, not scenes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .palettes import COSTUMES, PALETTES, THING_COLOURS, Colour, graded, mix

__all__ = ["Tracks", "features", "flow", "layout", "tracks"]

Frames = NDArray[np.uint8]
Numbers = NDArray[np.float64]

NEAR = 40.0
"""Distance in RGB at which a pixel may still be of a costume's colour."""
LOOKED_AT = (0, 2, 4, 6, 8, 10, 12, 14, 16)
"""Frames in which costumes are looked for."""
LEGS = 0.42
"""How far the legs' colour is from the costume's to the nearest layer's."""
UNITS = (("x", 60), ("y", 30), ("width", 20), ("top", 30), ("bottom", 30), ("lean", 8), ("arm", 0.2), ("stride", 0.5))
"""What is known of the figures together, and how large it is."""
LOWEST_SKY = 56
"""Suns, moons and clouds end above this row; figures reach below it."""


def layout(clip: Frames) -> Numbers:
    """Mean colours of a grid of 6 x 8 regions in the first and the last frame, 0 to 1."""
    grid = clip[[0, -1]].astype(np.float64) / 255
    h, w = grid.shape[1:3]
    rows = np.array_split(np.arange(h), 6)
    columns = np.array_split(np.arange(w), 8)
    return np.array([grid[:, r][:, :, c].mean((1, 2)) for r in rows for c in columns]).transpose(1, 0, 2).ravel()


def texture(clip: Frames) -> Numbers:
    """How strong edges are, by row band and by whether they stand, lie or slant: houses, trunks, hills."""
    grey = clip[[0, 8, 16]].astype(np.float64).mean(-1) / 255
    gy, gx = np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]
    size = np.hypot(gx, gy)
    strong = size > 0.03
    found = []
    for band in np.array_split(np.arange(size.shape[1]), 6):
        s, x, y = strong[:, band], np.abs(gx[:, band]), np.abs(gy[:, band])
        total = max(s.sum(), 1)
        found += [s.mean(), size[:, band].mean(), (s & (x > 3 * y)).sum() / total, (s & (y > 3 * x)).sum() / total]
    return np.array(found)


def flow(clip: Frames, hidden: NDArray[np.bool_] | None = None) -> Numbers:
    """The picture's shift right and down, in pixels, and its growth over the clip: of what is not `hidden`, then of its
    top half, then of all of it. `hidden` [frames, W / 2] are the columns in which figures stand.

    Lucas-Kanade for three unknowns on halved, smoothed frames; what does not follow (figures) loses its say.
    """
    grey = clip.astype(np.float64).mean(-1)
    grey = grey.reshape(len(grey), grey.shape[1] // 2, 2, grey.shape[2] // 2, 2).mean((2, 4))
    for axis in (1, 2):
        grey = (np.roll(grey, 1, axis) + 2 * grey + np.roll(grey, -1, axis)) / 4
    free = np.ones((len(grey), grey.shape[2])) if hidden is None else 1.0 - hidden
    top, whole = grey.shape[1] // 2, np.ones(grey.shape[2])
    moves = [
        np.concatenate([_moved(a, b, len(a), f), _moved(a, b, top, whole), _moved(a, b, len(a), whole)])
        for (a, b), f in zip(pairwise(grey), free, strict=False)
    ]
    return np.sum(moves, 0) * np.array((2, 2, 1) * 3)


def _moved(a: Numbers, b: Numbers, rows: int, free: Numbers) -> Numbers:
    """Solves b(x + shift + growth x) = a(x) by three steps of Gauss-Newton with robust weights."""
    h, w = a.shape
    y, x = np.mgrid[2 : rows - 2, 2 : w - 2]
    cx, cy = x - w / 2, y - h / 2
    gy, gx = np.gradient(b)
    m = np.zeros(3)
    for _ in range(3):
        u, v = x + m[0] + m[2] * cx, y + m[1] + m[2] * cy
        seen, sx, sy = (_sampled(image, u, v) for image in (b, gx, gy))
        error = a[y, x] - seen
        scale = 1.5 + np.median(np.abs(error)) * 2
        weight = free[x] / (1 + (error / scale) ** 2)
        j = np.stack([sx, sy, sx * cx + sy * cy], -1).reshape(-1, 3)
        jw = j * weight.reshape(-1, 1)
        m = m + np.linalg.solve(jw.T @ j + np.diag([30.0, 30.0, 30000.0]), jw.T @ error.ravel())
    return m


def _sampled(image: Numbers, u: Numbers, v: Numbers) -> Numbers:
    """Bilinear."""
    u, v = np.clip(u, 0, image.shape[1] - 1.001), np.clip(v, 0, image.shape[0] - 1.001)
    i, j = u.astype(int), v.astype(int)
    p, q = u - i, v - j
    top = image[j, i] * (1 - p) + image[j, i + 1] * p
    low = image[j + 1, i] * (1 - p) + image[j + 1, i + 1] * p
    return top * (1 - q) + low * q


@dataclass(frozen=True)
class Tracks:
    """One costume or thing over the frames that were looked at; [frames] each, NaN where it is not seen."""

    area: Numbers
    x: Numbers
    y: Numbers
    width: Numbers
    """Of its broadest rows."""
    top: Numbers
    bottom: Numbers
    lean: Numbers
    """How far its upper part is to the right of its lower part."""
    arm: Numbers
    """Share of it that is far to the right of its middle, and high."""
    stride: Numbers
    """How far apart the legs are: the deviation of their pixels across."""


def tracks(clip: Frames, time: str) -> dict[str, Tracks]:
    """Every costume's and every thing's track in the light of a time of day."""
    palette = PALETTES[time]
    wanted = {name: graded(colour, palette) for name, colour in (COSTUMES | THING_COLOURS).items()}
    wanted["lantern"] = THING_COLOURS["lantern"]  # shines by itself
    legs = {name: mix(wanted[name], palette.near, LEGS) for name in COSTUMES}
    seen = clip[list(LOOKED_AT)].astype(np.float32)
    nearest, leg = _nearest(seen, list(wanted.values())), _nearest(seen, list(legs.values()))
    found = {}
    for index, name in enumerate(wanted):
        mask = nearest == index
        whole = mask & _spread(_core(seen)) if name == "lantern" else _opened(mask)
        found[name] = _track(whole, mask, leg == index)
    return found


def _nearest(seen: Numbers, colours: list[Colour]) -> Numbers:
    """Which colour every pixel is of, -1 for none."""
    distance = np.stack([((seen - np.array(colour, np.float32)) ** 2).sum(-1) for colour in colours])
    return np.where(distance.min(0) < NEAR**2, distance.argmin(0), -1)


def _core(seen: Numbers) -> NDArray[np.bool_]:
    """A lantern's flame, which tells it from lit windows."""
    return ((seen - np.array((255, 250, 225), np.float32)) ** 2).sum(-1) < 30**2


def _opened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without what is thinner than three pixels."""
    return _spread(~_spread(~mask))


def _spread(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    out = mask.copy()
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    across = out.copy()
    out[:, :, 1:] |= across[:, :, :-1]
    out[:, :, :-1] |= across[:, :, 1:]
    return out


def _track(mask: NDArray[np.bool_], fine: NDArray[np.bool_], legs: NDArray[np.bool_]) -> Tracks:
    rows = [_frame(*each) for each in zip(mask, fine, legs, strict=True)]
    return Tracks(*(np.array(column) for column in zip(*rows, strict=True)))


def _frame(mask: NDArray[np.bool_], fine: NDArray[np.bool_], legs: NDArray[np.bool_]) -> tuple[float, ...]:
    """Only columns whose mask reaches below the sky count."""
    reaches = mask[LOWEST_SKY:].any(0)
    near = np.convolve(reaches, np.ones(9), "same") > 0
    ys, xs = np.nonzero(mask & near)
    if len(ys) < 8:
        return (float(len(ys)), *[np.nan] * 8)
    x, y = np.median(xs), ys.mean()
    counts = np.bincount(ys, minlength=mask.shape[0])
    upper, lower = ys < np.quantile(ys, 0.35), ys > np.quantile(ys, 0.65)
    lean = xs[upper].mean() - xs[lower].mean() if upper.any() and lower.any() else 0.0
    broad, bottom = np.sort(counts)[-3:].mean(), np.quantile(ys, 0.98)
    arm, stride = _arm(fine, x, y, broad), _stride(legs, x, y, broad)
    return float(len(ys)), x, y, broad, np.quantile(ys, 0.02), bottom, lean, arm, stride


def _arm(fine: NDArray[np.bool_], x: float, y: float, broad: float) -> float:
    """Thin parts included: in a wide shot an arm is two pixels."""
    ys, xs = np.nonzero(fine)
    near = (np.abs(xs - x) < 2.5 * broad) & (np.abs(ys - y) < 3 * broad)
    raised = near & (xs - x > 0.55 * broad) & (ys < y - 0.1 * broad)
    return float(raised.sum() / max(near.sum(), 1))


def _stride(legs: NDArray[np.bool_], x: float, y: float, broad: float) -> float:
    ys, xs = np.nonzero(legs)
    near = (np.abs(xs - x) < 2 * broad) & (ys > y)
    return float(xs[near].std() / broad) if near.sum() > 8 else 0.0


def features(clip: Frames, time: str) -> tuple[Numbers, dict[str, Tracks]]:
    """Everything in one row, and the tracks it came from."""
    found = tracks(clip, time)
    moved = flow(clip, columns(found))
    figures = [found[name] for name in COSTUMES]
    things = [found[name] for name in THING_COLOURS]
    row = [
        layout(clip),
        texture(clip),
        moved / np.array((30, 30, 0.3) * 3),
        _summed(figures),
        _each(figures),
        _each(things),
    ]
    return np.concatenate(row), found


def columns(found: dict[str, Tracks]) -> NDArray[np.bool_]:
    """Half-resolution columns behind which a figure hides the background, by frame."""
    across = np.arange(192 // 2) * 2
    behind = np.zeros((len(LOOKED_AT), len(across)), np.bool_)
    for name in COSTUMES:
        x, reach = found[name].x[:, None], 0.8 * found[name].width[:, None] + 4
        behind |= np.abs(across - x) < reach  # never true for NaN
    return np.repeat(behind, 2, axis=0)[: 2 * len(LOOKED_AT) - 1]


def _each(found: list[Tracks]) -> Numbers:
    """Of every colour: how much of it, how steadily, and how it moves; an absent one is all zeros."""
    rows = []
    for t in found:
        there = ~np.isnan(t.x)
        first, last = t.x[there][[0, -1]] if there.any() else (96.0, 96.0)
        area = np.log1p(t.area)
        rows.append([area.mean(), area.max(), area.min(), there.mean(), (last - first) / 60 if there.any() else 0.0])
    return np.nan_to_num(np.array(rows)).ravel()


def _summed(found: list[Tracks]) -> Numbers:
    """The figures together, weighted by their areas: sizes, places and motion by thirds of the clip."""
    area = np.stack([np.where(np.isnan(t.x), 0, t.area) for t in found])
    share = area / np.maximum(area.sum(0), 1)
    made = []
    for name, unit in UNITS:
        value = np.stack([np.nan_to_num(getattr(t, name)) for t in found])
        mean = (value * share).sum(0)
        own = [_change(getattr(t, name)) for t, a in zip(found, area, strict=True) if (a > 0).sum() > 3]
        change = np.mean(own, 0) if own else np.zeros(4)
        made += [mean[[0, 4, 8]] / unit, change / unit]
    return np.concatenate([*made, np.log1p(area.sum(0))[[0, 4, 8]]])


def _change(values: Numbers) -> Numbers:
    """First half, second half, wobble around a line, spread."""
    there = ~np.isnan(values)
    v = np.interp(np.arange(len(values)), np.flatnonzero(there), values[there])
    half = len(v) // 2
    line = np.polyval(np.polyfit(np.arange(len(v)), v, 1), np.arange(len(v)))
    return np.array([v[half] - v[0], v[-1] - v[half], np.abs(v - line).mean(), v.std()])
