"""The curve of a tuning as a page of its own, without scripts or links. Computes nothing but places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2

from .choice import frontier
from .sweep import Curve, Point

__all__ = ["Page"]

WIDE, HIGH = 720, 360
"""Size of the drawing."""


@dataclass(frozen=True)
class Page:
    """The page's content."""

    title: str
    curve: Curve
    taken: Point | None
    notes: tuple[str, ...]
    """Sentences on where this comes from."""

    def html(self) -> str:
        """The whole page."""
        environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        source = Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8")
        return environment.from_string(source).render(page=self, wide=WIDE, high=HIGH) + "\n"

    @property
    def rows(self) -> list[Point]:
        """All settings, fastest first."""
        return sorted(self.curve.points, key=lambda point: point.median)

    @property
    def most(self) -> float:
        """Seconds at the right end."""
        return max(point.median for point in self.curve.points) * 1.05 or 1.0

    def x(self, seconds: float) -> float:
        """Place of a time."""
        return round(60 + (WIDE - 80) * seconds / self.most, 1)

    def y(self, share: float) -> float:
        """Place of an accuracy."""
        return round(20 + (HIGH - 60) * (1 - share), 1)

    @property
    def line(self) -> str:
        """Places along the settings that nothing beats."""
        return " ".join(f"{self.x(point.median)},{self.y(point.accuracy)}" for point in frontier(self.curve.points))
