"""Typefaces and photographs that `assets.py` fetched, by role. Without them it falls back to what `fonts` finds.

The folder is named by the environment variable A2D_SLATE_ASSETS, so that rendering processes find it too.
Knows files; nothing of slates.
"""

from __future__ import annotations

import os
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from . import fonts

__all__ = ["VARIABLE", "faces", "photo", "photos"]

VARIABLE = "A2D_SLATE_ASSETS"
INSTALLED = {
    ("print", False): fonts.PRINT,
    ("hand", False): fonts.HAND,
    ("print", True): fonts.HELD_OUT_PRINT,
    ("hand", True): fonts.HELD_OUT_HAND,
}
"""What Debian's packages bring, by role and by whether training never sees it."""


@cache
def faces(role: str, held_out: bool) -> tuple[str, ...]:
    """Paths of the typefaces for `print` or `hand`; an empty path is the library's own typeface."""
    fetched = _files(f"{role}-held-out" if held_out else role, "*.ttf")
    known = fonts._files()
    return fetched + tuple(known[name] for name in INSTALLED[role, held_out] if name in known) or ("",)


@cache
def photos(held_out: bool) -> tuple[str, ...]:
    """Paths of photographs; there may be none."""
    return _files("photos-held-out" if held_out else "photos", "*.jpg")


@lru_cache(maxsize=128)
def photo(path: str) -> NDArray[np.uint8]:
    """A photograph, RGB."""
    return np.ascontiguousarray(cv2.imread(path)[:, :, ::-1])


def _files(folder: str, pattern: str) -> tuple[str, ...]:
    if VARIABLE not in os.environ:
        return ()
    return tuple(sorted(str(path) for path in (Path(os.environ[VARIABLE]) / folder).glob(pattern)))
