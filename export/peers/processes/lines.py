"""The way in and out of a process that decodes; `export/peers/process.py` is the other end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

__all__ = ["answer", "timed"]

Tokens = Callable[[str, Sequence[int], Sequence[int | None]], Iterable[int]]
"""Form, prompt, and the tokens that follow it, None where it is the preferred one; gives a preferred token for each."""


def answer(version: str, forms: Iterable[str], tokens: Tokens) -> None:
    """Say what is here, and decode what is asked for until the pipe closes."""
    _say({"version": version, "forms": [*forms]})
    for line in sys.stdin:
        asked = json.loads(line)
        _say(timed(iter(tokens(asked["form"], asked["prompt"], asked["following"]))))


def timed(tokens: Iterator[int]) -> dict[str, object]:
    """All tokens; seconds from the first to the last, and up to the first; the same of this process's processor."""
    clocks = [(time.perf_counter(), time.process_time())]
    made = [next(tokens)]
    clocks.append((time.perf_counter(), time.process_time()))
    made.extend(tokens)
    clocks.append((time.perf_counter(), time.process_time()))
    (first, first_busy), (seconds, busy) = ((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(clocks))
    said = {"seconds": seconds, "cpu_seconds": busy, "first_seconds": first, "first_cpu_seconds": first_busy}
    return {"tokens": made, **said}


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)
