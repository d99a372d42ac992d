"""Routes for text: chat completions, completions, models, and answers as a2d's own events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..reply.answers import ChatAnswer, CompletionAnswer
from ..reply.block_events import BlockEvents
from ..reply.replies import json_of, reply
from ..reply.streams import EventStream, sse, unless_gone
from ..request.asked import Question, asked_in_chat, asked_to_complete
from ..request.pictures import PictureSources
from ..request.refusal import Refusal, refusal_of
from ..work.outbox import Outbox
from ..work.service import Counted, Service
from ..work.ticket import Ended, Event, Failed, Ticket

__all__ = ["text_routes"]

Reader = Callable[[Any, PictureSources], Question]


def text_routes(service: Service) -> list[Route]:
    """The routes of a service."""

    async def chat(request: Request) -> ASGIApp:
        question = await _question(request, service, asked_in_chat)
        return await _answered(request, service, question, ChatAnswer(question.model, function=question.function))

    async def complete(request: Request) -> ASGIApp:
        question = await _question(request, service, asked_to_complete)
        return await _answered(request, service, question, CompletionAnswer(question.model))

    async def blocks(request: Request) -> ASGIApp:
        question = await _question(request, service, _asked_either)
        return await _as_blocks(request, service, question)

    async def models(_: Request) -> Response:
        return reply({"object": "list", "data": [_facts(service, name) for name in _names(service)]})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _names(service):
            service.model(name)  # raises, and says which there are
        return reply(_facts(service, name))

    return [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/completions", complete, methods=["POST"]),
        Route("/v1/a2d/blocks", blocks, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{name:path}", model, methods=["GET"]),
    ]


async def _question(request: Request, service: Service, read: Reader) -> Question:
    data = await json_of(request)
    question = await asyncio.to_thread(read, data, service.sources)
    return await unless_gone(request.receive, service.prepare(question), lambda: None)


def _asked_either(data: Any, sources: PictureSources) -> Question:
    """A question of either form: one with messages is a chat."""
    chat = isinstance(data, dict) and "messages" in data
    return (asked_in_chat if chat else asked_to_complete)(data, sources)


def _client(request: Request) -> Hashable:
    """The client of a request: equal for requests that share one place in the order."""
    return request.scope.get("a2d.client"), request.client.host if request.client else ""


async def _answered(
    request: Request, service: Service, question: Question, answer: ChatAnswer | CompletionAnswer
) -> ASGIApp:
    """The answer whole, or as a stream that begins with its first event: an error before it has a status of its own."""
    ticket, outbox = service.submit(question, _client(request))
    counted = Counted(service.metrics, question.model)
    if not question.stream:
        ended = await unless_gone(request.receive, _ended(outbox, counted), lambda: service.cancel(ticket))
        return reply(answer.whole(ended))

    def chunks(event: Event) -> list[bytes]:
        if isinstance(event, Failed):
            return [sse(refusal_of(event.error).body)]
        made = [sse(chunk) for chunk in answer.chunks(event, question.usage)]
        return [*made, sse("[DONE]")] if isinstance(event, Ended) else made

    return await _streamed(request, service, (ticket, outbox), counted, chunks)


async def _as_blocks(request: Request, service: Service, question: Question) -> ASGIApp:
    model = service.model(question.model)
    shown = BlockEvents(model.detokenize, model.manifest.decode.stop_token_ids)
    ticket, outbox = service.submit(question, _client(request))

    def events(event: Event) -> list[bytes]:
        name, content = shown.of(event)
        return [sse(content, name)]

    return await _streamed(request, service, (ticket, outbox), Counted(service.metrics, question.model), events)


async def _streamed(
    request: Request,
    service: Service,
    asked: tuple[Ticket, Outbox[Event]],
    counted: Counted,
    written: Callable[[Event], list[bytes]],
) -> EventStream:
    """A stream of what is `written` of each event."""
    ticket, outbox = asked
    events = aiter(outbox)

    def cancel() -> None:
        service.cancel(ticket)

    first = await unless_gone(request.receive, _first(events), cancel)
    if isinstance(first, Failed):
        counted.saw(first)
        raise first.error

    async def pieces() -> AsyncIterator[bytes]:
        for piece in written(first):
            yield piece
        async for event in events:
            counted.saw(event)
            for piece in written(event):
                yield piece

    return EventStream(pieces(), cancel)


async def _first(events: AsyncIterator[Event]) -> Event:
    return await anext(events)


async def _ended(outbox: Outbox[Event], counted: Counted) -> Ended:
    """The last event of an answer. Raises the error of one that fails."""
    async for event in outbox:
        counted.saw(event)
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Ended):
            return event
    raise Refusal(500, "the answer has no end", "internal_error")


def _names(service: Service) -> list[str]:
    return [*service.models, *(name for name in service.films.makers if name not in service.models)]


def _facts(service: Service, name: str) -> dict[str, Any]:
    """OpenAI's model object, and what a page needs to know beside it."""
    model = service.models.get(name)
    words = {} if model is None else {"images": model.manifest.vision is not None}
    chat = model is not None and model.manifest.text.chat_template is not None
    question = None if model is None else model.manifest.text.default_prompt
    own = {"words": model is not None, "chat": chat, "films": name in service.films.makers, "question": question}
    return {"id": name, "object": "model", "created": service.started, "owned_by": "a2d", "a2d": own | words}
