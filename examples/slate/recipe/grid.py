"""What an image token shows: classes for the slots that it is divided into, for the training of the tower.

Knows the model's grid and marks; nothing of how frames are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .fields import FIELDS, LONGEST_VALUE
from .frame import Mark
from .layouts import OTHER

__all__ = ["CHARS", "KINDS", "PLACES", "Grid", "Labels", "labels"]

CHARS = 128
"""Classes of the glyph in a slot: its ASCII code, 0 for none."""

KINDS = (None, *FIELDS, OTHER)
"""Classes of the field that a slot belongs to."""

PLACES = LONGEST_VALUE + 1
"""Classes of the character of the answer's value that a glyph decides first: 1 is the first one, 0 is none."""


@dataclass(frozen=True)
class Grid:
    """A model's input: a frame of `width` by `height` pixels in patches, `merge` by `merge` of them a token."""

    width: int
    height: int
    patch: int
    merge: int
    window: int
    """Side of an attention window, in pixels."""

    def __post_init__(self) -> None:
        if self.window % self.side or self.width % self.window or self.height % self.window:
            raise ValueError(
                f"got frames of {self.width} x {self.height}, windows of {self.window} and tokens of {self.side} "
                "pixels, expected whole windows of whole tokens; choose sizes that divide each other"
            )

    @property
    def side(self) -> int:
        """Of a token, in pixels."""
        return self.patch * self.merge

    @property
    def columns(self) -> int:
        return self.width // self.side

    @property
    def rows(self) -> int:
        return self.height // self.side

    @property
    def tokens(self) -> int:
        return self.rows * self.columns

    @property
    def across(self) -> int:
        """Slots of a token side by side: glyphs are narrow."""
        return 2 * self.merge

    @property
    def slots(self) -> int:
        """Of a token."""
        return self.across * self.merge

    @classmethod
    def of(cls, vision: Any, letterbox: dict[str, int]) -> Grid:
        """Of a vision config of transformers, and the frame that the checkpoint's contract names."""
        return cls(
            letterbox["width"], letterbox["height"], vision.patch_size, vision.spatial_merge_size, vision.window_size
        )


@dataclass(frozen=True)
class Labels:
    """Classes by slot, token by token, and sources."""

    chars: NDArray[np.uint8]
    """[tokens * slots]: the glyph of a value whose centre lies in the slot."""
    kinds: NDArray[np.uint8]
    """[tokens * slots]: the index in KINDS of the field whose value or label stands in the slot."""
    places: NDArray[np.uint8]
    """[tokens * slots]: which character of the answer's value the glyph decides; see PLACES."""
    sources: NDArray[np.bool_]
    """[5 * 10, tokens]: tokens with glyphs that decide a character of a field's value in the answer."""


def labels(marks: Iterable[Mark], grid: Grid) -> Labels:
    """Where several glyphs share a slot, values go before labels, then the most central."""
    count = grid.tokens * grid.slots
    chars, kinds, places = (np.zeros(count, np.uint8) for _ in range(3))
    sources = np.zeros((len(FIELDS) * LONGEST_VALUE, grid.tokens), np.bool_)
    best, wide, tall = np.full(count, np.inf), grid.side / grid.across, grid.side / grid.merge
    for mark in marks:
        if not (0 <= mark.x < grid.width and 0 <= mark.y < grid.height):
            continue
        token = int(mark.y // grid.side) * grid.columns + int(mark.x // grid.side)
        within = int(mark.y % grid.side // tall) * grid.across + int(mark.x % grid.side // wide)
        slot = token * grid.slots + within
        for place in mark.decides:
            sources[FIELDS.index(mark.field) * LONGEST_VALUE + place, token] = True
        off = abs(mark.x / wide % 1 - 0.5) + abs(mark.y / tall % 1 - 0.5) + (not mark.char)
        if off < best[slot]:
            best[slot], chars[slot], kinds[slot] = off, ord(mark.char or "\0") % CHARS, KINDS.index(mark.field)
            places[slot] = mark.decides[0] + 1 if mark.decides else 0
    return Labels(chars, kinds, places, sources)
