"""Turns of answers: each of some tickets gets one forward on, by forwards that they share where they can.

Knows tickets and generations; not whose turn it is, nor how many may wait.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from weakref import WeakSet

from ...decode.session import Generation, Session
from ...decode.together import Together
from .ticket import Ticket

__all__ = ["Neighbours", "Turns"]


class Neighbours:
    """Sessions whose caches stand in one pool for as long as one of them lives, for each model by itself."""

    def __init__(self) -> None:
        self._living: dict[Hashable, WeakSet[Session]] = {}

    def session(self, model: Hashable, made: Callable[[Session | None], Session]) -> Session:
        """A session that is `made` beside another one of its model; beside none where it is the first."""
        living = self._living.setdefault(model, WeakSet())
        session = made(next(iter(living), None))
        living.add(session)
        return session


class Turns:
    """Answers that are under way. Used by one thread."""

    def __init__(self) -> None:
        self._together = Together()
        self._tickets: dict[Generation, Ticket] = {}

    def __call__(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Begin those that are new, and run one forward of each; returns those that are over."""
        over = [ticket for ticket in tickets if ticket.generation is None and not self._begun(ticket)]
        going = {ticket.generation for ticket in tickets if ticket not in over}
        resting = self._tickets.keys() - going
        try:
            events = self._together.turn(resting)
        except Exception as error:  # of no answer alone: all that took part are over, and the next ones are decoded
            return over + [self._failed(generation, error) for generation in list(self._tickets.keys() - resting)]
        for event in events:
            ticket = self._tickets[event.generation]
            if event.step is not None:
                ticket.step(event.step)
                continue
            over.append(self._tickets.pop(event.generation))
            if event.error is None:
                ticket.end()
            else:
                ticket.fail(event.error)
        return over

    def _begun(self, ticket: Ticket) -> bool:
        generation = ticket.begin()
        if generation is None:
            return False
        self._tickets[generation] = ticket
        self._together.join(generation)
        return True

    def _failed(self, generation: Generation, error: Exception) -> Ticket:
        self._together.leave(generation)
        ticket = self._tickets.pop(generation)
        ticket.fail(error)
        return ticket
