"""A page of all shots: three pictures of each, its prompt and how it was made; one file without scripts or links."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..console.one_line import one_line
from ..footage.writers.html import STYLE

__all__ = ["SheetShot", "pieces", "thumbnail"]

WIDTH = 240
"""Pixels of a small picture."""


@dataclass(frozen=True)
class SheetShot:
    """One shot on the page."""

    id: str
    pictures: tuple[str, ...]
    """Small JPEGs in base64."""
    prompt: str
    notes: str
    fault: str = ""


def thumbnail(frame: NDArray[np.uint8]) -> str:
    """A small JPEG of a frame `[H, W, 3]`, in base64."""
    height, width = frame.shape[:2]
    small = Image.fromarray(frame).resize((WIDTH, max(1, round(height * WIDTH / width))))
    small.save(file := io.BytesIO(), format="JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()


def pieces(title: str, summary: str, shots: Sequence[SheetShot]) -> Iterator[str]:
    """The page, shot by shot."""
    name = _text(title)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{name}</title>'
    yield f'<!doctype html>\n<html lang="en"><head>{head}<style>\n{STYLE}\n</style></head>\n<body>\n<h1>{name}</h1>\n'
    yield f"<p>{_text(summary)}</p>\n"
    for shot in shots:
        yield f'<h2>{_text(shot.id)}</h2>\n<p>{_text(shot.prompt)}</p>\n<p class="code">{_text(shot.notes)}</p>\n'
        if shot.fault:
            yield f'<p class="bad">{_text(shot.fault)}</p>\n'
        shown = "".join(_picture(shot.id, picture) for picture in shot.pictures)
        yield f"<ol>{shown}</ol>\n" if shown else ""
    yield "</body></html>\n"


def _picture(name: str, picture: str) -> str:
    return f'<li><img src="data:image/jpeg;base64,{picture}" alt="{_text(name)}" loading="lazy"></li>'


def _text(text: str) -> str:
    return escape(one_line(text))
