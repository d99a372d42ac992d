"""The whole server as an ASGI app: routes behind a guard, a page, health and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from ..reply.replies import reply
from ..reply.streams import ClientGone
from ..request.refusal import Refusal
from ..work.service import Service
from .file_routes import file_routes
from .guard import Guard
from .text_routes import text_routes
from .video_routes import video_routes

__all__ = ["app_of"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; img-src blob: data:; media-src blob:"
"""Content security policy of the page: nothing but what this server sent, and what was dropped on it."""

PAGE = {"/": ("page.html", "text/html"), "/page.js": ("page.js", "text/javascript")}
"""Path to a file of the page, and its type."""


def app_of(service: Service, tokens: Sequence[str]) -> Guard:
    """The app of a service; `tokens` let in."""

    @asynccontextmanager
    async def life(_: object) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    router = Router(redirect_slashes=False, lifespan=life)
    router.routes.extend([*text_routes(service), *file_routes(service), *video_routes(service)])

    @cache
    def shown(name: str) -> bytes:
        return Path(__file__).with_name(name).read_bytes()

    async def page(request: Request) -> Response:
        name, kind = PAGE[request.url.path]
        headers = {"content-security-policy": f"{POLICY}; connect-src 'self'", "x-content-type-options": "nosniff"}
        return Response(shown(name), media_type=kind, headers=headers)

    async def health(_: Request) -> Response:
        return reply({"status": "ok"})

    async def metrics(_: Request) -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    for path in PAGE:
        router.add_route(path, page, methods=["GET"])
    router.add_route("/health", health, methods=["GET"])
    router.add_route("/metrics", metrics, methods=["GET"])
    return Guard(_Routed(router), tuple(tokens), service.limits, service.metrics)


class _Routed:
    """Routes, with an error for what is none."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # what makes Starlette raise, where it would answer in plain text
        try:
            await self._router(scope, receive, send)
        except ClientGone:
            pass
        except HTTPException as error:
            raise _refusal(error, scope) from error


def _refusal(error: HTTPException, scope: Scope) -> Refusal:
    if error.status_code == 404:
        return Refusal(404, f"no such place: {scope['path'][:80]}; docs/serving.md lists those there are", "not_found")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another")
        return Refusal(405, f"got {scope['method'][:20]} {scope['path'][:80]}, expected {allowed}", "wrong_method")
    return Refusal(error.status_code, f"the request cannot be read: {error.detail}", "invalid_request")
