"""One answer on its way, from a request that waits to the last event: a turn of the scheduler decodes one block.

Knows generations and events; not who asked, nor how events are written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ..decode.block import Step
from ..decode.session import Generation, Result
from .settled_text import SettledText

__all__ = ["Begun", "Ended", "Event", "Failed", "Mailbox", "Stepped", "Ticket", "is_last"]


@dataclass(frozen=True)
class Begun:
    """The prompt is read, and the first block is about to be denoised."""

    prompt_tokens: int


@dataclass(frozen=True)
class Stepped:
    """One step of denoising."""

    step: Step
    text: str
    """Text that became final with it: of a finished block, and never a part of a stop string."""


@dataclass(frozen=True)
class Ended:
    """The answer is whole."""

    text: str
    """All of it, up to a stop token or string."""
    rest: str
    """The piece of it that no step brought."""
    reason: str
    """Word of `Result.stop_reason`; `stop` as well where a stop string came."""
    result: Result


@dataclass(frozen=True)
class Failed:
    """There is no answer, or no more of it."""

    error: BaseException


Event: TypeAlias = Begun | Stepped | Ended | Failed


def is_last(event: Event) -> bool:
    """True for the event after which none comes."""
    return isinstance(event, Ended | Failed)


class Mailbox(Protocol):
    """The place that events are put into."""

    @property
    def full(self) -> bool:
        """Nothing should be put before somebody has read."""

    def put(self, event: Event) -> None:
        """Add an event."""


class Ticket:
    """One answer: waiting, running, or over."""

    def __init__(
        self, client: Hashable, begin: Callable[[], Generation], outbox: Mailbox, stops: tuple[str, ...] = ()
    ) -> None:
        """`client`: equal for requests that share one place in the order. `begin` reads the prompt, pictures included;
        it is called once there is a place.
        """
        self.client, self.outbox = client, outbox
        self._begin, self._text = begin, SettledText(stops)
        self._generation: Generation | None = None
        self._cancelled = threading.Event()

    @property
    def ready(self) -> bool:
        """A turn would get on: the client keeps up, or is gone."""
        return self._cancelled.is_set() or not self.outbox.full

    @property
    def cancelled(self) -> bool:
        """Nobody waits for it any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End before the next step. May be called from any thread, and more than once."""
        self._cancelled.set()
        if self._generation is not None:
            self._generation.cancel()

    def turn(self) -> bool:
        """Read the prompt, or decode one block; false once the answer is over. Never raises an Exception."""
        try:
            if self._generation is None:
                return self._opened()
            return self._block(self._generation)
        except Exception as error:  # whatever befalls one answer, the next one is decoded
            self._fail(error)
            return False

    def _opened(self) -> bool:
        if self._cancelled.is_set():
            self._fail(InterruptedError("cancelled before it began"))
            return False
        self._generation = self._begin()
        self.outbox.put(Begun(self._generation.result.prompt_tokens))
        return True

    def _block(self, generation: Generation) -> bool:
        """Take steps up to the end of a block, or as many as the client keeps up with."""
        if self._cancelled.is_set():
            generation.cancel()
        for step in generation:
            piece = self._text.grown(generation.text) if step.final else ""
            self.outbox.put(Stepped(step, piece))
            if self._text.stopped:
                break
            if step.final or self.outbox.full:
                return True
        self._end(generation)
        return False

    def _end(self, generation: Generation) -> None:
        stopped = self._text.stopped
        generation.close()
        result = generation.result
        rest = self._text.grown(result.text, last=True)
        reason = "stop" if stopped or self._text.stopped else result.stop_reason
        self.outbox.put(Ended(self._text.whole, rest, reason, result))

    def _fail(self, error: BaseException) -> None:
        if self._generation is not None:
            self._generation.close()
        self.outbox.put(Failed(error))
