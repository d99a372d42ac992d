"""The picture of `a2d film`: a prompt, and the last frame of each block with the moment it came, as an SVG of a film
that is made on this machine.

    python packaging/film_picture.py docs/filming.svg --bundle animatic.a2d --prompt "WS, a street at dusk" [--seed 7]

Nothing in it is drawn by hand: frames, times and rates are those of the film. It shows what its network knows, so it is
made from a trained one.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import a2d
from a2d.runtime.cli.live_film import rates

WIDE, GAP, TOP, LEFT = 168, 12, 74, 24
"""Width of a frame on the page, space between two, and the first one's place, in pixels."""

ACROSS = 5
"""Frames beside each other."""


@dataclass(frozen=True)
class Came:
    """A block's last frame, and when it came."""

    frame: NDArray[np.uint8]
    number: int
    seconds: float


def blocks(film: a2d.Film) -> Iterator[Came]:
    """The film's blocks, as they come."""
    started = time.perf_counter()
    for block in film:
        number = block.first + len(block.frames) - 1
        yield Came(block.frames[-1], number, time.perf_counter() - started)


def drawn(came: list[Came], title: str, command: str, below: str) -> str:
    """The picture as text."""
    high = WIDE * came[0].frame.shape[0] // came[0].frame.shape[1]
    lines = -(-len(came) // ACROSS)
    width = 2 * LEFT + ACROSS * (WIDE + GAP) - GAP
    height = TOP + lines * (high + 30) + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" rx="12" fill="#f6f5f2"/>',
        '<g font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="13" fill="#17181b">',
        f'<text x="{LEFT}" y="34">{escape(command)}</text></g>',
        '<g font-family="system-ui, sans-serif" font-size="13" fill="#5f636b">',
        f'<text x="{LEFT}" y="58">The last frame of each block, and when it was there</text>',
        f'<text x="{LEFT}" y="{height - 18}">{escape(below)}</text>',
    ]
    for place, one in enumerate(came):
        x, y = LEFT + place % ACROSS * (WIDE + GAP), TOP + place // ACROSS * (high + 30)
        parts.append(
            f'<image href="data:image/png;base64,{_png(one.frame)}" x="{x}" y="{y}" width="{WIDE}" height="{high}"/>'
        )
        parts.append(f'<text x="{x}" y="{y + high + 16}">frame {one.number}, {one.seconds:.1f} s</text>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _png(frame: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--threads", type=int)
    chosen = parser.parse_args(arguments)
    model = a2d.load(chosen.bundle, threads=chosen.threads)
    film = model.film(chosen.prompt, seed=chosen.seed, frames=chosen.frames)
    came = list(blocks(film))
    count = came[-1].number + 1
    name = Path(chosen.bundle).name
    command = f'a2d film {name} --prompt "{chosen.prompt}" --seed {chosen.seed} -o shot.mp4'
    size = f"{film.clip.width}x{film.clip.height}"
    below = f"{count} frames of {size} at {film.fps:g} a second; {rates(film.seconds, count)}"
    chosen.out.write_text(drawn(came, chosen.prompt, command, below), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
