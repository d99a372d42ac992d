"""Doubts of a reader of slates, for a terminal and for JSON. Knows answers; not how they were decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..footage.clip import Shot
from ..footage.slate import FIELDS, NO_SLATE, QUESTION, UNSURE, certainty, marked
from ..model import Model

__all__ = ["Doubts", "reads_slates"]


SMALL = (
    "no slate was read: there is none, or its board fills less than about two thirds of the picture, where this reader "
    "often misses it. Crop the picture to the board, and ask again"
)
"""The reason for an answer of no slate; docs/log.md has the measurement."""


def reads_slates(model: Model, asked: object) -> bool:
    """True where the answer has the form of a slate: the bundle's own question is a slate reader's, and is asked."""
    return model.manifest.text.default_prompt == QUESTION and asked in (None, QUESTION)


@dataclass(frozen=True)
class Doubts:
    """A slate reader's answer, held against the least confidence that is asked for."""

    text: str
    """The answer, with a mark before each value that is unsure."""
    plain: str
    """The answer without marks."""
    fields: dict[str, str]
    certainty: dict[str, float]
    unsure: tuple[str, ...]
    """Names of fields that are less certain."""
    sure: bool
    """Some of the answer can be relied upon: a field, or that there is no slate."""
    looks: int
    """Looks that were taken."""

    @staticmethod
    def of(read: Shot, least: float) -> Doubts:
        """Judge what was read."""
        count = len(read.looks)
        if not read.fields:
            sure = read.text == NO_SLATE and read.confidence >= least
            return Doubts(read.text if sure else f"{UNSURE} {read.text}", read.text, {}, {}, (), sure, count)
        low = tuple(name for name in FIELDS if certainty(read, name) < least)
        return Doubts(marked(read, least), read.text, read.fields, read.certainty, low, len(low) < len(FIELDS), count)

    def line(self, least: float) -> str | None:
        """A sentence on what is unsure, or why no slate may have been read; None where there is nothing to say."""
        if self.sure and not self.fields:
            return SMALL
        if self.sure and not self.unsure:
            return None
        named = ", ".join(f"{name} ({100 * self.certainty[name]:.0f} %)" for name in self.unsure)
        what = f"unsure of {named}" if named else f"no slate can be read: the answer is {self.text.lstrip('? ')!r}"
        return f"{what}; under [min_confidence={least:g}]. The reader wants an upright board that fills the picture"

    def facts(self) -> dict[str, Any]:
        """The fields for JSON."""
        return {
            "text": self.plain,
            "fields": self.fields,
            "certainty": self.certainty,
            "unsure": list(self.unsure),
            "looks": self.looks,
        }
