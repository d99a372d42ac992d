"""A page of all shots: three pictures of each, its prompt and how it was made; one file without scripts or links."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..footage.writers.html import pages

__all__ = ["SheetShot", "pieces"]


@dataclass(frozen=True)
class SheetShot:
    """One shot on the page."""

    id: str
    pictures: tuple[str, ...]
    """Small JPEGs in base64."""
    prompt: str
    notes: str
    fault: str = ""


def pieces(title: str, summary: str, shots: Sequence[SheetShot]) -> Iterator[str]:
    """The page, shot by shot."""
    page = pages(Path(__file__).parent).get_template("contact_sheet.html.jinja")
    yield from page.generate(title=title, summary=summary, shots=shots)
