"""Footage made here: recorded slates cut into synthetic scenes, in the containers and rates of real clips."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from conftest import EXAMPLES
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 224, 112
FRAMES = EXAMPLES / "slate" / "frames"
TRUTH = {entry["file"]: entry["truth"] for entry in json.loads((FRAMES / "truth.json").read_text(encoding="utf-8"))}
SLATES = [name for name, truth in TRUTH.items() if truth != "no slate" and name.endswith(".png")]
"""Frames with a slate, of WIDTH x HEIGHT."""

NTSC = {whole: Fraction(1000 * whole, 1001) for whole in (24, 30, 60)}

Picture = NDArray[np.uint8]


@cache
def slate(name: str) -> Picture:
    return np.asarray(Image.open(FRAMES / name).convert("RGB"))


def scene(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Callable[[int], Picture]:
    """Something that moves: a gradient, and bars that drift before it. Frame index to picture."""
    rng = np.random.default_rng(seed)
    low, high = rng.integers(0, 120, 3), rng.integers(100, 255, 3)
    ramp = np.linspace(0, 1, width)[None, :, None] * (high - low) + low
    bars = [(int(rng.integers(0, height - 20)), rng.integers(0, 255, 3), rng.uniform(0.5, 3)) for _ in range(4)]

    def frame(index: int) -> Picture:
        picture = np.repeat(ramp, height, 0).astype(np.uint8)
        for top, colour, speed in bars:
            left = int(index * speed + top * 3) % (width - 40)
            picture[top : top + 18, left : left + 40] = colour
        return picture

    return frame


def still(picture: Picture) -> Callable[[int], Picture]:
    """A board that is held still."""
    return lambda _: picture


@dataclass(frozen=True)
class Part:
    """A shot: so many frames, drawn by index."""

    frames: int
    draw: Callable[[int], Picture]
    slate: str | None = None
    """The recorded frame that it shows."""


def held(name: str, frames: int = 30) -> Part:
    return Part(frames, still(slate(name)), name)


def moving(seed: int, frames: int = 36) -> Part:
    return Part(frames, scene(seed))


@dataclass(frozen=True)
class Recipe:
    """How a clip is made."""

    name: str
    parts: Sequence[Part]
    rate: Fraction = Fraction(24)
    codec: str = "libx264"
    timecode: str | None = None
    options: dict[str, str] = field(default_factory=lambda: {"crf": "8", "preset": "veryfast"})
    pixels: str = "yuv420p"
    times: Callable[[int], float] | None = None
    """When frame i is shown, in seconds; None for a steady rate."""
    turned: int = 0
    """Degrees by which a player turns it."""
    aspect: Fraction | None = None
    """Width of a pixel by its height."""

    @property
    def cuts(self) -> list[int]:
        """First frames of the shots."""
        return list(np.cumsum([0, *(part.frames for part in self.parts[:-1])]))

    def seconds(self, frame: int) -> float:
        return self.times(frame) if self.times else float(frame / self.rate)

    def pictures(self) -> Iterator[Picture]:
        for part in self.parts:
            for index in range(part.frames):
                yield part.draw(index)


CLOCK = Fraction(1, 90_000)


def make(folder: Path, recipe: Recipe) -> Path:
    path = folder / recipe.name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(recipe.codec, rate=recipe.rate, options=dict(recipe.options))
        first = next(recipe.pictures())
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = recipe.pixels
        if recipe.timecode:
            stream.metadata["timecode"] = container.metadata["timecode"] = recipe.timecode
        if recipe.aspect:
            stream.codec_context.sample_aspect_ratio = recipe.aspect
        if recipe.turned:
            stream.set_display_rotation(recipe.turned)
        if recipe.times:
            stream.time_base = stream.codec_context.time_base = CLOCK
        for index, picture in enumerate(recipe.pictures()):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if recipe.times:
                frame.pts, frame.time_base = round(recipe.times(index) / CLOCK), CLOCK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        for index in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, index * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
