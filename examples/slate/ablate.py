"""Why a reader fails on slates of another renderer: change one thing at a time about our own easy frames.

    python examples/slate/ablate.py --model examples/slate/model --fonts DIRECTORY_OF_OTHER_TYPEFACES

Prints one row per change: whole slates and single fields read exactly. It knows the first drawing path (`drawing`,
`layouts`, `effects`), whose parts it exchanges; it does not know how any other renderer draws.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from recipe import fonts
from recipe.drawing import draw_style, paint
from recipe.effects import place
from recipe.fields import FIELDS, Slate, answer, draw_slate
from recipe.layouts import Cell, draw_cells
from recipe.score import Tally
from recipe.words import LONGEST, QUESTION

import a2d
from a2d.export.job import Job, export

HERE = Path(__file__).parent
D = 0.1
"""Difficulty of what stays as it is: straight boards, all of the frame, hardly any noise."""

LAYOUT = (("roll", 0, 0, 3), ("scene", 0, 3, 7), ("take", 0, 7, 10), ("date", 1, 0, 6), ("fps", 1, 6, 10))
"""A layout as sold in shops: field, row, first and last tenth of the width."""


@dataclass(frozen=True)
class Change:
    """One way in which frames differ from our own easy ones; the defaults are ours."""

    name: str
    frame: tuple[int, int] = (448, 224)
    """Pixels of the frame before the reader fits it into its input."""
    board: float = 1.0
    """Width of the board, as a share of the largest that fits."""
    aspect: float = 2.0
    """Width of the board by its height."""
    sold: bool = False
    """The layout is LAYOUT; a row of crew and a title stand between."""
    fonts: tuple[str, ...] = ()
    contrast: float = 1.0
    quality: int = 0
    """Of JPEG; 0 is none."""


CHANGES = (
    Change("nothing"),
    Change("frame 16:9, board fills it", frame=(480, 270), aspect=16 / 9),
    Change("frame 4:3, board fills it", frame=(448, 336), aspect=4 / 3),
    Change("frame 2.39:1, board 1.4:1", frame=(538, 224), aspect=1.4),
    Change("board 1.4:1 in a 2:1 frame", aspect=1.4),
    Change("board covers 85 %", board=0.85),
    Change("board covers 70 %", board=0.7),
    Change("board covers 55 %", board=0.55),
    Change("board covers 40 %", board=0.4),
    Change("layout as sold", sold=True),
    Change("other typefaces", fonts=("print",)),
    Change("other handwriting", fonts=("hand",)),
    Change("contrast 50 %", contrast=0.5),
    Change("contrast 25 %", contrast=0.25),
    Change("JPEG, quality 60", quality=60),
    Change("JPEG, quality 30", quality=30),
    Change("16:9, board 1.4:1 over 85 %, sold", frame=(480, 270), aspect=1.4, board=0.85, sold=True),
    Change("the same, other typefaces", frame=(480, 270), aspect=1.4, board=0.85, sold=True, fonts=("print",)),
)


def frame(change: Change, index: int, faces: dict[str, tuple[str, ...]]) -> tuple[NDArray[np.uint8], str]:
    """Frame `index` under a change, and its truth; the slates are the same under every change."""
    truth, look = Random(f"ablate/{index}/truth"), Random(f"ablate/{index}/look")
    slate = draw_slate(truth)
    cells = sold(look, slate) if change.sold else draw_cells(truth, look, slate, D)
    style = draw_style(look, D, held_out=False)
    for role in change.fonts:
        style = replace(style, value_font=look.choice(faces[role]), label_font=look.choice(faces["print"]))
    width, height = change.frame
    wide = min(width, height * change.aspect) * change.board
    tall = wide / change.aspect
    board = paint(look, cells, style, (round(2 * wide), round(2 * tall)))
    left, top = (width - wide), (height - tall)
    quad = ((left, top), (left + 2 * wide, top), (left + 2 * wide, top + 2 * tall), (left, top + 2 * tall))
    shade = look.randint(40, 200)
    seen = place(board.image, quad, Image.new("RGB", (2 * width, 2 * height), (shade, shade, shade))).reduce(2)
    return _sensed(seen, change), answer(slate)


def sold(rng: Random, slate: Slate) -> tuple[Cell, ...]:
    """The cells of LAYOUT, with a title and a crew between its rows."""
    cells = []
    for name, row, left, right in LAYOUT:
        value = getattr(slate, name)
        text = "" if value is None else str(value)
        top, bottom = (0.0, 0.4) if row == 0 else (0.72, 1.0)
        cells.append(Cell((left / 10, top, right / 10, bottom), name, name.upper(), text, beside=False))
    others = (("PROD.", "NIGHT TRAIN"), ("DIRECTOR", rng.choice(("A. ROSSI", "T. NGUYEN"))))
    for number, (label, value) in enumerate(others):
        cells.append(Cell((0.0, 0.4 + 0.16 * number, 1.0, 0.56 + 0.16 * number), "other", label, value, beside=True))
    return tuple(cells)


def _sensed(image: Image.Image, change: Change) -> NDArray[np.uint8]:
    if change.contrast != 1:
        image = ImageEnhance.Contrast(image).enhance(change.contrast)
    if change.quality:
        packed = BytesIO()
        image.save(packed, "JPEG", quality=change.quality)
        image = Image.open(packed).convert("RGB")
    return np.asarray(image)


def _faces(folder: Path | None) -> dict[str, tuple[str, ...]]:
    """Typefaces that training did not use: the recipe's held-out ones, or those of a folder with `print` and `hand`."""
    if folder is None:
        return {"print": fonts.have(fonts.HELD_OUT_PRINT), "hand": fonts.have(fonts.HELD_OUT_HAND)}
    found = {role: tuple(sorted(str(p) for p in (folder / role).iterdir())) for role in ("print", "hand")}
    fonts._files().update({path: path for paths in found.values() for path in paths})
    return found


def read(model: a2d.Model, change: Change, count: int, faces: dict[str, tuple[str, ...]]) -> Tally:
    """The first `count` frames under a change."""
    tally = Tally()
    for index in range(count):
        pixels, truth = frame(change, index, faces)
        result = model.session().generate(model.prompt(QUESTION, [pixels]), a2d.Options(max_tokens=LONGEST))
        tally.add(truth, result.text, len(result.tokens), result.forwards, result.seconds)
    return tally


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE / "model")
    parser.add_argument("--fonts", type=Path, help="folder with typefaces in print/ and hand/; else the held-out ones")
    parser.add_argument("--frames", type=int, default=100, help="per change")
    parser.add_argument(
        "--work", type=Path, default=Path("build/slate-ablation.a2d"), help="where the bundle is written"
    )
    chosen = parser.parse_args(arguments)
    chosen.work.parent.mkdir(parents=True, exist_ok=True)
    export(Job(chosen.model, chosen.work, force=True, quiet=True))
    model, faces = a2d.load(chosen.work, threads=1), _faces(chosen.fonts)
    print(f"| easy frames with this changed: exact, % | whole | {' | '.join(FIELDS)} |")
    print("|---" * (len(FIELDS) + 2) + "|")
    for change in CHANGES:
        tally = read(model, change, chosen.frames, faces)
        shares = (tally.exact, *(tally.fields[name] for name in FIELDS))
        print(f"| {change.name} | {' | '.join(f'{100 * n / tally.frames:.0f}' for n in shares)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
