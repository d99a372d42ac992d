"""Pictures at a depth: drawn once a shot, larger than the frame, and seen by every frame's camera.

Knows nothing of what is drawn on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .camera import HEIGHT, WIDTH, View
from .palettes import Colour

__all__ = ["MARGIN_X", "MARGIN_Y", "SCALE", "Layer", "Pen", "gradient", "over"]

SCALE = 2
"""Pixels of a layer for one of the frame."""
MARGIN_X, MARGIN_Y = 40, 24
"""Pixels of the frame that a layer reaches beyond it."""
SIZE = ((WIDTH + 2 * MARGIN_X) * SCALE, (HEIGHT + 2 * MARGIN_Y) * SCALE)

Picture = NDArray[np.float32]


@dataclass
class Layer:
    """One depth of a shot, as colours multiplied by their alpha."""

    depth: float
    image: Image.Image
    _seen: dict[View, Picture] = field(default_factory=dict)

    def seen(self, view: View) -> Picture:
        """[H, W, 4], 0 to 255, colours multiplied by alpha."""
        if view not in self._seen:
            self._seen = {view: self._resized(view)}
        return self._seen[view]

    def _resized(self, view: View) -> Picture:
        zoom = view.depth_zoom(self.depth)
        w, h = WIDTH / zoom, HEIGHT / zoom
        left = (WIDTH - w) / 2 + view.x * self.depth + MARGIN_X
        top = (HEIGHT - h) / 2 + view.y * self.depth + MARGIN_Y
        box = (left * SCALE, top * SCALE, (left + w) * SCALE, (top + h) * SCALE)
        return np.asarray(self.image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box), np.float32)


class Pen:
    """Draws on a layer in pixels of the frame, alpha included; where it draws nothing the layer is clear."""

    def __init__(self) -> None:
        self._image = Image.new("RGBA", SIZE)
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self._draw.polygon([self._at(x, y) for x, y in points], fill=(*colour, 255))

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        x, y = self._at(left, top)
        u, v = self._at(right, bottom)
        if u > x and v > y:
            self._draw.rectangle((x, y, u - 1, v - 1), fill=(*colour, 255))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.oval(x, y, radius, radius, colour)

    def oval(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        self._draw.ellipse((*self._at(x - width, y - height), *self._at(x + width, y + height)), fill=(*colour, 255))

    def line(self, points: list[tuple[float, float]], width: float, colour: Colour) -> None:
        joined = [self._at(x, y) for x, y in points]
        self._draw.line(joined, fill=(*colour, 255), width=max(1, round(width * SCALE)), joint="curve")

    def gradient(self, top: float, bottom: float, above: Colour, below: Colour) -> None:
        """Fill from `top` to `bottom` and, in the last colour, everything under it."""
        rows = gradient(SIZE[1], (top + MARGIN_Y) * SCALE, (bottom + MARGIN_Y) * SCALE, above, below)
        start = max(0, round((top + MARGIN_Y) * SCALE))
        band = Image.fromarray(rows[start:, None].astype(np.uint8)).resize((SIZE[0], SIZE[1] - start))
        self._image.paste(band, (0, start))

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Light around a point, over what is drawn already."""
        r = round(radius * SCALE)
        at = self._at(x, y)
        d = np.hypot(*np.mgrid[-r:r, -r:r]) / r
        alpha = Image.fromarray((255 * strength * np.clip(1 - d, 0, 1) ** 2).astype(np.uint8))
        self._image.paste(Image.new("RGBA", alpha.size, (*colour, 255)), (round(at[0]) - r, round(at[1]) - r), alpha)

    def shade(self, colour: Colour, top: float, bottom: float, above: float, below: float) -> None:
        """Mist: shift what is drawn towards a colour, by a share that runs from `above` to `below`."""
        pixels = np.asarray(self._image).astype(np.float32)
        share = gradient(SIZE[1], (top + MARGIN_Y) * SCALE, (bottom + MARGIN_Y) * SCALE, (above,), (below,))[:, None]
        pixels[..., :3] += (np.array(colour, np.float32) - pixels[..., :3]) * share
        self._image = Image.fromarray(pixels.round().astype(np.uint8))
        self._draw = ImageDraw.Draw(self._image)

    def layer(self, depth: float, blur: float = 0.0) -> Layer:
        """The finished layer, out of focus by `blur` pixels."""
        image = self._image.convert("RGBa")
        if blur:
            image = image.filter(ImageFilter.BoxBlur(blur * SCALE)).filter(ImageFilter.BoxBlur(blur * SCALE))
        return Layer(depth, image)

    @staticmethod
    def _at(x: float, y: float) -> tuple[float, float]:
        return (x + MARGIN_X) * SCALE, (y + MARGIN_Y) * SCALE


def gradient(rows: int, top: float, bottom: float, above: tuple[float, ...], below: tuple[float, ...]) -> Picture:
    """[rows, C]: `above` up to `top`, `below` from `bottom` on."""
    share = np.clip((np.arange(rows) - top) / max(bottom - top, 1e-6), 0, 1)[:, None]
    return (np.array(above) + (np.array(below) - np.array(above)) * share).astype(np.float32)


def over(ground: Picture, top: Picture) -> Picture:
    """`top` [H, W, 4] laid over an opaque `ground` [H, W, 3]."""
    return ground * (1 - top[..., 3:] / 255) + top[..., :3]
