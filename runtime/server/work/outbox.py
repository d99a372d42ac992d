"""A queue from the decoding thread to one client's coroutine. Knows nothing of its events but which one is the last."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

__all__ = ["Outbox"]

E = TypeVar("E")


class Outbox(Generic[E]):
    """Events for one client. `put` may be called from any thread, iteration belongs to the loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit: int, is_last: Callable[[E], bool], drained: Callable[[], None]
    ) -> None:
        """`limit`: events from which on it is `full`. `drained` is called when it is not full any more."""
        self._loop, self._limit, self._is_last, self._drained = loop, limit, is_last, drained
        self._events: deque[E] = deque()
        self._news = asyncio.Event()

    @property
    def full(self) -> bool:
        """The client does not keep up; whoever puts events should wait."""
        return len(self._events) >= self._limit

    def put(self, event: E) -> None:
        """Add an event, also to a full outbox."""
        self._events.append(event)
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is no client left
            self._loop.call_soon_threadsafe(self._news.set)

    async def __aiter__(self) -> AsyncIterator[E]:
        while True:
            self._news.clear()
            while self._events:
                event = self._events.popleft()
                if len(self._events) == self._limit - 1:  # also where it became full since the last event
                    self._drained()
                yield event
                if self._is_last(event):
                    return
            if not self._events:
                await self._news.wait()
