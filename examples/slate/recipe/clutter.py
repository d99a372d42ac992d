"""What is around a slate, and frames that show none. Nothing here reads as a slate's fields.

Knows nothing of boards or truths.
"""

from __future__ import annotations

from random import Random

from PIL import Image, ImageDraw

from .fonts import DIGITAL, HAND, PRINT, font, have

__all__ = ["background", "no_slate"]

Size = tuple[int, int]

SIGNS = (
    *("EXIT", "OPEN", "CLOSED", "CAFE", "HOTEL", "BUS STOP", "PARKING", "NO ENTRY", "SALE", "MENU", "MARKET", "TAXI"),
    *("QUIET PLEASE", "CRAFT SERVICE", "LOT", "STUDIO", "HOME", "AWAY", "PRICE", "TOTAL", "PAGE", "ROOM", "GATE"),
    *("PLATFORM", "FLIGHT", "BAKERY", "THE END", "CHAPTER", "MONDAY", "SPEED LIMIT", "FIRE EXIT", "REC", "BATT"),
)


def background(rng: Random, size: Size, d: float) -> Image.Image:
    """Something to hold a slate in front of: plain, soft, or, the harder the more often, busy."""
    image = _soft(rng, size) if rng.random() < 0.4 + 0.5 * d else Image.new("RGB", size, _colour(rng))
    if rng.random() < d:
        _shapes(rng, ImageDraw.Draw(image), size, 2 + int(10 * d))
    return image


def no_slate(rng: Random, size: Size, d: float) -> Image.Image:
    """A frame without a slate: empty, a scene, or letters and numbers that are none."""
    still = (_table, _notes, _bars)
    moving = (_plain, _scenery, _scenery, _sign, _sign, _subtitle, _overlay)
    kind = rng.randrange(len(still) + len(moving))
    return still[kind](rng, size) if kind < len(still) else moving[kind - len(still)](rng, size, d)


def _plain(rng: Random, size: Size, d: float) -> Image.Image:
    return _soft(rng, size) if rng.random() < 0.5 + 0.4 * d else Image.new("RGB", size, _colour(rng))


def _scenery(rng: Random, size: Size, d: float) -> Image.Image:
    image = _soft(rng, size)
    _shapes(rng, ImageDraw.Draw(image), size, rng.randint(3, 8 + int(12 * d)))
    if rng.random() < 0.3:
        _stripes(rng, ImageDraw.Draw(image), size)
    return image


