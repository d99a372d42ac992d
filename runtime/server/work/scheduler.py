"""Many answers in one thread: those that have a place take turns, several at a time, so that none waits for another's
end.

Whoever has had least so far is served first: places and turns go by client, and within a client in the order of
arrival. Knows tickets; not models, prompts or sockets, nor what a turn does.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Hashable, Sequence

from ..request.refusal import Refusal
from .ticket import Ticket

__all__ = ["Scheduler"]

LONGEST_WAIT = 60
"""Seconds that a client is asked to wait at most."""


class Scheduler:
    """Tickets that wait, tickets that run, and the thread that serves them."""

    def __init__(
        self,
        turn: Callable[[Sequence[Ticket]], Collection[Ticket]],
        places: int,
        together: int,
        waiting: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`turn` gets some tickets on, and returns those that are over; it never raises an Exception.

        `places`: tickets that are under way; `together`: those of them that take a turn at the same time; `waiting`:
        tickets that may wait beside them.
        """
        self._turn, self._clock = turn, clock
        self._places, self._together, self._most_waiting = places, together, waiting
        self._changed = threading.Condition()
        self._line: OrderedDict[Hashable, deque[Ticket]] = OrderedDict()
        self._running: list[Ticket] = []
        self._served: dict[Hashable, float] = {}
        """Seconds of each client that has tickets, counted from what the one with least had when it came."""
        self._usual = 1.0
        """Seconds from one answer's end to the next one's, as a running mean."""
        self._last_end = self._clock()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="a2d-scheduler", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Tickets without a place."""
        with self._changed:
            return self._count_waiting()

    @property
    def running(self) -> int:
        """Tickets with a place."""
        with self._changed:
            return len(self._running)

    def submit(self, ticket: Ticket) -> None:
        """Add a ticket. Raises Refusal (429) where too many wait, or most of them are this client's."""
        with self._changed:
            if self._closed:
                raise Refusal(503, "the server is stopping; ask again when it is back", "stopping", retry_after=5)
            waiting = self._count_waiting()
            if waiting >= self._most_waiting:
                raise self._refusal(f"{waiting} requests wait already, which is as many as may")
            if len(self._line.get(ticket.client, ())) >= self._most_waiting - self._most_waiting // 8:
                raise self._refusal(f"{waiting} requests wait already, and most of them are this client's")
            if ticket.client not in self._served:
                self._served[ticket.client] = min(self._served.values(), default=0.0)
            self._line.setdefault(ticket.client, deque()).append(ticket)
            self._changed.notify_all()

    def poke(self) -> None:
        """Look again: a client has read, or has gone. May be called from any thread."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End all tickets and the thread."""
        with self._changed:
            self._closed = True
            for ticket in [*self._running, *(ticket for line in self._line.values() for ticket in line)]:
                ticket.cancel()
            self._changed.notify_all()
        self._thread.join()

    def _count_waiting(self) -> int:
        return sum(len(line) for line in self._line.values())

    def _refusal(self, why: str) -> Refusal:
        seconds = min(LONGEST_WAIT, max(1, math.ceil(self._usual * self._places)))
        return Refusal(429, f"{why}; ask again in {seconds} s", "too_many_requests", retry_after=seconds)

    # -- the thread

    def _serve(self) -> None:
        while self._served_some():
            pass

    def _served_some(self) -> bool:
        """Serve one turn; False once all is over. Between two turns nothing holds a ticket that is over."""
        tickets = self._next()
        if not tickets:
            return False
        started = self._clock()
        over = self._turn(tickets)
        share = (self._clock() - started) / len(tickets)
        with self._changed:
            for ticket in tickets:
                self._served[ticket.client] += share
            for ticket in over:
                self._leave(ticket)
        return True

    def _next(self) -> list[Ticket]:
        """The tickets whose turn it is; waits until there are some. none once all is over."""
        with self._changed:
            while True:
                self._drop_cancelled()
                self._admit()
                ready = [ticket for ticket in self._running if ticket.ready]
                if ready:
                    return self._chosen(ready)
                if self._closed and not self._running:
                    return []
                self._changed.wait()

    def _chosen(self, ready: list[Ticket]) -> list[Ticket]:
        """The next tickets of the clients that have had least, no client having more than its share of the turn.

        Behind them come their clients' others. What nobody waits for costs nothing, and ends now.
        """
        share = -(-self._together // len({ticket.client for ticket in ready}))
        chosen = [ticket for ticket in ready if ticket.cancelled]
        taken: Counter[Hashable] = Counter()
        for ticket in sorted(ready, key=lambda one: self._served[one.client]):
            if not ticket.cancelled and taken[ticket.client] < share and taken.total() < self._together:
                chosen.append(ticket)
                taken[ticket.client] += 1
        self._running = [one for one in self._running if one not in chosen] + chosen
        return chosen

    def _drop_cancelled(self) -> None:
        """End tickets that nobody waits for any more, before they get a place."""
        for client, line in list(self._line.items()):
            for ticket in [ticket for ticket in line if ticket.cancelled]:
                line.remove(ticket)
                self._turn([ticket])
            if not line:
                del self._line[client]
                self._forget(client)

    def _admit(self) -> None:
        """Give free places to clients that have fewest, then to those that have had least."""
        while self._line and (place := self._place()) is not None:
            line = self._line[place]
            self._running.append(line.popleft())
            if not line:
                del self._line[place]

    def _place(self) -> Hashable | None:
        """The client whose ticket gets a place now; None where there is no place, or only one that is kept free.

        The last place goes to a client that has none yet, so that a newcomer does not wait for a whole answer.
        """
        if len(self._running) >= self._places:
            return None
        held = {client: sum(ticket.client == client for ticket in self._running) for client in self._line}
        client = min(self._line, key=lambda one: (held[one], self._served[one]))
        kept = self._places > 1 and held[client] >= self._places - 1
        return None if kept else client

    def _leave(self, ticket: Ticket) -> None:
        self._running.remove(ticket)
        now = self._clock()
        self._usual += 0.2 * (min(now - self._last_end, LONGEST_WAIT) - self._usual)
        self._last_end = now
        self._forget(ticket.client)

    def _forget(self, client: Hashable) -> None:
        """Drop the tally of a client that has no ticket."""
        if client not in self._line and all(one.client != client for one in self._running):
            del self._served[client]
