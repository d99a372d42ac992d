"""The way in and out of a process that decodes; `export/peers/process.py` is the other end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["answer", "timed"]

Tokens = Callable[[str, Sequence[int], Sequence[int | None]], Iterable[int]]
"""Form, prompt, and the tokens that follow it, None where it is the preferred one; gives a preferred token for each."""


def answer(version: str, forms: Iterable[str], tokens: Tokens) -> None:
    """Say what is here, and decode what is asked for until the pipe closes."""
    _say({"version": version, "forms": [*forms]})
    for line in sys.stdin:
        asked = json.loads(line)
        made, seconds, busy = timed(iter(tokens(asked["form"], asked["prompt"], asked["following"])))
        _say({"tokens": made, "seconds": seconds, "cpu_seconds": busy})


def timed(tokens: Iterator[int]) -> tuple[list[int], float, float]:
    """All tokens, the seconds from the first to the last, and the processor's in this process."""
    made = [next(tokens)]
    started, before = time.perf_counter(), time.process_time()
    made.extend(tokens)
    return made, time.perf_counter() - started, time.process_time() - before


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)
