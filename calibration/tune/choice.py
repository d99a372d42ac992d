"""The setting to take of a curve, and the curve as lines and as plain JSON. Knows points; measures nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .sweep import Curve, Point

__all__ = ["chosen", "frontier", "lines", "to_json"]

WIDTH = 28
"""Characters of a bar."""


def chosen(curve: Curve, within: float) -> Point:
    """The fastest setting whose accuracy is at most `within` below the best's."""
    best = max(point.accuracy for point in curve.points)
    able = [point for point in curve.points if point.accuracy >= best - within - 1e-12]
    return min(able, key=lambda point: point.median)


def frontier(points: Sequence[Point]) -> list[Point]:
    """The settings that no other one beats in both, fastest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (one.median, -one.accuracy)):
        if not found or point.accuracy > found[-1].accuracy:
            found.append(point)
    return found


def lines(curve: Curve, taken: Point | None) -> Iterator[str]:
    """The curve for a terminal, fastest first; bars are accuracies, and a star stands before the one that is taken."""
    slowest = max(point.median for point in curve.points) or 1.0
    best = {id(point) for point in frontier(curve.points)}
    yield f"  {'':<16}{'right':>7}  {'95 % interval':<17}{'ms':>8}  {'tok/fwd':>7}  (right: {curve.measure})"
    for point in sorted(curve.points, key=lambda one: one.median):
        low, high = point.right.interval
        bar = "#" * round(WIDTH * point.accuracy)
        mark = "*" if point is taken else " "
        faster = f"{slowest / point.median:.1f}x" if point.median else ""
        beaten = "" if id(point) in best else "  beaten"
        shown = f"{point.accuracy:7.1%}  {f'{low:.0%} to {high:.0%}':<17}{1e3 * point.median:8.1f}"
        shown += f"  {point.tokens_per_forward:7.2f}  |{bar:<{WIDTH}}|"
        yield f"{mark} {point.setting.name:<16}{shown} {faster}{beaten}"


def to_json(curve: Curve, taken: Point | None) -> dict[str, Any]:
    """The curve as plain JSON."""
    best = {id(point) for point in frontier(curve.points)}
    rows = [
        {
            "steps": point.setting.steps,
            "threshold": point.setting.threshold,
            "accuracy": point.accuracy,
            "interval": point.right.interval,
            "seconds": point.median,
            "forwards": point.forwards,
            "tokens_per_forward": point.tokens_per_forward,
            "on_frontier": id(point) in best,
            "chosen": point is taken,
        }
        for point in curve.points
    ]
    about = {"measure": curve.measure, "samples": curve.samples, "interrupted": curve.interrupted}
    return {**about, "left_out": list(curve.left_out), "points": rows}
