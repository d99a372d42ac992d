"""The door: who may come in, how much they may bring, and how every answer without one looks.

ASGI around an app; knows tokens and bytes, and no route but those that anybody may ask for.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..reply.streams import ClientGone
from ..request.limits import Limits
from ..request.refusal import Refusal, refusal_of
from ..work.metrics import Metrics

__all__ = ["Guard"]

OPEN = ("/", "/page.js", "/health")
"""Paths that need no token: they tell nothing that is not public."""

UPLOADS = ("/v1/files", "/v1/videos")
"""Paths whose bodies go to a disk, and may be longer."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("a2d.server")


class Guard:
    """An app behind a door."""

    def __init__(self, app: App, tokens: tuple[str, ...], limits: Limits, metrics: Metrics) -> None:
        """`tokens`: any of them lets in; the scope's `a2d.client` says which."""
        self._app, self._limits, self._metrics = app, limits, metrics
        self._tokens = tuple(token.encode() for token in tokens)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever goes wrong is an answer, as long as none has begun."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun: list[int] = []

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                begun.append(message["status"])
            try:
                await asyncio.wait_for(send(message), self._limits.stalled)
            except TimeoutError:
                raise ClientGone from None  # it does not read: there is nobody to answer

        body = _Body(self, scope, receive)
        try:
            scope["a2d.client"] = self._client(scope)
            body.check_announced()
            await self._app(scope, body.receive, sending)
        except ClientGone:
            pass
        except Exception as error:
            refusal = refusal_of(error)
            if refusal.status == 500:
                LOG.exception("%s %s", scope["method"], scope["path"])
            if not begun:
                await _refuse(refusal, sending, body.unread)
        finally:
            self._held -= body.held
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.count("a2d_http_requests_total", route=route, status=str(begun[0] if begun else 0))

    def hold(self, amount: int) -> None:
        """Count bytes that are held for a request. Raises Refusal (429) where there are too many already."""
        if self._held + amount > self._limits.held:
            raise Refusal(
                429,
                f"requests of {self._held} bytes are being served, and {self._limits.held} is the most; ask again soon",
                "too_many_bytes",
                retry_after=1,
            )
        self._held += amount

    @property
    def limits(self) -> Limits:
        """Bounds of a request."""
        return self._limits

    def _client(self, scope: Scope) -> int | None:
        """Number of the token that came. Raises Refusal (401) for another one, where one is needed."""
        came = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, given = came.partition(b" ")
        right = [hmac.compare_digest(given.strip(), token) for token in self._tokens]
        if scheme.lower() == b"bearer" and any(right):
            return right.index(True)
        if scope["path"] in OPEN:
            return None
        what = "a wrong token" if came else "no token"
        raise Refusal(
            401,
            f"got {what}, expected the one that the server printed at its start, as the header "
            "Authorization: Bearer TOKEN (in OpenAI's clients: api_key)",
            "invalid_api_key",
        )


class _Body:
    """The body of one request, which is bounded in size and in time."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive) -> None:
        self._guard, self._scope, self._receive = guard, scope, receive
        self._upload = scope["path"] in UPLOADS
        self._most = guard.limits.upload if self._upload else guard.limits.body
        self._came, self._whole = 0, False
        self.held = 0
        """Bytes that count as held in memory."""

    def check_announced(self) -> None:
        """Raise Refusal for a length that is too much, before any of it is read."""
        announced = next((value for name, value in self._scope["headers"] if name == b"content-length"), b"0")
        self._check(int(announced) if announced.isdigit() else 0)

    @property
    def unread(self) -> bool:
        """The client has more to send."""
        names = {name for name, _ in self._scope["headers"]}
        return not self._whole and bool(names & {b"content-length", b"transfer-encoding"})

    async def receive(self) -> MutableMapping[str, Any]:
        """The next piece. Raises Refusal for one too many, or one that does not come."""
        if self._whole:  # what is waited for now is the client's leaving
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._guard.limits.stalled)
        except TimeoutError:
            seconds = self._guard.limits.stalled
            raise Refusal(408, f"nothing came for {seconds:g} s, expected the rest of the request", "timeout") from None
        size = len(message.get("body", b""))
        self._came += size
        self._check(self._came)
        if not self._upload:
            self._guard.hold(size)
            self.held += size
        self._whole = not message.get("more_body", False)
        return message

    def _check(self, size: int) -> None:
        # A multipart body has some bytes beside the file's.
        if size > self._most + (1 << 16):
            raise Refusal(
                413, f"got a body of {size} bytes or more, expected at most {self._most}; send less", "too_large"
            )


async def _refuse(refusal: Refusal, send: Send, close: bool) -> None:
    """Answer with an error; `close` the connection where more of the request would come, perhaps without end."""
    body = json.dumps(refusal.body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
    headers |= {"connection": "close"} if close else {}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
