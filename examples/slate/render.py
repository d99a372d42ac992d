"""Render slates to look at, or to ship: frames with their truth, or one contact sheet.

python examples/slate/render.py --set medium --count 24 --sheet sheet.png
python examples/slate/render.py --views 0.6 --count 24 --sheet sheet.png
python examples/slate/render.py --set easy --count 12 --out frames
apt-get install --no-install-recommends $(python examples/slate/render.py --packages)
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from PIL import Image
from recipe.fonts import PACKAGES
from recipe.frame import Sample
from recipe.sets import SETS, frames
from recipe.views import view

COLUMNS = 4
VIEW = (448, 224)
"""Size of a frame of training."""


def sheet(samples: list[Sample]) -> Image.Image:
    """All frames on one image."""
    rows = -(-len(samples) // COLUMNS)
    height, width, _ = samples[0].pixels.shape
    image = Image.new("RGB", (COLUMNS * (width + 2), rows * (height + 2)), (90, 90, 90))
    for number, sample in enumerate(samples):
        at = (number % COLUMNS * (width + 2), number // COLUMNS * (height + 2))
        image.paste(Image.fromarray(sample.pixels), at)
    return image


def ship(samples: list[Sample], folder: Path) -> None:
    """PNG files, and their truth in truth.json."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = []
    for number, sample in enumerate(samples):
        name = f"slate_{number:03}.png"
        Image.fromarray(sample.pixels).save(folder / name, optimize=True)
        truth.append({"file": name, "truth": sample.answer})
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=list(SETS), default="easy")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--sheet", type=Path, help="write one image with all frames")
    parser.add_argument("--out", type=Path, help="write one file per frame, and truth.json")
    parser.add_argument(
        "--views", type=float, metavar="D", help="of training, up to this difficulty, in place of a set"
    )
    parser.add_argument("--packages", action="store_true", help="print the font packages and stop")
    chosen = parser.parse_args(arguments)
    if chosen.packages:
        print(" ".join(PACKAGES))
        return 0
    if not (chosen.sheet or chosen.out):
        parser.error("got neither --sheet nor --out, expected one of them; say where to write")
    if chosen.views is None:
        samples = list(frames(chosen.set, chosen.count))
    else:
        samples = [view("look", i, chosen.views * i / chosen.count, VIEW) for i in range(chosen.count)]
    if chosen.sheet:
        sheet(samples).save(chosen.sheet)
    if chosen.out:
        ship(samples, chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
