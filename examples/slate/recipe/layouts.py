"""Where labels and values stand on a board: cells in units of the board. Knows no pixels, fonts or colours."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .fields import FIELDS, Slate, draw_label, written

__all__ = ["OTHER", "Cell", "draw_cells"]

OTHER = "other"
"""The field of cells that are not asked for: production, director, and the like."""

TITLES = ("CITY", "RIVER", "NIGHT", "GLASS", "NORTH", "TIDE", "EMBER", "HARBOR", "SIGNAL", "WINTER", "FIELD", "ROAD")
NAMES = ("M. KELLER", "A. ROSSI", "J. OKAFOR", "L. MARSH", "T. NGUYEN", "S. WEISS", "P. DUARTE", "K. LIND")
OTHERS = (
    (("PROD", "PRODUCTION", "TITLE", "PROD."), TITLES),
    (("DIRECTOR", "DIR", "DIR."), NAMES),
    (("CAMERA", "DOP", "CAM OP", "DP"), NAMES),
    (("SOUND", "SYNC", "AUDIO"), ("MOS", "SYNC", "YES", "NO")),
    (("INT/EXT", "SET", "LOC"), ("INT", "EXT", "DAY", "NITE", "INT DAY", "EXT NIGHT")),
    (("FILTER", "LENS", "STOP"), ("ND", "35MM", "50MM", "T2.8", "85", "CLEAR")),
)


@dataclass(frozen=True)
class Cell:
    """A label and a value in a box."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom; the board below its clapper is the unit square."""
    field: str
    label: str
    value: str
    beside: bool
    """The label stands left of the value, not above it."""


@dataclass(frozen=True)
class _Text:
    field: str
    label: str
    value: str

    @property
    def weight(self) -> float:
        """The width that it asks for."""
        return max(len(self.value), 0.75 * len(self.label), 2.4) + 1.2


def draw_cells(truth: Random, look: Random, slate: Slate, d: float) -> tuple[Cell, ...]:
    """Cells for a slate of difficulty d. What is written depends on `truth` alone, where it stands on `look`."""
    texts = _texts(truth, slate, 0.35 + 0.65 * d)
    look.shuffle(texts)
    beside = look.random() < 0.15 + 0.2 * d
    if beside and look.random() < 0.5:
        return _columns(look, texts)
    return _rows(look, texts, beside, d)


def _texts(rng: Random, slate: Slate, variety: float) -> list[_Text]:
    texts = []
    for name in FIELDS:
        value, label = written(rng, slate, name, variety), draw_label(rng, name, variety)
        # A missing field either has an empty cell or none at all.
        if value or rng.random() < 0.5:
            texts.append(_Text(name, label, value))
    return texts


def _rows(rng: Random, texts: list[_Text], beside: bool, d: float) -> tuple[Cell, ...]:
    """Two or three rows of cells, sometimes with a row of other things above or below."""
    extra = _other(rng, rng.choice((1, 1, 2))) if rng.random() < 0.55 else []
    count = 3 if len(texts) >= 4 and rng.random() < (0.3 if beside else 0.1 + 0.2 * d) else 2
    rows = _dealt(texts, min(count, len(texts)))
    heights = [1.0] * len(rows)
    if extra:
        at = 0 if rng.random() < 0.75 else len(rows)
        rows.insert(at, extra)
        heights.insert(at, 0.42)
    return tuple(_cells(rng, rows, heights, beside))


def _columns(rng: Random, texts: list[_Text]) -> tuple[Cell, ...]:
    """A list, one field a line, in one or two columns."""
    if len(texts) < 4:
        return tuple(_cells(rng, [[text] for text in texts], [1.0] * len(texts), True))
    half = (len(texts) + 1) // 2
    pairs = [[text] for text in texts[:half]]
    for row, text in zip(pairs, texts[half:], strict=False):
        row.append(text)
    return tuple(_cells(rng, pairs, [1.0] * half, True))


def _dealt(texts: list[_Text], count: int) -> list[list[_Text]]:
    """The texts in `count` rows of about the same width, in their order."""
    rows: list[list[_Text]] = []
    left = list(texts)
    for row in range(count, 0, -1):
        wanted = sum(text.weight for text in left) / row
        taken = [left.pop(0)]
        while len(left) >= row and sum(t.weight for t in taken) + left[0].weight / 2 < wanted:
            taken.append(left.pop(0))
        rows.append(taken)
    rows[-1] += left
    return rows


def _cells(rng: Random, rows: list[list[_Text]], heights: list[float], beside: bool) -> list[Cell]:
    cells, top, scale = [], 0.0, sum(heights)
    for row, height in zip(rows, heights, strict=True):
        bottom = top + height / scale
        widths = [text.weight * (1.6 if beside else 1.0) * rng.uniform(0.85, 1.15) for text in row]
        left = 0.0
        for text, width in zip(row, widths, strict=True):
            right = left + width / sum(widths)
            small = height < 1  # one line: the label has to stand beside the value
            cells.append(Cell((left, top, right, bottom), text.field, text.label, text.value, beside or small))
            left = right
        top = bottom
    return cells


def _other(rng: Random, count: int) -> list[_Text]:
    """Things on a slate that nobody asks for."""
    texts = []
    for labels, values in rng.sample(OTHERS, count):
        value = f"{rng.choice(values)} {rng.choice(values)}" if values is TITLES else rng.choice(values)
        texts.append(_Text(OTHER, rng.choice(labels), value))
    return texts
