"""What is on a board beside its cells: sticks, stains, screws, scratches. Knows no texts."""

from __future__ import annotations

from random import Random

import skia

from .flow import Box
from .looks import ACCENTS, STICKS, Colour, Look, shaded
from .pens import paint

__all__ = ["rect", "stains", "sticks", "wear"]


def rect(box: Box) -> skia.Rect:
    """A box as Skia has it."""
    return skia.Rect.MakeLTRB(box.left, box.top, box.right, box.bottom)


def sticks(rng: Random, canvas: skia.Canvas, look: Look, box: Box) -> None:
    """Stripes, arrows or blocks of colour."""
    dark, light = shaded((15, 15, 15), rng), shaded((240, 240, 235), rng)
    if rng.random() < 0.25:
        light = rng.choice(STICKS if look.kind != "app" else ACCENTS)
    canvas.save()
    canvas.clipRect(rect(box))
    canvas.drawRect(rect(box), paint(dark))
    if rng.random() < 0.3:
        colours = [*STICKS, light, dark]
        rng.shuffle(colours)
        for part, colour in zip(box.across([1.0] * 7), colours, strict=False):
            canvas.drawRect(rect(part), paint(colour))
    else:
        _stripes(
            canvas,
            box,
            light,
            box.height * rng.uniform(0.9, 2.2),
            box.height * rng.uniform(-1.0, 1.0),
            rng.random() < 0.3,
        )
    canvas.restore()


def _stripes(canvas: skia.Canvas, box: Box, colour: Colour, step: float, lean: float, arrows: bool) -> None:
    x, middle = box.left - abs(lean) - step, (box.top + box.bottom) / 2
    while x < box.right + abs(lean):
        path = skia.Path()
        if arrows:
            path.addPoly(
                [
                    skia.Point(*p)
                    for p in (
                        (x, box.top),
                        (x + step / 2, box.top),
                        (x + step / 2 + lean, middle),
                        (x + step / 2, box.bottom),
                        (x, box.bottom),
                        (x + lean, middle),
                    )
                ],
                True,
            )
        else:
            path.addPoly(
                [
                    skia.Point(*p)
                    for p in (
                        (x, box.top),
                        (x + step / 2, box.top),
                        (x + step / 2 + lean, box.bottom),
                        (x + lean, box.bottom),
                    )
                ],
                True,
            )
        canvas.drawPath(path, paint(colour))
        x += step


def stains(rng: Random, canvas: skia.Canvas, look: Look, box: Box) -> None:
    """Clouds of chalk, or of wiped ink."""
    for _ in range(rng.choice((0, 0, 2, 5)) if look.kind in ("wood", "acrylic", "digital") else 0):
        blur = skia.Paint(
            Color=skia.Color(*look.ink, rng.randint(5, 22)),
            MaskFilter=skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, 14),
        )
        x, y = rng.uniform(box.left, box.right), rng.uniform(box.top, box.bottom)
        canvas.drawOval(skia.Rect.MakeXYWH(x, y, rng.uniform(30, 160), rng.uniform(15, 60)), blur)


def wear(rng: Random, canvas: skia.Canvas, look: Look, box: Box) -> None:
    """Screws, scratches, a shine."""
    if rng.random() < 0.3:
        for x in (box.left + 12, box.right - 12):
            canvas.drawCircle(x, box.top + 14, 6, paint(shaded((140, 140, 145), rng)))
    for _ in range(rng.choice((0, 0, 3))):
        x, y = rng.uniform(box.left, box.right), rng.uniform(box.top, box.bottom)
        canvas.drawLine(x, y, x + rng.gauss(0, 60), y + rng.gauss(0, 30), paint(look.line, 60, 1))
