"""Render slates to look at, or to ship: frames with their truth, or one contact sheet.

python examples/slate/render.py --set medium --count 24 --sheet sheet.png
python examples/slate/render.py --views 0.6 --count 24 --sheet sheet.png
python examples/slate/render.py --set easy --count 12 --out frames
python examples/slate/render.py --set "foreign easy" --count 4 --out frames       before plain grounds, as the demo's
apt-get install --no-install-recommends $(python examples/slate/render.py --packages)
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from recipe.fonts import PACKAGES
from recipe.frame import Sample
from recipe.sets import FOREIGN, SETS, Seen, frames
from recipe.views import view

COLUMNS = 4
VIEW = (448, 224)
"""Size of a frame of training."""
FILMED = (640, 360)
"""Size of a foreign frame that is shipped."""


def shipped(name: str, count: int) -> list[Sample | Seen]:
    """The first frames of a set; foreign ones before plain grounds, since photographs are not ours to give away."""
    if name not in FOREIGN:
        return list(frames(name, count))
    from recipe.foreign import frame  # noqa: PLC0415 - it needs a rasterizer that nothing else does

    made = [frame(name, index, FILMED, photographs=False) for index in range(count)]
    return [Seen(each.pixels, each.answer) for each in made]


def sheet(samples: Sequence[Sample | Seen]) -> Image.Image:
    """All frames on one image."""
    rows = -(-len(samples) // COLUMNS)
    height, width, _ = samples[0].pixels.shape
    image = Image.new("RGB", (COLUMNS * (width + 2), rows * (height + 2)), (90, 90, 90))
    for number, sample in enumerate(samples):
        at = (number % COLUMNS * (width + 2), number // COLUMNS * (height + 2))
        image.paste(Image.fromarray(sample.pixels), at)
    return image


def ship(samples: Sequence[Sample | Seen], name: str, folder: Path) -> None:
    """One file a frame, JPEG for filmed ones, and their truth in truth.json."""
    folder.mkdir(parents=True, exist_ok=True)
    ending, truth = "jpg" if name in FOREIGN else "png", []
    for number, sample in enumerate(samples):
        file = f"{name.replace(' ', '-')}-{number:02}.{ending}"
        Image.fromarray(sample.pixels).save(folder / file, optimize=True, quality=80)
        truth.append({"file": file, "set": name, "truth": sample.answer})
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=[*SETS, *FOREIGN], default="easy")
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
        samples = shipped(chosen.set, chosen.count)
    else:
        samples = [view("look", i, chosen.views * i / chosen.count, VIEW) for i in range(chosen.count)]
    if chosen.sheet:
        sheet(samples).save(chosen.sheet)
    if chosen.out:
        ship(samples, chosen.set, chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
