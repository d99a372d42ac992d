"""The evaluation sets: named, fixed by seed, disjoint from training's stream. Knows nothing of models.

`SETS` are drawn by the first drawing path, `FOREIGN` by one that training never uses; a folder of frames with their
truth is a set as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .frame import Sample, sample

__all__ = ["FOREIGN", "SETS", "Seen", "Set", "chosen_frames", "folder_frames", "foreign_frames", "frames"]


@dataclass(frozen=True)
class Set:
    """How hard a set is, and what is special about it."""

    low: float
    high: float
    held_out: bool = False
    """Drawn in typefaces that training never sees."""
    without: float = 0.0
    """Share of frames that show no slate."""


SETS = {
    "easy": Set(0.0, 0.25),
    "medium": Set(0.25, 0.55),
    "hard": Set(0.55, 1.0),
    "held-out fonts": Set(0.25, 0.55, held_out=True),
    "no slate": Set(0.0, 1.0, without=1.0),
}


def frames(name: str, count: int) -> Iterator[Sample]:
    """The first `count` frames of a set; the difficulty runs evenly through its range whatever the count.

    Raises KeyError for an unknown name.
    """
    if name not in SETS:
        raise KeyError(f"no evaluation set {name!r}; there are {', '.join(SETS)}")
    chosen = SETS[name]
    for index in range(count):
        share = index * 0.6180339887498949 % 1
        d = chosen.low + (chosen.high - chosen.low) * share
        yield sample(f"evaluation/{name}", index, d, chosen.without, chosen.held_out)


FOREIGN = ("foreign easy", "foreign medium", "foreign hard", "foreign no slate")


@dataclass(frozen=True)
class Seen:
    """A frame from elsewhere, and its truth."""

    pixels: NDArray[np.uint8]
    answer: str


def foreign_frames(name: str, count: int) -> Iterator[Seen]:
    """The first `count` frames of a set of FOREIGN. Raises KeyError for an unknown name."""
    from .foreign import frame  # noqa: PLC0415 - it needs a rasterizer that nothing else does

    for index in range(count):
        made = frame(name, index)
        yield Seen(made.pixels, made.answer)


def folder_frames(folder: Path, level: str) -> Iterator[Seen]:
    """The frames of one level in a folder, whose truth.json is `{name: [level, answer]}`.

    Raises ValueError if there is none of that level.
    """
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    chosen = [(name, text) for name, (own, text) in sorted(truth.items()) if own == level]
    if not chosen:
        levels = ", ".join(sorted({own for own, _ in truth.values()}))
        raise ValueError(f"{folder} has no frame of level {level!r}; there are {levels}")
    for name, text in chosen:
        with Image.open(folder / name) as image:
            yield Seen(np.asarray(image.convert("RGB")), text)


def chosen_frames(name: str, count: int) -> Iterator[Sample | Seen]:
    """The frames of an evaluation set, of a foreign one, or, named `folder:level`, of a folder; at most `count`."""
    if name in FOREIGN:
        return foreign_frames(name, count)
    folder, _, level = name.rpartition(":")
    return islice(folder_frames(Path(folder), level), count) if folder else frames(name, count)
