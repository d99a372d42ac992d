"""Peaks of memory of a film by two towers, stage by stage, beside what `a2d plan` says of them on a CPU.

    python benchmarks/towers_peaks.py BUNDLE [--size 256x320] [--frames 17] [--words 160] [--precision fp32]

Films two guided steps from a grey picture, with one thread, letting go of what `a2d film` lets go of. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path

import numpy as np

import a2d
from a2d.__main__ import main as command
from a2d.runtime.film.towers import TowerNetwork
from a2d.runtime.heap import release

WORDS = ["the", "red", "ball", "rolls", "past", "the", "yellow", "taxi"]


def peak() -> int:
    """Bytes of this process at most since the last reset."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def reset() -> None:
    """Begin counting anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def measured(a: argparse.Namespace, height: int, width: int) -> tuple[dict[str, int], int]:
    """The peak of each stage, and the prompt's length in tokens."""
    words = (WORDS * (a.words // len(WORDS) + 1))[: a.words]
    model, peaks = a2d.load(a.bundle, precision=a.precision, threads=1), dict[str, int]()

    def step(done: object) -> None:
        if done.step == done.steps - 1:  # type: ignore[attr-defined]
            peaks["denoising"] = peak()
            film.network.let_go()
            model.unload("velocity")
            release(cycles=False)
            reset()

    film = model.film(
        " ".join(words), negative=" ".join(reversed(words)), image=np.full((height, width, 3), 90, np.uint8),
        frames=a.frames, height=height, width=width, steps=2, guidance=4.0, plain=True, on_step=step,
    )  # fmt: skip
    assert isinstance(film.network, TowerNetwork), "a bundle of two towers"
    peaks["reading"] = peak()
    for graph in ("backbone", "encode_first"):
        model.unload(graph)
    release(cycles=False)
    reset()
    for block in film:
        del block
    return peaks | {"pixels": peak()}, film.network.wanted.condition.length


def main() -> None:
    """Film, plan, and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--size", default="256x320")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--words", type=int, default=160)
    parser.add_argument("--precision", default="fp32")
    asked = parser.parse_args()
    peaks, length = measured(asked, *map(int, asked.size.split("x")))
    said = io.StringIO()
    flags = ["--frames", str(asked.frames), "--size", asked.size, "--context", str(length)]
    with contextlib.redirect_stdout(said):
        command(["plan", asked.bundle, "--target", "cpu", "--precision", asked.precision, *flags, "--json"])
    plan = json.loads(said.getvalue())
    for stage in ("reading", "denoising", "pixels"):
        planned, took = plan[f"{stage}_bytes"], peaks[stage]
        print(f"{stage:<10} planned {planned / 1e6:8.1f} MB  measured {took / 1e6:8.1f} MB  {planned / took:.2f}")


if __name__ == "__main__":
    main()
