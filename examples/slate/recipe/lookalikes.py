"""Frames without a slate that have writing all the same: menus, lists, call sheets, signs, viewfinders, captions.

Nothing here reads as a slate's fields. Knows nothing of truths.
"""

from __future__ import annotations

from random import Random

import numpy as np
import skia
from numpy.typing import NDArray

from .assets import faces
from .broad import draw_name, draw_title
from .pens import Pen, TypePen, draw_hand, paint

__all__ = ["paint_overlay", "paint_sheet"]

Colour = tuple[int, int, int]
GROUNDS: tuple[Colour, ...] = (
    (245, 245, 240),
    (25, 30, 28),
    (250, 240, 160),
    (40, 60, 50),
    (230, 60, 50),
    (30, 60, 140),
)
WORDS = (
    *("Menu", "Today", "Special", "Open", "Closed", "Exit", "No entry", "Parking", "Sale", "Call sheet", "Crew call"),
    *("Lunch", "Wrap", "Base", "Notes", "Total", "Score", "Home", "Away", "Platform", "Departures", "Room", "Gate"),
    *("Schedule", "Quiet please", "Stage", "Coffee", "Soup", "Tea", "Toast", "Monday", "Chapter", "Page", "Price"),
)


def paint_sheet(rng: Random, held_out: bool) -> NDArray[np.uint8]:
    """A board, sheet or sign with lines of writing, `[H, W, 4]`."""
    high, wide = 480, round(480 * rng.uniform(0.8, 2.0))
    surface = skia.Surface(wide, high)
    canvas, ground = surface.getCanvas(), rng.choice(GROUNDS)
    canvas.clear(skia.Color(*ground))
    ink: Colour = (20, 20, 24) if sum(ground) > 380 else (240, 240, 236)
    pen = _pen(rng, held_out)
    rows, columns = rng.choice((1, 2, 3, 4, 6, 8)), rng.choice((1, 1, 2, 2, 3))
    for row in range(rows):
        for column in range(columns):
            text = draw_line(rng) if column == 0 else _number(rng)
            tall, room = high / rows, wide / columns
            cap = min(0.5 * tall, 0.85 * room / max(pen.width(text, 1), 0.1))
            pen.write(canvas, text, column * room + 0.06 * room, row * tall + (tall + cap) / 2, cap, ink)
        if rng.random() < 0.3:
            canvas.drawLine(0, row * high / rows, wide, row * high / rows, paint(ink, 160, 2))
    return np.asarray(surface.makeImageSnapshot().toarray(colorType=skia.kRGBA_8888_ColorType))


def paint_overlay(rng: Random, pixels: NDArray[np.uint8], held_out: bool) -> NDArray[np.uint8]:
    """A picture with a viewfinder's frame and figures, or with a caption."""
    height, width = pixels.shape[:2]
    surface = skia.Surface(width, height)
    canvas, pen = surface.getCanvas(), _pen(rng, held_out)
    canvas.drawImage(
        skia.Image.fromarray(np.dstack([pixels, np.full((height, width), 255, np.uint8)]), skia.kRGBA_8888_ColorType),
        0,
        0,
    )
    ink: Colour = rng.choice(((245, 245, 245), (255, 220, 90), (255, 80, 70)))
    if rng.random() < 0.6:
        canvas.drawRect(
            skia.Rect.MakeLTRB(0.07 * width, 0.1 * height, 0.93 * width, 0.9 * height), paint(ink, 200, 1.5)
        )
    for _ in range(rng.choice((1, 2, 4))):
        text = _number(rng) if rng.random() < 0.6 else draw_line(rng)
        cap = rng.uniform(0.03, 0.07) * height
        spot = (rng.uniform(0.05, 0.6) * width, rng.choice((0.1, 0.9, rng.random())) * height)
        pen.write(canvas, text, *spot, cap, ink)
    return np.ascontiguousarray(surface.makeImageSnapshot().toarray(colorType=skia.kRGBA_8888_ColorType)[:, :, :3])


def draw_line(rng: Random) -> str:
    """A few words."""
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(WORDS) + (f" {_number(rng)}" if rng.random() < 0.3 else "")
    return draw_title(rng) if kind < 0.75 else draw_name(rng)


def _number(rng: Random) -> str:
    return rng.choice(
        (
            f"{rng.randint(0, 99)}.{rng.randint(0, 99):02}",
            f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
            f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}:{rng.randint(0, 24):02}",
            str(rng.randint(0, 10 ** rng.randint(1, 4))),
            rng.choice(("REC", "ISO 800", "5600K", "180.0", "BAT 14.8V", "STBY", "ND.6")),
        )
    )


def _pen(rng: Random, held_out: bool) -> Pen:
    kind = rng.random()
    if kind < 0.25 and not held_out:
        return draw_hand(rng)
    role = "hand" if kind < 0.45 else "print"
    return TypePen(rng.choice(faces(role, held_out)), rng, 0.6 if role == "hand" else 0.0)
