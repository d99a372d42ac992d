"""Where entries stand on a board: rows, columns and stacks of cells, split at random. Knows boxes; no pixels."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .broad import OTHER, Entry

__all__ = ["Box", "Place", "arrange"]

LARGE = ("scene", "take", "roll")
"""Fields that boards give the most room."""


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def inner(self, pad: float) -> Box:
        """What is left inside a margin."""
        return Box(self.left + pad, self.top + pad, self.right - pad, self.bottom - pad)

    def across(self, weights: list[float]) -> list[Box]:
        """Parts side by side."""
        total, left, parts = sum(weights), self.left, []
        for weight in weights:
            right = left + self.width * weight / total
            parts.append(Box(left, self.top, right, self.bottom))
            left = right
        return parts

    def down(self, weights: list[float]) -> list[Box]:
        """Parts one below the other."""
        total, top, parts = sum(weights), self.top, []
        for weight in weights:
            bottom = top + self.height * weight / total
            parts.append(Box(self.left, top, self.right, bottom))
            top = bottom
        return parts


@dataclass(frozen=True)
class Place:
    """An entry and its cell."""

    entry: Entry
    box: Box


def arrange(rng: Random, entries: list[Entry], box: Box) -> list[Place]:
    """Cells for all entries; their order on the board is drawn here."""
    ordered = _ordered(rng, entries)
    if len(ordered) >= 4 and rng.random() < 0.18:
        half = rng.randint(2, len(ordered) - 2)
        left, right = box.across([rng.uniform(0.7, 1.4), 1.0])
        return _rows(rng, ordered[:half], left, 2) + _rows(rng, ordered[half:], right, 2)
    return _rows(rng, ordered, box, 4)


def _ordered(rng: Random, entries: list[Entry]) -> list[Entry]:
    """Mostly the large fields together, and the others around them."""
    ordered = list(entries)
    rng.shuffle(ordered)
    if rng.random() < 0.7:
        large = [e for e in ordered if e.field in LARGE]
        rest = [e for e in ordered if e.field not in LARGE]
        before = rng.choice((0, 0, 1, 2, len(rest)))
        ordered = rest[:before] + large + rest[before:]
    return ordered


def _rows(rng: Random, entries: list[Entry], box: Box, most: int) -> list[Place]:
    rows: list[list[Entry]] = []
    left = list(entries)
    while left:
        count = rng.choice((1, 2, 3, 3, 4)[: most + 1])
        if left[0].field == OTHER and rng.random() < 0.45:
            count = rng.choice((1, 1, 2))
        count = min(count, len(left), most)
        rows.append(left[:count])
        left = left[count:]
    places = []
    for row, part in zip(rows, box.down([_height(rng, row) for row in rows]), strict=True):
        places += _row(rng, row, part)
    return places


def _row(rng: Random, row: list[Entry], box: Box) -> list[Place]:
    if len(row) >= 3 and rng.random() < 0.2:  # one large cell, the others stacked beside it
        large, stack = box.across([rng.uniform(0.8, 2.0), 1.0])
        parts = stack.down([_height(rng, [entry]) for entry in row[1:]])
        return [Place(row[0], large), *map(Place, row[1:], parts)]
    return list(map(Place, row, box.across([_width(rng, entry) for entry in row])))


def _height(rng: Random, row: list[Entry]) -> float:
    if any(entry.field in LARGE for entry in row):
        return rng.uniform(1.0, 2.2)
    return rng.uniform(0.4, 0.9) if all(entry.field == OTHER for entry in row) else rng.uniform(0.6, 1.4)


def _width(rng: Random, entry: Entry) -> float:
    length = sum(map(len, entry.choices)) * 0.7 if entry.choices else max(len(entry.value), 0.6 * len(entry.label), 2)
    return (length + 2.0) * rng.uniform(0.75, 1.3)
