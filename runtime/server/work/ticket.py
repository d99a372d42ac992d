"""One answer on its way, from a request that waits to its last event.

Knows generations and events; not who asked, nor how events are written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ...decode.block import Step
from ...decode.session import Generation, TextResult
from ..request.refusal import Refusal
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
    """Word of `TextResult.stop_reason`; `stop` as well where a stop string came."""
    result: TextResult


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
        self.generation: Generation | None = None
        """Its decoding; None before it has begun."""
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
        if self.generation is not None:
            self.generation.cancel()

    def begin(self) -> Generation | None:
        """Read the prompt; None where that failed, and the ticket is over. Never raises an Exception."""
        try:
            if self._cancelled.is_set():
                raise _stopped()
            self.generation = self._begin()
        except Exception as error:  # whatever befalls one answer, the next one is decoded
            self.fail(error)
            return None
        self.outbox.put(Begun(self.generation.result.prompt_tokens))
        if self._cancelled.is_set():
            self.generation.cancel()
        return self.generation

    def step(self, step: Step) -> None:
        """Tell of a step; ends the answer where a stop string has come."""
        assert self.generation is not None
        if self._text.stopped:
            return
        piece = self._text.grown(self.generation.settled_text) if step.final else ""
        self.outbox.put(Stepped(step, piece))
        if self._text.stopped:
            self.generation.cancel()

    def end(self) -> None:
        """Tell of the end of the answer."""
        assert self.generation is not None
        self.generation.close()
        result, stopped = self.generation.result, self._text.stopped
        if self._cancelled.is_set() and not stopped and result.stop_reason == "cancelled":
            self.fail(_stopped())
            return
        rest = self._text.grown(result.text, last=True)
        reason = "stop" if stopped or self._text.stopped else result.stop_reason
        self.outbox.put(Ended(self._text.whole, rest, reason, result))

    def fail(self, error: BaseException) -> None:
        """Tell that there is no answer, or no more of it."""
        if self.generation is not None:
            self.generation.close()
        self.outbox.put(Failed(error))


def _stopped() -> Refusal:
    return Refusal(503, "the server is stopping; ask again when it is back", "stopping", retry_after=5)