def _sign(rng: Random, size: Size, d: float) -> Image.Image:
    """A few words on a panel."""
    image = background(rng, size, max(d, 0.5))
    draw = ImageDraw.Draw(image)
    width, height = size
    left, top = rng.uniform(0, 0.3) * width, rng.uniform(0, 0.3) * height
    right, bottom = rng.uniform(0.6, 1) * width, rng.uniform(0.6, 1) * height
    ground = _colour(rng)
    draw.rectangle((left, top, right, bottom), fill=ground)
    lines = [_words(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    step = (bottom - top) / len(lines)
    for i, line in enumerate(lines):
        _text(rng, draw, line, (left + 6, right - 6, top + (i + 0.5) * step, 0.5 * step), _against(ground))
    return image


def _table(rng: Random, size: Size) -> Image.Image:
    """A grid of words and numbers: a price list, a scoreboard, a timetable."""
    ground = _colour(rng)
    image = Image.new("RGB", size, ground)
    draw, ink = ImageDraw.Draw(image), _against(ground)
    rows, columns = rng.randint(2, 4), rng.randint(2, 4)
    width, height = size[0] / columns, size[1] / rows
    for row in range(rows):
        for column in range(columns):
            x, y = column * width, row * height
            if rng.random() < 0.7:
                draw.rectangle((x, y, x + width, y + height), outline=ink)
            text = _number(rng) if column and rng.random() < 0.7 else rng.choice(SIGNS)
            _text(rng, draw, text, (x + 6, x + width - 6, y + height / 2, 0.4 * height), ink)
    return image


def _subtitle(rng: Random, size: Size, d: float) -> Image.Image:
    image = _scenery(rng, size, d)
    line = " ".join(_words(rng) for _ in range(2)).capitalize()
    room = (0.1 * size[0], 0.9 * size[0], rng.choice((0.12, 0.88)) * size[1], 0.1 * size[1])
    _text(rng, ImageDraw.Draw(image), line, room, (250, 250, 250))
    return image


def _overlay(rng: Random, size: Size, d: float) -> Image.Image:
    """A viewfinder: corners, a running timecode, a battery."""
    image = _scenery(rng, size, d)
    draw, (width, height) = ImageDraw.Draw(image), size
    code = ":".join(f"{rng.randint(0, 59):02}" for _ in range(4))
    _text(rng, draw, code, (0.3 * width, 0.7 * width, 0.08 * height, 0.08 * height), (250, 250, 250), DIGITAL)
    _text(rng, draw, rng.choice(SIGNS), (8, 0.25 * width, 0.9 * height, 0.07 * height), (250, 80, 60))
    draw.rectangle((0.05 * width, 0.15 * height, 0.95 * width, 0.85 * height), outline=(220, 220, 220))
    return image


def _notes(rng: Random, size: Size) -> Image.Image:
    """Handwriting on a board: words, no fields."""
    ground = rng.choice(((240, 240, 235), (30, 50, 40), (250, 240, 150), (20, 20, 20)))
    image = Image.new("RGB", size, ground)
    draw, lines = ImageDraw.Draw(image), rng.randint(1, 4)
    step = size[1] / lines
    for i in range(lines):
        line = f"{_words(rng)} {_number(rng)}" if rng.random() < 0.5 else _words(rng)
        left = rng.uniform(0.02, 0.3) * size[0]
        _text(rng, draw, line, (left, 0.97 * size[0], (i + 0.5) * step, 0.4 * step), _against(ground), HAND)
    return image


def _bars(rng: Random, size: Size) -> Image.Image:
    """Test bars, or the clapper of a slate that is too near to be read."""
    image = Image.new("RGB", size, _colour(rng))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        _stripes(rng, draw, size)
        return image
    count = rng.randint(5, 9)
    for i in range(count):
        draw.rectangle((i * size[0] / count, 0, (i + 1) * size[0] / count, size[1]), fill=_colour(rng))
    return image


def _stripes(rng: Random, draw: ImageDraw.ImageDraw, size: Size) -> None:
    width, height = size
    top, tall = rng.uniform(0, 0.7) * height, rng.uniform(0.1, 0.3) * height
    draw.rectangle((0, top, width, top + tall), fill=(15, 15, 15))
    step = tall * rng.uniform(1.2, 2.5)
    for i in range(int(width / step) + 2):
        x = (i - 1) * step
        draw.polygon(
            [(x, top), (x + step / 2, top), (x + step, top + tall), (x + step / 2, top + tall)], fill=(235, 235, 235)
        )


def _soft(rng: Random, size: Size) -> Image.Image:
    """Out of focus: a few colours, blown up."""
    small = Image.new("RGB", (rng.randint(2, 6), rng.randint(2, 4)))
    base, spread = _colour(rng), rng.randint(10, 90)
    pixels = [
        tuple(min(255, max(0, c + rng.randint(-spread, spread))) for c in base)
        for _ in range(small.width * small.height)
    ]
    small.putdata(pixels)
    return small.resize(size, Image.Resampling.BICUBIC)


def _shapes(rng: Random, draw: ImageDraw.ImageDraw, size: Size, count: int) -> None:
    width, height = size
    for _ in range(count):
        x, y = rng.uniform(-0.2, 1) * width, rng.uniform(-0.2, 1) * height
        box = (x, y, x + rng.uniform(0.02, 0.5) * width, y + rng.uniform(0.02, 0.6) * height)
        kind = rng.random()
        if kind < 0.4:
            draw.rectangle(box, fill=_colour(rng))
        elif kind < 0.7:
            draw.ellipse(box, fill=_colour(rng))
        else:
            draw.line(box, fill=_colour(rng), width=rng.randint(1, 8))


def _text(
    rng: Random,
    draw: ImageDraw.ImageDraw,
    text: str,
    room: tuple[float, float, float, float],
    ink: tuple[int, int, int],
    fonts: tuple[str, ...] = PRINT,
) -> None:
    """Text between left and right, centred on a line, at most so tall."""
    left, right, middle, tall = room
    name = rng.choice(have(fonts))
    length = font(name, 64).getlength(text) or 1.0
    size = max(6, int(min(tall * 1.3, (right - left) * 64 / length)))
    draw.text((left, middle), text, fill=ink, font=font(name, size), anchor="lm")


def _words(rng: Random) -> str:
    return rng.choice(SIGNS) if rng.random() < 0.7 else f"{rng.choice(SIGNS)} {_number(rng)}"


def _number(rng: Random) -> str:
    kind = rng.randint(0, 4)
    if kind == 0:
        return f"{rng.randint(0, 99)}.{rng.randint(0, 99):02}"
    if kind == 1:
        return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    if kind == 2:
        return f"{rng.choice('ABCKRT')}{rng.randint(1, 999):03}"
    return str(rng.randint(0, 10 ** rng.randint(1, 4)))


def _colour(rng: Random) -> tuple[int, int, int]:
    base, spread = rng.randint(5, 250), rng.choice((5, 30, 90))
    red, green, blue = (min(255, max(0, base + rng.randint(-spread, spread))) for _ in range(3))
    return red, green, blue


def _against(ground: tuple[int, int, int]) -> tuple[int, int, int]:
    return (15, 15, 15) if sum(ground) > 380 else (240, 240, 240)
