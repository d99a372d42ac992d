"""Answers to a client that may leave: server-sent events, and waiting for whoever does not stay. ASGI alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["ClientGone", "EventStream", "sse", "unless_gone"]

HEARTBEAT = 10.0
"""Seconds without an event after which a comment keeps the connection open."""

T = TypeVar("T")
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class ClientGone(Exception):
    """The client has closed its connection: there is nobody to answer."""


def sse(content: Any, name: str = "") -> bytes:
    """One server-sent event; `content` is JSON, or a text that is sent as it is."""
    text = content if isinstance(content, str) else json.dumps(content)
    return f"{f'event: {name}' + chr(10) if name else ''}data: {text}\n\n".encode()


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T], cancel: Callable[[], None]) -> T:
    """The result of `work`; where it has none, or the client leaves before (ClientGone), `cancel` is called."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    whole = False
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        result, whole = task.result(), True
        return result
    finally:
        if not whole:
            cancel()
            task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


class EventStream:
    """A response of server-sent events; `cancel` is called if it does not reach its end."""

    def __init__(self, events: AsyncIterator[bytes], cancel: Callable[[], None]) -> None:
        self._events, self._cancel = events, cancel

    async def __call__(self, _: Any, receive: Receive, send: Send) -> None:
        """Send all events, as an ASGI app."""
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        await unless_gone(receive, self._sent(send), self._cancel)

    async def _sent(self, send: Send) -> None:
        waiting: asyncio.Future[bytes] | None = None
        events = aiter(self._events)
        try:
            while True:
                waiting = asyncio.ensure_future(anext(events)) if waiting is None else waiting
                done, _ = await asyncio.wait({waiting}, timeout=HEARTBEAT)
                if not done:
                    await send(_piece(b": waiting\n\n"))
                    continue
                event, waiting = waiting.result(), None
                await send(_piece(event))
        except StopAsyncIteration:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if waiting is not None:
                waiting.cancel()


def _piece(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
