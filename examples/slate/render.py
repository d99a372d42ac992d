"""Render slates to look at, or to ship: frames with their truth, or one contact sheet.

python examples/slate/render.py --set medium --count 24 --sheet sheet.png
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
from recipe.frame import HEIGHT, WIDTH, Sample
from recipe.sets import SETS, frames

COLUMNS = 4


def sheet(samples: list[Sample]) -> Image.Image:
    """All frames on one image."""
    rows = -(-len(samples) // COLUMNS)
    image = Image.new("RGB", (COLUMNS * (WIDTH + 2), rows * (HEIGHT + 2)), (90, 90, 90))
    for number, sample in enumerate(samples):
        at = (number % COLUMNS * (WIDTH + 2), number // COLUMNS * (HEIGHT + 2))
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
    parser.add_argument("--packages", action="store_true", help="print the font packages and stop")
    chosen = parser.parse_args(arguments)
    if chosen.packages:
        print(" ".join(PACKAGES))
        return 0
    if not (chosen.sheet or chosen.out):
        parser.error("got neither --sheet nor --out, expected one of them; say where to write")
    samples = list(frames(chosen.set, chosen.count))
    if chosen.sheet:
        sheet(samples).save(chosen.sheet)
    if chosen.out:
        ship(samples, chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
