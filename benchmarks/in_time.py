"""Answers in time: 500 readings of slates under a budget, alone and beside programs that keep the cores busy.

usage: in_time.py BUNDLE FRAMES... [--budgets 60ms,100ms] [--answers 500] [--busy N]

Prints a row for each budget: steps, seconds at the median, the 99th percentile and at most, the 99th percentile of what
is over the budget in steps (the longest step of the answer, or of the last one that had some), how many were over by
more than a step, of how many the picture or the prompt was not read, and what was cut. Times are wall-clock, from the
call of `stream` to the last token, the picture included; one answer before the first budget measures the machine.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np

import a2d

COLUMNS = (
    "budget",
    "steps",
    "median",
    "p99",
    "most",
    "over, p99, in steps",
    "over by more than one",
    "picture not read",
)
COLUMNS += ("prompt not read", "early", "cut", "load")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("frames", nargs="+", type=Path)
    parser.add_argument("--budgets", default="60ms,100ms")
    parser.add_argument("--answers", type=int, default=500)
    parser.add_argument("--busy", type=int, default=0, help="processes that compute meanwhile")
    parser.add_argument("--precision")
    parser.add_argument("--max-tokens", type=int, default=48)
    arguments = parser.parse_args()
    busy = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(arguments.busy)]
    for process in busy:
        process.start()
    try:
        model = a2d.load(arguments.bundle, threads=1, precision=arguments.precision)
        model.generate(images=[str(arguments.frames[0])], budget="60 s", max_tokens=8)
        print(f"| {' | '.join(COLUMNS)} |")
        for budget in arguments.budgets.split(","):
            print(_row(model, budget, arguments), flush=True)
        print(f"load at the end {os.getloadavg()[0]:.1f}, {busy and len(busy)} busy processes")
    finally:
        for process in busy:
            process.terminate()


def _row(model: a2d.Model, budget: str, arguments: argparse.Namespace) -> str:
    """Answers under one budget."""
    spans: list[float] = []
    over: list[float] = []
    longest: list[float] = []
    steps: set[int] = set()
    count = dict.fromkeys(("late", "unread", "unbegun", "early", "cut"), 0)
    for frame in itertools.islice(itertools.cycle(arguments.frames), arguments.answers):
        began = last = time.perf_counter()
        generation = model.stream(images=[str(frame)], budget=budget, max_tokens=arguments.max_tokens)
        seen: list[float] = []
        for _ in generation:
            now = time.perf_counter()
            seen.append(now - last)
            last = now
        spans.append(time.perf_counter() - began)
        longest += [max(seen[1:])] if seen[1:] else []  # the first one reads the prompt
        made = generation.result.budget
        step = longest[-1] if seen[1:] or longest else made.step_seconds
        over.append(max(0.0, spans[-1] - made.seconds) / step)
        count["late"] += over[-1] > 1
        count["unread"] += made.cut == "pictures"
        count["unbegun"] += made.cut == "prompt"
        count["early"] += bool(made.early)
        count["cut"] += made.cut == "answer"
        steps.add(made.steps)
    low, high = min(steps), max(steps)
    cells = [budget, f"{low} to {high}", *(f"{1e3 * np.quantile(spans, q):.0f} ms" for q in (0.5, 0.99, 1))]
    cells += [f"{np.quantile(over, 0.99):.2f}", *map(str, count.values()), f"{os.getloadavg()[0]:.0f}"]
    return f"| {' | '.join(cells)} |"


def _compute() -> None:
    """Keep a core busy."""
    matrix = np.ones((256, 256), np.float32)
    while True:
        np.matmul(matrix, matrix)


if __name__ == "__main__":
    main()
