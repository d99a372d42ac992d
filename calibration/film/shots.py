"""Shots to calibrate with: prompts that a2d brings, or those of a file, and a size that a CPU can film them at.

Knows texts and sizes; not how they are filmed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ...engines.errors import RequestError
from ...runtime.film.contract import FilmContract
from ...runtime.film.options import FilmOptions

__all__ = ["Shot", "built_in", "load_prompts", "sized"]

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

BLOCKS = 3
"""Blocks of a shot: the first, one that sees its keys and values, and one that sees more."""


@dataclass(frozen=True)
class Shot:
    """One sample."""

    prompt: str
    seed: int


def built_in(count: int) -> list[Shot]:
    """The first `count` shots."""
    return [Shot(prompt, i) for i, prompt in enumerate(PROMPTS[:count])]


def load_prompts(path: Path, count: int) -> list[Shot]:
    """Prompts of a file: one a line, or JSON objects with a `prompt`. Raises RequestError with line and reason."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    prompts = [_prompt(line.strip(), f"{path}, line {i}") for i, line in enumerate(lines, 1) if line.strip()]
    if not prompts:
        raise RequestError(f"{path}: no prompt, expected one a line, or JSON objects with a prompt")
    return [Shot(prompt, i) for i, prompt in enumerate(prompts[:count])]


def _prompt(line: str, where: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        prompt = json.loads(line).get("prompt")
    except ValueError as error:
        raise RequestError(f"{where}: not JSON: {error}") from error
    if not isinstance(prompt, str) or not prompt.strip():
        raise RequestError(f"{where}: got prompt {prompt!r}, expected a text")
    return prompt


def sized(contract: FilmContract, seed: int) -> FilmOptions:
    """Options of a shot: a few blocks with separate commits, in the contract's shape at a size of MOST_ROWS at most."""
    down, across = contract.size_multiple
    high, wide = contract.height // down, contract.width // across
    shrink = max(1.0, (high * wide / MOST_ROWS) ** 0.5)
    height, width = max(1, int(high / shrink)) * down, max(1, int(wide / shrink)) * across
    latents = (contract.first_frames or contract.block_frames) + (BLOCKS - 1) * contract.block_frames
    return FilmOptions(frames=contract.pixel_frames(latents), height=height, width=width, seed=seed, commit="separate")
