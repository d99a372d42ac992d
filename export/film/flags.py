"""Flags of `a2d-export` for checkpoints that film, as rows of a table. Knows names and types, not what values mean."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runtime.cli.arguments import frame_size

__all__ = ["add_film_settings", "film_values"]


@dataclass(frozen=True)
class FilmFlag:
    """One flag."""

    flag: str
    metavar: str
    parse: Callable[[str], Any]
    help: str


def _steps(text: str) -> tuple[float, ...]:
    """`1000,750,500,250` to numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers by comma, as 1000,750,500,250") from error


FLAGS = {
    "block_frames": FilmFlag("--block-frames", "N", int, "latent frames of a block (chunkwise: 3, framewise: 1)"),
    "steps": FilmFlag("--steps-list", "LIST", _steps, "steps of a block before they are warped, as 1000,750,500,250"),
    "first_steps": FilmFlag("--first-steps-list", "LIST", _steps, "those of the first block that is denoised"),
    "rule": FilmFlag("--rule", "NAME", str, "update rule, where the scheduler does not say it: dmd, euler, unipc"),
    "shift": FilmFlag("--flow-shift", "X", float, "warp of the step lists, where the scheduler does not say it"),
    "window": FilmFlag("--window", "N", int, "latent frames that a block sees, itself and the sink included"),
    "sink": FilmFlag("--sink", "N", int, "first latent frames that a window never loses"),
    "text_length": FilmFlag("--text-length", "N", int, "rows of text that the network attends (512)"),
    "commit_timestep": FilmFlag("--commit-timestep", "T", float, "timestep at which a finished block is run again (0)"),
    "frames": FilmFlag("--frames", "N", int, "default length of a clip in pixel frames, 1 + 4 k (81)"),
    "fps": FilmFlag("--fps", "F", float, "frames a second (16)"),
    "step_count": FilmFlag("--step-count", "N", int, "steps of a whole clip, where that is denoised at once"),
    "guidance": FilmFlag("--guidance", "X", float, "scale of guidance; 1 is none"),
    "guidance_interval": FilmFlag("--guidance-interval", "LO,HI", _steps, "lowest and highest timestep guided"),
    "negative": FilmFlag("--negative", "TEXT", str, "negative prompt where none is given"),
    "draft_steps": FilmFlag("--draft-steps", "N", int, "steps of a block in a draft: 1, 2 or 4 (the usual ones)"),
    "size": FilmFlag("--size", "HxW", frame_size, "default size of a clip in pixels (480x832)"),
    "draft_size": FilmFlag("--draft-size", "HxW", frame_size, "size of a draft in pixels (that of a clip)"),
}  # fmt: skip
"""Flag of each value of the film contract; a size is two values."""


def add_film_settings(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    group = parser.add_argument_group("film contract, for checkpoints that film")
    group.add_argument(
        "--parts",
        type=Path,
        metavar="DIR",
        help="diffusers directory with the VAE, the text encoder and so on of a network that is one file",
    )
    group.add_argument(
        "--draft-vae",
        type=Path,
        metavar="DIR",
        help="a second autoencoder (config.json and weights, as AutoencoderTiny) whose decoder makes drafts",
    )
    for name, row in FLAGS.items():
        group.add_argument(row.flag, dest=f"film_{name}", metavar=row.metavar, type=row.parse, help=row.help)


def film_values(arguments: argparse.Namespace) -> dict[str, Any]:
    """The values that were given, by their names in the film contract."""
    found = {name: getattr(arguments, f"film_{name}") for name in FLAGS}
    for prefix in ("", "draft_"):
        size = found.pop(f"{prefix}size")
        if size is not None:
            found[f"{prefix}height"], found[f"{prefix}width"] = size
    return {name: value for name, value in found.items() if value is not None}
