"""What one would take instead: a general OCR program, and a simple rule for which value belongs to which label.

    pip install rapidocr-onnxruntime pytesseract; apt-get install tesseract-ocr
    python examples/slate/ocr.py --sets "foreign easy" frames:easy --frames 100

Prints the tables of `evaluate.py`. The rule takes for a label the nearest text below it, else the one to its right, and
keeps what looks like a value of that field. It knows the label words that the recipe draws, and no others.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from recipe import broad, fields
from recipe.broad import LONG_MONTHS
from recipe.fields import FIELDS, MISSING, MONTHS, NO_SLATE
from recipe.score import Tally
from recipe.sets import FOREIGN, SETS, chosen_frames

__all__ = ["Word", "assign", "read_date"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Word:
    """A text that a program found."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top


def _bare(text: str) -> str:
    """Letters and digits, in capitals."""
    return re.sub(r"[^A-Z0-9/#]", "", text.upper())


LABELS = {_bare(word): name for name in FIELDS for word in (*broad.LABELS[name], *fields.LABELS[name])}
VALUES = {
    "scene": re.compile(r"(?=.*\d)[A-Z0-9-]{1,10}"),
    "take": re.compile(r"\d{1,3}"),
    "roll": re.compile(r"(?=.*\d)[A-Z0-9]{1,8}"),
    "fps": re.compile(r"\d{2,3}(\.\d{1,3})?"),
}


def assign(words: Sequence[Word]) -> str:
    """The answer that these texts amount to."""
    labels = [(LABELS[_bare(word.text)], word) for word in words if _bare(word.text) in LABELS]
    if len({name for name, _ in labels}) < 2:
        return NO_SLATE
    others = [word for word in words if _bare(word.text) not in LABELS]
    found: dict[str, str] = {}
    for name, label in labels:
        if name not in found:
            values = [_value(name, word.text) for word in _near(label, others)]
            found.update((name, value) for value in values if value)
    return " ".join(f"{name} {found.get(name, MISSING)}" for name in FIELDS)


def _near(label: Word, others: Sequence[Word]) -> list[Word]:
    """The nearest text below a label, else to its right; none if all are far."""
    middle = (label.top + label.bottom) / 2
    below = [w for w in others if w.top > middle and w.right > label.left and w.left < label.right + 2 * label.height]
    below = [w for w in below if w.top - label.bottom < 2.5 * max(label.height, 0.5 * w.height)]
    if below:
        return [min(below, key=lambda w: w.top)]
    beside = [w for w in others if w.left >= label.right - 4 and w.top < middle < w.bottom]
    near = [w for w in beside if w.left - label.right < 4 * label.height]
    return [min(near, key=lambda w: w.left)] if near else []


def _value(name: str, text: str) -> str:
    """A text as a value of the field; empty if it is none."""
    if name == "date":
        date = read_date(text)
        return date.isoformat() if date else ""
    bare = re.sub(r"\s+", "", text.upper()).removesuffix("FPS").strip(".,:;")
    return bare if VALUES[name].fullmatch(bare) else ""


def read_date(text: str) -> datetime.date | None:
    """A date in any of the recipe's forms; None for anything else."""
    parts = re.findall(r"\d+|[A-Z]+", text.upper())
    if len(parts) != 3:
        return None
    names = {**{m: i for i, m in enumerate(MONTHS, 1)}, **{m: i for i, m in enumerate(LONG_MONTHS, 1)}}
    if any(part.isalpha() and part not in names for part in parts):
        return None
    numbers = [names.get(part) or int(part) for part in parts]
    if len(parts[0]) == 4 and parts[0].isdigit():
        year, month, day = numbers
    elif parts[0].isalpha() or ("/" in text and numbers[0] <= 12 and not parts[1].isalpha()):
        month, day, year = numbers
    else:
        day, month, year = numbers
    try:
        return datetime.date(year + 2000 if year < 100 else year, month, day)
    except ValueError:
        return None


def rapid() -> Callable[[Pixels], list[Word]]:
    """RapidOCR on one thread."""
    from rapidocr_onnxruntime import RapidOCR  # noqa: PLC0415 - either program may be missing

    program = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)

    def words(pixels: Pixels) -> list[Word]:
        found, _ = program(np.ascontiguousarray(pixels[:, :, ::-1]))
        boxes = [(np.array(box), text) for box, text, _ in found or ()]
        return [Word(text, *box.min(0), *box.max(0)) for box, text in boxes]

    return words


def tesseract() -> Callable[[Pixels], list[Word]]:
    """Tesseract, words on a sheet wherever they stand."""
    import pytesseract  # noqa: PLC0415 - either program may be missing

    def words(pixels: Pixels) -> list[Word]:
        found = pytesseract.image_to_data(pixels, config="--psm 11", output_type=pytesseract.Output.DICT)
        keys = ("text", "left", "top", "width", "height", "conf")
        rows = zip(*(found[key] for key in keys), strict=True)
        return [Word(t, x, y, x + w, y + h) for t, x, y, w, h, sure in rows if t.strip() and float(sure) > 0]

    return words


PROGRAMS = {"RapidOCR": rapid, "Tesseract": tesseract}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sets", nargs="+", default=list(FOREIGN), help=f"of {', '.join((*SETS, *FOREIGN))}, or FOLDER:LEVEL"
    )
    parser.add_argument("--frames", type=int, default=100, help="per set")
    parser.add_argument("--programs", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS))
    chosen = parser.parse_args(arguments)
    print(f"| program | set | whole slates, % | {' | '.join(FIELDS)} | read as a slate, % | ms |")
    print("|---" * (len(FIELDS) + 5) + "|")
    for program in chosen.programs:
        words = PROGRAMS[program]()
        for name in chosen.sets:
            tally = Tally()
            for seen in chosen_frames(name, chosen.frames):
                started = time.process_time() if program == "RapidOCR" else time.perf_counter()
                text = assign(words(seen.pixels))
                spent = (time.process_time() if program == "RapidOCR" else time.perf_counter()) - started
                tally.add(seen.answer, text, 0, 0, spent)
            print(_row(program, Path(name).name, tally), flush=True)
    return 0


def _row(program: str, name: str, tally: Tally) -> str:
    count = max(tally.frames, 1)
    shares = " | ".join(f"{100 * tally.fields[f] / count:.0f}" for f in FIELDS)
    spent = f"{1000 * tally.seconds / count:.0f}"
    return f"| {program} | {name} | {tally.cell()} | {shares} | {100 * tally.as_slate / count:.0f} | {spent} |"


if __name__ == "__main__":
    sys.exit(main())
