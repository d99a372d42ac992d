"""The demo's page: what was read, how it filled in, and what that cost, as one HTML file that needs nothing else.

Knows what a page shows; not how any of it was measured. The form is in page.html.jinja.
"""

from __future__ import annotations

import base64
import math
import mimetypes
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..footage.slate import FIELDS, values
from .films import Filmed, Point, curve
from .trace import Token, Trace

__all__ = ["Facts", "Field", "Frame", "Row", "by_set", "fields", "render"]

HERE = Path(__file__).parent

LEVELS = (0.5, 0.8, 0.95, 0.99)
"""Confidences at which one colour ends and the next begins."""


@dataclass(frozen=True)
class Field:
    """A field of a slate, read against what stands there."""

    name: str
    read: str
    truth: str

    @property
    def right(self) -> bool:
        """Exactly as on the slate."""
        return self.read == self.truth


@dataclass(frozen=True)
class Frame:
    """One frame and its readings."""

    path: Path
    set: str
    truth: str
    fast: Trace
    slow: Trace
    """One token a forward."""
    voted: str
    """Text that several looks at it vote for."""
    looks: int
    """Number of looks that were taken; one where there is no slate."""

    @property
    def voted_right(self) -> bool:
        """The whole slate exactly, by all looks."""
        return self.voted == self.truth

    @property
    def right(self) -> bool:
        """The whole slate, exactly."""
        return self.fast.text == self.truth

    @property
    def fields(self) -> list[Field]:
        """Fields of the slate; none for a frame without one."""
        return fields(self.truth, self.fast.text)

    @property
    def picture(self) -> str:
        """The file as a data URL."""
        return url(self.path.read_bytes(), mimetypes.guess_type(self.path.name)[0] or "image/png")


@dataclass(frozen=True)
class OfSet:
    """The frames of one set."""

    name: str
    right: int
    """Frames without any error in one look."""
    voted: int
    """And in several."""
    frames: int


@dataclass(frozen=True)
class Row:
    """One way of decoding, over all frames."""

    name: str
    chosen: bool
    """The frames below were read in this way."""
    right: int
    fields: int
    rate: float
    """Useful tokens for each forward of the backbone."""
    milliseconds: float
    """Time of decoding one frame, the mean."""
    speed: float
    """Ratio to one token a forward."""
    whole: float
    """Time of a frame from its file to its text in milliseconds, the median."""


@dataclass(frozen=True)
class Facts:
    """Facts of all frames."""

    slates: int
    fields: int
    block: int
    weights_bytes: int
    """Size of the weights in the precision that decoded."""
    engine: str
    processor: str
    """Name of the processor, with the kind that decides how int8 is computed."""
    precision: str
    threads: int
    producer: str
    """Program that wrote the bundle, with its version."""


def fields(truth: str, read: str) -> list[Field]:
    """Field by field; one that the reading does not have reads as nothing."""
    wanted = values(truth)
    if not wanted:
        return []
    loose = dict(re.findall(rf"\b({'|'.join(FIELDS)})\s+(\S+)", read))  # of a reading that has lost its form
    got = values(read) or loose
    return [Field(name, got.get(name, ""), wanted[name]) for name in FIELDS]


def render(frames: Sequence[Frame], rows: Sequence[Row], facts: Facts, films: Sequence[Filmed] = ()) -> str:
    """The page as HTML text."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"level": level, "glyph": glyph, "race": race, "url": url, "drawn": drawn}
    chosen = next(row for row in rows if row.chosen)
    template = environment.get_template("page.html.jinja")
    return template.render(
        frames=frames,
        rows=rows,
        facts=facts,
        chosen=chosen,
        slow=rows[0],
        levels=LEVELS,
        sets=by_set(frames),
        films=films,
        curve=curve(films),
    )


def by_set(frames: Sequence[Frame]) -> list[OfSet]:
    """The sets in the order of their frames."""
    sets: dict[str, list[Frame]] = {}
    for frame in frames:
        sets.setdefault(frame.set, []).append(frame)
    return [
        OfSet(name, sum(one.right for one in own), sum(one.voted_right for one in own), len(own))
        for name, own in sets.items()
    ]


def level(confidence: float) -> int:
    """The colour of a confidence, 0 to 4."""
    return sum(confidence >= edge for edge in LEVELS)


def glyph(token: Token) -> str:
    """A token's text where a blank must be seen."""
    return token.text.replace(" ", "\u2423") if token.text else "\u25a0"


def race(trace: Trace) -> Iterator[tuple[Token, float]]:
    """Every token that is read, with its time in milliseconds."""
    for block in trace.blocks:
        for token in block.tokens:
            if not token.behind and token.text:
                yield token, 1000 * block.at[token.step]


def url(picture: bytes, kind: str) -> str:
    """A picture of this media type as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(picture).decode()}"


def drawn(points: Sequence[Point], width: int, height: int) -> list[tuple[float, float, Point]]:
    """Points of a curve in a drawing of this size: a step to the right doubles the steps, the bottom is no distance."""
    most = max((point.distance for point in points), default=0.0) or 1.0
    right = math.log2(points[-1].steps) if points else 0.0
    return [
        (width * math.log2(point.steps) / (right or 1.0), height * (1 - point.distance / most), point)
        for point in points
    ]
