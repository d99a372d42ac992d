"""Render shots to look at: a contact sheet of some, four frames each, with their prompts; or one shot's frames.

python examples/animatic/render.py --count 12 --sheet sheet.png
python examples/animatic/render.py --index 5 --frames shot
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from studio.camera import HEIGHT, WIDTH
from studio.clip import clip
from studio.corpus import EVALUATION, prompt_of, scene_of

SHOWN = (0, 5, 11, 16)
CAPTION = 14


def sheet(clips: list[NDArray[np.uint8]], captions: list[str], columns: int = 2) -> Image.Image:
    """Four frames of every clip in a row, its prompt under them."""
    wide, high = len(SHOWN) * (WIDTH + 1) + 6, HEIGHT + CAPTION + 4
    image = Image.new("RGB", (columns * wide, -(-len(clips) // columns) * high), (24, 24, 28))
    draw = ImageDraw.Draw(image)
    for number, (frames, caption) in enumerate(zip(clips, captions, strict=True)):
        x, y = number % columns * wide, number // columns * high
        for place, frame in enumerate(SHOWN):
            image.paste(Image.fromarray(frames[frame]), (x + place * (WIDTH + 1), y))
        draw.text((x + 2, y + HEIGHT + 1), caption, fill=(220, 220, 220))
    return image


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", default=EVALUATION, help="name of the stream of scenes")
    parser.add_argument("--index", type=int, default=0, help="the first scene")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--sheet", type=Path, help="write one image with four frames of every shot")
    parser.add_argument("--frames", type=Path, help="write all frames of the first shot to this folder")
    chosen = parser.parse_args(arguments)
    if not (chosen.sheet or chosen.frames):
        parser.error("got neither --sheet nor --frames, expected one of them; say where to write")
    scenes = [scene_of(chosen.stream, index) for index in range(chosen.index, chosen.index + chosen.count)]
    if chosen.sheet:
        sheet([clip(scene) for scene in scenes], [prompt_of(scene, whole=True) for scene in scenes]).save(chosen.sheet)
    if chosen.frames:
        chosen.frames.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(clip(scenes[0])):
            Image.fromarray(frame).save(chosen.frames / f"{number:02}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
