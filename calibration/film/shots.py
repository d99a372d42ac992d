"""Shots to calibrate with: prompts and boards that a2d brings, or those of a file, and a size that a CPU can film.

Knows texts and sizes; not how they are filmed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...engines.errors import RequestError
from ...runtime.film.contract import FilmContract
from ...runtime.inputs.images import ImageSource
from ..collect.board import drawn_board

__all__ = ["Shot", "built_in", "load_prompts", "small_size", "with_boards"]

PROMPTS = (
    "Wide shot, dusk. Two figures walk left along an empty street, slow push in.",
    "Close-up of hands folding a paper boat, rain on the window behind.",
    "A red ball rolls across the wet pavement, past a parked yellow taxi.",
    "Medium shot, night. A woman in a blue coat waits under a street lamp, static camera.",
    "A train leaves the station; the crowd on the platform waves, pan right.",
    "Aerial view of a coast at noon, white waves against dark rocks, tilt up.",
    "Interior, morning. An old man sits down at a kitchen table and pours coffee.",
    "A child runs through tall grass towards the camera, handheld, golden light.",
)
"""Lines as a shot list has them: places, times of day, cameras and actions differ."""

MOST_ROWS = 192
"""Rows of a latent frame at most, so that a CPU films a shot of a large network in minutes."""


@dataclass(frozen=True)
class Shot:
    """One sample."""

    prompt: str
    seed: int
    image: ImageSource | None = None
    """First frame."""


def built_in(count: int) -> list[Shot]:
    """The first `count` shots."""
    return [Shot(prompt, i) for i, prompt in enumerate(PROMPTS[:count])]


def with_boards(count: int) -> list[Shot]:
    """The same, every second one from a drawn board."""
    chance = np.random.default_rng(0)
    return [shot if shot.seed % 2 else replace(shot, image=drawn_board(chance)) for shot in built_in(count)]


def load_prompts(path: Path, count: int) -> list[Shot]:
    """Shots of a file: a prompt a line, or JSON objects with a `prompt` and perhaps an `image`, relative to the file.

    Raises RequestError with line and reason.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    found = [_shot(line.strip(), path, f"{path}, line {i}") for i, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise RequestError(f"{path}: no prompt, expected one a line, or JSON objects with a prompt")
    return [replace(shot, seed=i) for i, shot in enumerate(found[:count])]


def _shot(line: str, path: Path, where: str) -> Shot:
    if not line.startswith("{"):
        return Shot(line, 0)
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RequestError(f"{where}: not JSON: {error}") from error
    prompt, image = row.get("prompt"), row.get("image")
    if not isinstance(prompt, str) or not prompt.strip():
        raise RequestError(f"{where}: got prompt {prompt!r}, expected a text")
    if image is not None and not (isinstance(image, str) and (path.parent / image).is_file()):
        raise RequestError(f"{where}: got image {image!r}, expected the path of a picture, relative to {path.parent}")
    return Shot(prompt, 0, None if image is None else path.parent / image)


def small_size(contract: FilmContract, latents: int = 1) -> tuple[int, int]:
    """Height and width of the contract's shape whose frames have MOST_ROWS rows at most, of so many latents each."""
    down, across = contract.size_multiple
    high, wide = contract.height // down, contract.width // across
    shrink = max(1.0, (high * wide / latents / MOST_ROWS) ** 0.5)
    return max(1, int(high / shrink)) * down, max(1, int(wide / shrink)) * across
