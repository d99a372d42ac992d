"""The README's picture: one frame, and its reading step by step, as an SVG that is made from a decode on this machine.

    python packaging/picture.py docs/reading.svg [--frame easy-06.png] [--bundle slate]

Nothing in it is drawn by hand: texts, steps and confidences are those of the decode.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import a2d
from a2d.runtime.bundle.names import FRAMES
from a2d.runtime.demo.page import level
from a2d.runtime.demo.trace import Token, Trace, trace

COLOURS = ("#f3c9a5", "#f5e1a4", "#cfe6b8", "#96d0bb", "#4fb3b0")
"""Confidence of a token when it was settled, from low to high."""

CELL, LINE = 8.4, 24
"""Width of a character and height of a step, in pixels."""

LEFT, TOP = 338, 46
MASK = "\u2591"


@dataclass(frozen=True)
class Piece:
    """Part of a line: its text, and the colour behind it, if it was settled in this very step."""

    text: str
    colour: str = ""
    masked: bool = False


def lines(read: Trace) -> Iterator[list[Piece]]:
    """A line for each step: earlier blocks, then the block at hand, what is new in colour."""
    before = ""
    for block in read.blocks:
        shown = [token for token in block.tokens if not token.behind]
        for step in range(1 + max((token.step for token in shown), default=-1)):
            yield [Piece(before), *(_piece(token, step) for token in shown)]
        before += "".join(token.text for token in shown)


def _piece(token: Token, step: int) -> Piece:
    text = token.text or "\u25a0"
    if token.step > step:
        return Piece(MASK * len(text), masked=True)
    return Piece(text, COLOURS[level(token.confidence)] if token.step == step else "")


def drawn(read: Trace, frame: Path, below: str) -> str:
    """The picture as text."""
    rows = list(lines(read))
    width = max(880, LEFT + 40 + CELL * max(sum(len(piece.text) for piece in row) for row in rows))
    height = TOP + max(145, LINE * len(rows)) + 36
    image = base64.b64encode(frame.read_bytes()).decode()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<title>{escape(read.text)}</title>",
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="12" fill="#f6f5f2"/>',
        f'<image href="data:image/png;base64,{image}" x="24" y="{TOP - 14}" width="290" height="145"/>',
        f'<g font-family="system-ui, sans-serif" font-size="13" fill="#5f636b"><text x="{LEFT}" y="26">'
        f"{len(rows)} steps for {read.useful} tokens; colour: how sure the model was when it settled one</text>"
        f'<text x="24" y="{height - 16}">{escape(below)}</text></g>',
        '<g font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="14">',
    ]
    for number, row in enumerate(rows):
        parts += _drawn_line(row, TOP + LINE * number)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _drawn_line(row: list[Piece], top: float) -> Iterator[str]:
    at: float = LEFT
    for piece in row:
        wide = CELL * len(piece.text)
        if piece.colour:
            yield f'<rect x="{at:.1f}" y="{top - 14}" width="{wide:.1f}" height="20" rx="3" fill="{piece.colour}"/>'
        if piece.text:
            fill = "#b9b6ae" if piece.masked else "#17181b"
            yield (
                f'<text x="{at:.1f}" y="{top}" textLength="{wide:.1f}" lengthAdjust="spacingAndGlyphs" fill="{fill}">'
                f"{escape(piece.text.replace(' ', chr(0xA0)))}</text>"
            )
        at += wide


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frame", default="easy-06.png", help="one of examples/slate/frames")
    parser.add_argument("--bundle", default="slate")
    parser.add_argument("--threshold", type=float, default=0.9)
    chosen = parser.parse_args(arguments)
    model, frame = a2d.load(chosen.bundle, threads=1), FRAMES / chosen.frame
    options = a2d.Options(threshold=chosen.threshold, max_tokens=64)
    read = trace(model, model.prompt(images=[frame]), options, lambda _: None)
    slow = trace(model, model.prompt(images=[frame]), a2d.Options(steps=8, max_tokens=64), lambda _: None)
    below = (
        f"a2d run slate --image {chosen.frame} --threshold {chosen.threshold:g}: {read.forwards} forwards; one token a "
        f"forward takes {slow.forwards}"
    )
    chosen.out.write_text(drawn(read, frame, below), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
