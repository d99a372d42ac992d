"""One question about many frames, one after the other in one session, and what came of each.

A frame that cannot be read is a reading with an error, and the next one is read. Does not know what the question is,
nor how frames become prompts.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..engines.errors import A2DError, NumericsError, RequestError
from .console.lines import Progress
from .decode.block import Prompt
from .decode.budget import Clock
from .decode.options import Options
from .decode.sequence import FREE, Form
from .decode.session import Generation, Session, TextResult
from .decode.together import Together
from .inputs.prompt import Picture

__all__ = ["FAULTS", "Reading", "readings"]

FAULTS = (RequestError, NumericsError)
"""Errors that one frame can be to blame for; anything else would meet the next frame as well."""


Begin = Callable[[Picture, Session], Generation]
"""Asks of a frame in a session."""


@dataclass(frozen=True)
class Reading:
    """The outcome of one frame: a result, or an error."""

    image: Picture
    """The frame as it was given; for one of a folder, its path."""
    result: TextResult | None
    error: A2DError | None
    seconds: float
    """For all of it: the file, the vision graph, the decoding."""

    @property
    def text(self) -> str | None:
        """Text that was read; None where there is an error."""
        return None if self.result is None else self.result.text


def readings(
    frames: Iterable[Picture],
    ask: Callable[[Picture, Clock | None], Prompt],
    sessions: Sequence[Session],
    options: Options,
    strict: bool,
    progress: Progress,
    form: Form = FREE,
) -> Iterator[Reading]:
    """Read the frames in turn, as they are asked for. `strict` raises a frame's error instead of going on.

    Several sessions, which share a pool, read as many frames side by side; readings keep the frames' order.
    """

    def begin(frame: Picture, session: Session) -> Generation:
        clock = session.clock(options)  # a budget counts from before the frame is read
        return session.stream(ask(frame, clock), options, form, clock=clock)

    one_by_one = (_read(frame, begin, sessions[0]) for frame in frames)
    with progress:
        for reading in one_by_one if len(sessions) == 1 else _side_by_side(frames, begin, sessions):
            if strict and reading.error is not None:
                raise reading.error
            progress.add()
            with progress.aside():
                yield reading


def _read(frame: Picture, begin: Begin, session: Session) -> Reading:
    started = time.perf_counter()
    result: TextResult | None = None
    error: A2DError | None = None
    try:
        result = begin(frame, session).run()
    except FAULTS as fault:
        error = fault
    return Reading(frame, result, error, time.perf_counter() - started)


@dataclass
class _Frame:
    """A frame that is being read."""

    image: Picture
    started: float
    session: Session
    generation: Generation | None = None
    error: A2DError | None = None
    reading: Reading | None = None

    def end(self, error: Exception | None) -> None:
        """Make the reading. Raises errors that no frame is to blame for."""
        if error is not None and not isinstance(error, FAULTS):
            raise error
        result = None if error is not None or self.generation is None else self.generation.result
        self.reading = Reading(self.image, result, error, time.perf_counter() - self.started)


END = object()
"""Stands behind the last frame: None is a frame too, as other libraries give for one that they cannot read."""


def _side_by_side(frames: Iterable[Picture], begin: Begin, sessions: Sequence[Session]) -> Iterator[Reading]:
    """The readings in the frames' order; at most twice as many frames as sessions are read ahead."""
    together, free, queue, source = Together(), list(sessions), deque[_Frame](), iter(frames)
    left = True
    while left or queue:
        while left and free and len(queue) < 2 * len(sessions):
            image = next(source, END)
            left = image is not END
            if left:
                queue.append(_begun(image, begin, free.pop(), together))  # type: ignore[arg-type]
                if queue[-1].reading is not None:
                    free.append(queue[-1].session)
        for event in together.turn():
            if event.step is None:
                frame = next(frame for frame in queue if frame.generation is event.generation)
                frame.end(event.error)
                free.append(frame.session)
        while queue and queue[0].reading is not None:
            reading = queue.popleft().reading
            assert reading is not None
            yield reading


def _begun(image: Picture, begin: Begin, session: Session, together: Together) -> _Frame:
    frame = _Frame(image, time.perf_counter(), session)
    try:
        frame.generation = begin(image, session)
        together.join(frame.generation)
    except FAULTS as fault:
        frame.end(fault)
    return frame
