"""Presets of a bundle of two towers: a table of names, meanings and how each is made from a checkpoint.

A checkpoint's own values are those of its files and of its card, whatever the command line has made the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...runtime.film.contract import Schedule, StepList
from ...runtime.film.presets import DRAFT, Preset
from ...runtime.schema import Choices

__all__ = ["PRESETS", "Card", "presets"]

CARD = "card"
SMALL = (192, 320)
"""Height and width of a quick look: the small size that the networks were trained with as well."""


@dataclass(frozen=True)
class Card:
    """A checkpoint's own values."""

    values: Mapping[str, Any]
    steps: StepList
    spatial: int
    """Pixels of a latent's side."""


def _card(card: Card) -> Preset:
    v = card.values
    return Preset(
        PRESETS.meanings[CARD],
        frames=v["frames"],
        height=v["height"],
        width=v["width"],
        fps=float(v["fps"]),
        guidance=float(v["guidance"]),
        guidance_interval=tuple(v.get("guidance_interval") or ()),
        negative=v.get("negative", ""),
        steps=CARD,
    )


def _draft(_: Card) -> Preset:
    return Preset(PRESETS.meanings[DRAFT], height=SMALL[0], width=SMALL[1])


PRESETS: Choices[Callable[[Card], Preset]] = Choices(
    (CARD, "length, size, rate, steps and guidance of the checkpoint's own files and card", _card),
    (DRAFT, "a quick look at the small size that the network was trained with as well: another picture", _draft),
)
"""Rows by name."""


def presets(card: Card, schedule: Schedule) -> tuple[dict[str, Preset], dict[str, StepList]]:
    """Rows whose size the autoencoder can make, and the step lists that they name besides the schedule's own."""
    made = {name: make(card) for name, make in PRESETS.items()}
    rows = {
        name: row
        for name, row in made.items()
        if not ((row.height or 0) % card.spatial or (row.width or 0) % card.spatial)
    }
    if card.steps == schedule.first:
        return {name: replace(row, steps=None) for name, row in rows.items()}, {}
    return rows, {row.steps: card.steps for row in rows.values() if row.steps is not None}
