"""Clips of foreign boards through `a2d log`: how many are read whole when the frames of a shot vote.

    python examples/slate/shots.py --bundle slate.a2d --set "foreign easy" --count 100

A clip is a board held for a second by a drifting camera and then a moving scene, as H.264 in 4:2:0. Prints one line;
`--keep DIR` leaves clips and logs there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from recipe.foreign import LEVELS, held

from a2d.calibration.verify.intervals import wilson
from a2d.runtime.cli.log import main as log
from a2d.runtime.dailies.movie import opened

RATE = 24
BOARD, AFTER = 24, 24
"""Frames of the board, and of the scene behind it."""


def frames(name: str, index: int) -> Iterator[tuple[NDArray[np.uint8], str]]:
    """The pictures of a clip, each with what stands on its board."""
    made = list(held(name, index, BOARD))
    yield from ((frame.pixels, frame.answer) for frame in made)
    height, width, _ = made[0].pixels.shape
    rng = np.random.default_rng(index)
    ramp = np.linspace(40, 220, width) * rng.uniform(0.4, 1.0, (3, 1))
    scene = np.repeat(ramp.T[None], height, 0).astype(np.uint8)
    for number in range(AFTER):
        yield np.roll(scene, 12 * number, axis=1), "no slate"


def film(path: Path, name: str, index: int) -> str:
    """Write the clip; returns what stands on its board."""
    pictures, answers = zip(*frames(name, index), strict=True)
    movie = opened(path, *pictures[0].shape[:2], RATE, f"board {index} of {name}")
    movie.add(np.stack(pictures))
    movie.close()
    return str(answers[0])


def measured(bundle: str, name: str, count: int, work: Path) -> tuple[int, int]:
    """Boards that the log has whole, and second shots that it takes for a slate."""
    clips = work / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    truth = {f"{index:04}.mp4": film(clips / f"{index:04}.mp4", name, index) for index in range(count)}
    status = log([str(clips), "-o", str(work / "log"), "--bundle", bundle, "--threads", "1", "--quiet"])
    if status:
        raise RuntimeError(f"a2d log ended with {status}; the clips are in {clips}")
    told = [json.loads(line) for line in (work / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    first = {Path(line["file"]).name: line["text"] for line in told if line["shot"] == 1}
    later = [line["text"] for line in told if line["shot"] > 1]
    return sum(first.get(clip) == answer for clip, answer in truth.items()), sum(t != "no slate" for t in later)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="slate", help="who reads: a bundle, or a built-in one's name")
    parser.add_argument("--set", choices=[name for name in LEVELS if "no slate" not in name], default="foreign easy")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--keep", type=Path, help="a folder for clips and logs; default: none is kept")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        right, wrong = measured(chosen.bundle, chosen.set, chosen.count, chosen.keep or Path(place))
    low, high = wilson(right, chosen.count)
    share = f"{100 * right / chosen.count:.0f} % ({100 * low:.0f}-{100 * high:.0f})"
    print(f"{chosen.set}: {share} of {chosen.count} boards whole in the log; {wrong} scenes read as a slate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
