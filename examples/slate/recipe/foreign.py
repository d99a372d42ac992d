"""Slates for validation, by a path that training never uses: SVG sheets, drawn by resvg, filmed with Pillow.

Nothing is shared with the drawing paths of training but the values that slates have: other sheets, other label words,
held-out typefaces and photographs, another rasterizer, another camera. Knows no glyph boxes, since nothing is trained
on it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from random import Random

import numpy as np
import resvg_py
from fontTools.ttLib import TTFont
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from .assets import faces, photos
from .broad import draw_broad_slate
from .effects import homography
from .fields import MONTHS, Slate, answer

__all__ = ["LEVELS", "SHEETS", "Frame", "frame", "held"]

LEVELS = {"foreign easy": 0.0, "foreign medium": 0.45, "foreign hard": 0.9, "foreign no slate": 0.5}
"""Difficulty by set."""

WORDS = {
    "scene": ("SCENE", "Scene", "SLATE"),
    "take": ("TAKE", "Take", "TK"),
    "roll": ("ROLL", "Roll", "CAM ROLL", "REEL"),
    "date": ("DATE", "Date"),
    "fps": ("FPS", "F.P.S.", "Frame rate"),
}
CREW = ("Ines Barros", "T. Halvorsen", "Dee Marlow", "R. Quist", "Pilar Omondi", "J. Achterberg")
FILMS = ("Salt Harbour", "NIGHT FERRY", "The Understudy", "Low Country", "COLD OPEN", "Orchard Lane")


@dataclass(frozen=True)
class Frame:
    """A frame and its truth."""

    pixels: NDArray[np.uint8]
    answer: str


@dataclass(frozen=True)
class _Cell:
    """A field, a crew entry or a title in a box of the sheet, in hundredths of its sides."""

    field: str
    left: float
    top: float
    width: float
    height: float


def _grid(*rows: tuple[float, tuple[tuple[str, float], ...]]) -> tuple[_Cell, ...]:
    """Cells of rows: a height, and fields with their widths."""
    cells, top = [], 0.0
    for height, row in rows:
        left = 0.0
        for field, width in row:
            cells.append(_Cell(field, left, top, width, height))
            left += width
        top += height
    return tuple(cells)


SHEETS = (
    _grid(
        (14, (("film", 100),)),
        (40, (("roll", 34), ("scene", 38), ("take", 28))),
        (24, (("director", 50), ("camera", 50))),
        (22, (("date", 60), ("fps", 40))),
    ),
    _grid(
        (46, (("scene", 60), ("take", 40))), (30, (("roll", 50), ("date", 50))), (24, (("fps", 30), ("director", 70)))
    ),
    _grid(
        (18, (("film", 60), ("fps", 40))),
        (42, (("scene", 50), ("take", 50))),
        (20, (("roll", 45), ("date", 55))),
        (20, (("camera", 100),)),
    ),
    _grid(
        (20, (("date", 50), ("fps", 50))),
        (44, (("roll", 30), ("scene", 40), ("take", 30))),
        (18, (("film", 100),)),
        (18, (("director", 50), ("camera", 50))),
    ),
    _grid((34, (("take", 40), ("roll", 60))), (34, (("scene", 60), ("fps", 40))), (32, (("date", 70), ("camera", 30)))),
)


def frame(name: str, index: int, size: tuple[int, int] = (960, 540), photographs: bool = True) -> Frame:
    """Frame `index` of a set; without `photographs` every board stands before a plain ground, and the frame may be
    given away. Raises KeyError for an unknown set.
    """
    d, rng = LEVELS[name], Random(f"foreign/{name}/{index}")
    behind = _behind(rng, size, photos(True) if photographs else ())
    if name.endswith("no slate"):
        return Frame(_shot(rng, behind, d), answer(None))
    slate, board = _written_board(rng, name, index)
    return Frame(_shot(rng, _placed(rng, board, behind, d), d), answer(slate))


def held(name: str, index: int, count: int, size: tuple[int, int] = (960, 540)) -> Iterator[Frame]:
    """The board of `frame(name, index)` held for `count` frames: the camera drifts by a few pixels, grain is fresh.
    Raises KeyError for an unknown set, ValueError for one without slates.
    """
    if name.endswith("no slate"):
        raise ValueError(f"got {name!r}, expected a set with boards to hold")
    d, rng = LEVELS[name], Random(f"foreign/{name}/{index}")
    behind = _behind(rng, size, photos(True))
    slate, board = _written_board(rng, name, index)
    same = rng.getstate()
    for number in range(count):
        rng.setstate(same)  # where the board stands and how it is lit does not change
        drift = round(3 * math.sin(number / 5)), round(2 * math.cos(number / 7))
        image = ImageChops.offset(_placed(rng, board, behind.copy(), d), *drift)
        yield Frame(_shot(rng, image, d), answer(slate))


def _written_board(rng: Random, name: str, index: int) -> tuple[Slate, Image.Image]:
    slate = draw_broad_slate(Random(f"foreign/{name}/{index}/truth"))  # it does not depend on the assets
    return slate, _board(rng, slate, held_hand=rng.random() < 0.6)


def _board(rng: Random, slate: Slate, held_hand: bool) -> Image.Image:
    """A sheet with this slate, as a picture with opacity."""
    printed, written = rng.choice(faces("print", True)), rng.choice(faces("hand" if held_hand else "print", True))
    dark = rng.random() < 0.45
    ground, ink = (
        ("#1b1d1c", "#f0efe6") if dark else ("#f7f6f1", rng.choice(("#16181c", "#1d3f9a", "#a3202a", "#146b3a")))
    )
    line = "#f0efe6" if dark else "#33353a"
    wide, high, bar = 900, rng.choice((600, 640, 700)), 80
    parts = [f'<rect width="{wide}" height="{high}" fill="{ground}"/>', *_bar(rng, wide, bar)]
    for cell in rng.choice(SHEETS):
        x, y = cell.left / 100 * wide, bar + cell.top / 100 * (high - bar)
        w, h = cell.width / 100 * wide, cell.height / 100 * (high - bar)
        parts.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="none" stroke="{line}" stroke-width="3"/>')
        parts += _entry(rng, cell.field, slate, (x, y, w, h), (line, ink), (printed, written))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}">{"".join(parts)}</svg>'
    files = [path for path in (printed, written) if path]
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, font_files=files)))).convert("RGBA")


def _entry(
    rng: Random,
    field: str,
    slate: Slate,
    box: tuple[float, float, float, float],
    inks: tuple[str, str],
    fonts: tuple[str, str],
) -> list[str]:
    x, y, w, h = box
    label = rng.choice(WORDS[field]) if field in WORDS else field.upper()
    small = min(0.18 * h, 24)
    value = _written(rng, slate, field) if field in WORDS else rng.choice(FILMS if field == "film" else CREW)
    parts = [_text(label, x + 8, y + small + 6, small, inks[0], fonts[0], "start")]
    if value:
        size = min(0.62 * (h - small), 1.35 * (w - 20) / max(len(value), 1))
        parts.append(
            _text(value, x + w / 2, y + small + 4 + (h - small) / 2 + 0.3 * size, size, inks[1], fonts[1], "middle")
        )
    return parts


def _text(text: str, x: float, y: float, size: float, ink: str, font: str, anchor: str) -> str:
    name, weight = _named(font)
    style = f'font-family="{name}" font-weight="{weight}" font-size="{size:.1f}" fill="{ink}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _named(font: str) -> tuple[str, int]:
    """Family and weight of a font file, as resvg finds it."""
    if not font:
        return "sans-serif", 400
    face = TTFont(Path(font), lazy=True)
    return str(face["name"].getDebugName(16) or face["name"].getDebugName(1)), int(face["OS/2"].usWeightClass)


def _bar(rng: Random, wide: int, high: int) -> list[str]:
    """The sticks."""
    step, lean = rng.randint(60, 120), rng.choice((-40, 40))
    stripes = [
        f'<polygon points="{x},0 {x + step / 2},0 {x + step / 2 + lean},{high} {x + lean},{high}" fill="#f4f4f0"/>'
        for x in range(-step, wide + step, step)
    ]
    return [f'<rect width="{wide}" height="{high}" fill="#141414"/>', *stripes]


def _written(rng: Random, slate: Slate, field: str) -> str:
    value = getattr(slate, field)
    if value is None:
        return ""
    if field != "date":
        return str(value)
    month = MONTHS[value.month - 1]
    return rng.choice(
        (
            value.isoformat(),
            f"{value.day:02}.{value.month:02}.{value.year}",
            f"{value.day} {month.capitalize()} {value.year}",
            f"{month} {value.day}, {value.year}",
            f"{value.month:02}/{value.day:02}/{value.year}",
        )
    )


def _behind(rng: Random, size: tuple[int, int], known: Sequence[str]) -> Image.Image:
    if known and rng.random() < 0.7:
        return (
            Image.open(rng.choice(known))
            .convert("RGB")
            .resize(size)
            .filter(ImageFilter.GaussianBlur(rng.uniform(0, 9)))
        )
    grey = rng.randint(30, 200)
    return Image.new("RGB", size, (grey, grey, min(grey + rng.randint(-20, 20), 255)))


def _placed(rng: Random, board: Image.Image, behind: Image.Image, d: float) -> Image.Image:
    width, height = behind.size
    tall = height * rng.uniform(0.95 - 0.45 * d, 0.97 - 0.2 * d)
    wide = tall * board.width / board.height
    angle, squeeze = math.radians(rng.uniform(-9, 9) * d), 0.16 * d
    cx = width / 2 + rng.uniform(-0.4, 0.4) * (width - wide)
    cy = height / 2 + rng.uniform(-0.4, 0.4) * (height - tall)
    quad = []
    for right, down in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)):
        x, y = right * wide * (1 + squeeze * rng.uniform(-1, 0.2)), down * tall * (1 + squeeze * rng.uniform(-1, 0.2))
        quad.append((x * math.cos(angle) - y * math.sin(angle) + cx, x * math.sin(angle) + y * math.cos(angle) + cy))
    inverse = np.linalg.inv(homography(board.size, tuple(quad)))
    data = tuple((inverse / inverse[2, 2]).reshape(-1)[:8])
    seen = board.transform(behind.size, Image.Transform.PERSPECTIVE, data, Image.Resampling.BICUBIC)
    behind.paste(seen, (0, 0), seen.getchannel("A"))
    return behind


def _shot(rng: Random, image: Image.Image, d: float) -> NDArray[np.uint8]:
    """Defocus, exposure, grain, JPEG."""
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6 + 2.2 * d)))
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(1 - 0.6 * d, 1 + 0.15 * d))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(1 - 0.5 * d, 1.0))
    noise = Image.effect_noise(image.size, 2 + 22 * d).convert("RGB")
    image = ImageChops.add(image, noise, 1.0, -128)
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=int(rng.uniform(90 - 50 * d, 95)))
    return np.asarray(Image.open(packed).convert("RGB"))
