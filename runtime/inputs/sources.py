"""The frames that a caller means: files, folders of files, pictures in memory, one after the other.

A folder means the images in it, in the order in which people count (`take 2` before `take 10`), not those of its
folders. Opens nothing: whether a file is an image is `images.py`'s business.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeAlias

import numpy as np

from .images import ImageSource
from .prompt import Picture

__all__ = ["SUFFIXES", "Frames", "counted", "each_frame", "natural"]

Frames: TypeAlias = "ImageSource | Iterable[Picture]"
"""A folder, a file, a picture, or any number of these; a list among them is a video. A generator is read lazily."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""Endings by which a folder's images are known, whatever their case."""


def each_frame(source: Frames) -> Iterator[Picture]:
    """Every frame in turn. A folder without images comes as it is, so that whoever reads it says so in its place."""
    for item in _items(source):
        if isinstance(item, str | os.PathLike) and os.fspath(item):  # an empty text is no name of this folder
            yield from _in_folder(Path(item)) or [item]
        else:
            yield item


def counted(source: Frames) -> tuple[Iterable[Picture], int | None]:
    """The frames, and how many they are where that can be known without reading ahead."""
    if isinstance(source, Sized) or not isinstance(source, Iterable):
        frames = list(each_frame(source))
        return frames, len(frames)
    return each_frame(source), None


def natural(name: str) -> tuple[list[str | int], str]:
    """A key by which names sort as people count."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part.casefold() for place, part in enumerate(parts)], name


def _items(source: Frames) -> Iterable[Picture]:
    single = isinstance(source, str | bytes | os.PathLike) or not isinstance(source, Iterable)
    if isinstance(source, np.ndarray):
        single = source.ndim < 4  # [N, H, W, 3] is a stack of frames, anything less is one
    return [source] if single else source  # type: ignore[list-item,return-value]


def _in_folder(path: Path) -> list[Picture]:
    """The images of a folder; nothing where it is none."""
    try:
        found = [entry.name for entry in os.scandir(path) if entry.is_file()] if path.is_dir() else []
    except (OSError, ValueError):  # a folder that may not be listed, a NUL character in a path
        return []
    shown = [name for name in found if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return [path / name for name in sorted(shown, key=natural)]
