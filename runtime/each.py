"""One question about many frames, one after the other in one session, and what came of each.

A frame that cannot be read is a reading with an error, and the next one is read. Does not know what the question is,
nor how frames become prompts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..engines.errors import A2DError, NumericsError, RequestError
from .console.progress import Progress
from .decode.options import Options
from .decode.sequence import Prompt
from .decode.session import Result, Session
from .inputs.prompt import Picture

__all__ = ["Reading", "readings"]

FAULTS = (RequestError, NumericsError)
"""Errors that one frame can be to blame for; anything else would meet the next frame as well."""


@dataclass(frozen=True)
class Reading:
    """The outcome of one frame: a result, or an error."""

    image: Picture
    """The frame as it was given; for one of a folder, its path."""
    result: Result | None
    error: A2DError | None
    seconds: float
    """For all of it: the file, the vision graph, the decoding."""

    @property
    def text(self) -> str | None:
        """Text that was read; None where there is an error."""
        return None if self.result is None else self.result.text


def readings(
    frames: Iterable[Picture],
    ask: Callable[[Picture], Prompt],
    session: Session,
    options: Options,
    strict: bool,
    progress: Progress,
) -> Iterator[Reading]:
    """Read the frames in turn, as they are asked for. `strict` raises a frame's error instead of going on."""
    with progress:
        for frame in frames:
            reading = _read(frame, ask, session, options)
            if strict and reading.error is not None:
                raise reading.error
            progress.add()
            with progress.aside():
                yield reading


def _read(frame: Picture, ask: Callable[[Picture], Prompt], session: Session, options: Options) -> Reading:
    started = time.perf_counter()
    result: Result | None = None
    error: A2DError | None = None
    try:
        result = session.generate(ask(frame), options)
    except FAULTS as fault:
        error = fault
    return Reading(frame, result, error, time.perf_counter() - started)
