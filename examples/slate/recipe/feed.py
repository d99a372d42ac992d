"""Batches of rendered samples, in order, from this process or from several workers. Knows no network."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from .grid import Grid, labels
from .views import view

__all__ = ["Batch", "batches", "render"]


@dataclass(frozen=True)
class Batch:
    """Samples `first` to `first + N` of a stream."""

    first: int
    pixels: NDArray[np.uint8]
    answers: tuple[str, ...]
    chars: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    places: NDArray[np.uint8]
    sources: NDArray[np.bool_]


def render(stream: str, first: int, count: int, high: float, grid: Grid, path: str = "") -> Batch:
    """The samples, each with a difficulty of its own in [0, high]; of one drawing path, or, without, of all."""
    size = (grid.width, grid.height)
    drawn = [Random(f"slate/{stream}/{i}/d").random() for i in range(first, first + count)]
    samples = [view(stream, first + i, high * share, size, path=path) for i, share in enumerate(drawn)]
    shown = [labels(s.marks, grid) for s in samples]
    return Batch(
        first=first,
        pixels=np.stack([s.pixels for s in samples]),
        answers=tuple(s.answer for s in samples),
        chars=np.stack([s.chars for s in shown]),
        kinds=np.stack([s.kinds for s in shown]),
        places=np.stack([s.places for s in shown]),
        sources=np.stack([s.sources for s in shown]),
    )


def batches(
    stream: str, first: int, count: int, high: Callable[[int], float], grid: Grid, workers: int, path: str = ""
) -> Iterator[Batch]:
    """Batches from sample `first` on, without end; `high(i)` is the greatest difficulty at sample i.

    Without workers it renders when asked. With some, it renders up to two batches a worker ahead.
    """
    if workers < 1:
        while True:
            yield render(stream, first, count, high(first), grid, path)
            first += count
    # A fork of a process that runs torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        ahead: deque[Future[Batch]] = deque()
        try:
            while True:
                while len(ahead) < 2 * workers:
                    ahead.append(pool.submit(render, stream, first, count, high(first), grid, path))
                    first += count
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
