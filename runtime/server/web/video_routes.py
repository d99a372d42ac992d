"""Routes for films: jobs with progress and a file at their end, with OpenAI's objects."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ....engines.errors import RequestError
from ...schema import Violations, bounds, from_json
from ..reply.replies import json_of, reply
from ..reply.streams import EventStream, sse
from ..request.refusal import Refusal
from ..work.films import VARIANTS, FilmJob, FilmRequest
from ..work.service import Service
from .file_routes import form_of

__all__ = ["video_routes"]

LOOK = 0.1
"""Seconds between two looks at a job's progress."""


@dataclass(frozen=True)
class VideoFields:
    """Fields of a request for a film, its picture left out."""

    model: str
    prompt: str
    seconds: float | None = field(default=None, metadata=bounds(0.01, 3600))
    size: str | None = None
    seed: int | None = field(default=None, metadata=bounds(0, 2**64 - 1))
    steps: int | None = field(default=None, metadata=bounds(1, 1000))

    def __post_init__(self) -> None:
        if self.size is not None and not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", self.size):
            raise ValueError(f"size: got {self.size[:40]!r}, expected WIDTHxHEIGHT in pixels")


def video_routes(service: Service) -> list[Route]:
    """The routes of a service."""
    jobs = service.films

    async def create(request: Request) -> Response:
        wanted = await _wanted(request, service)
        return reply((await asyncio.to_thread(jobs.submit, wanted)).facts)

    async def all_jobs(_: Request) -> Response:
        return reply({"object": "list", "data": [job.facts for job in jobs.all()], "has_more": False})

    async def one(request: Request) -> Response:
        return reply(jobs.get(request.path_params["number"]).facts)

    async def events(request: Request) -> ASGIApp:
        return EventStream(_progress(jobs.get(request.path_params["number"])), lambda: None)

    async def content(request: Request) -> Response:
        job = jobs.get(request.path_params["number"])
        if job.status != "completed":
            raise Refusal(404, f"the film is {job.status}; its file is there once it is completed", "not_completed")
        variant = request.query_params.get("variant", "video")
        if variant not in VARIANTS:
            raise RequestError(f"variant: got {variant[:40]!r}, expected one of {', '.join(VARIANTS)}")
        name, kind = VARIANTS[variant]
        return FileResponse(job.path / name, media_type=kind, filename=name)

    async def delete(request: Request) -> Response:
        job = jobs.drop(request.path_params["number"])
        return reply({"id": job.id, "object": "video.deleted", "deleted": True})

    return [
        Route("/v1/videos", create, methods=["POST"]),
        Route("/v1/videos", all_jobs, methods=["GET"]),
        Route("/v1/videos/{number}", one, methods=["GET"]),
        Route("/v1/videos/{number}", delete, methods=["DELETE"]),
        Route("/v1/videos/{number}/events", events, methods=["GET"]),
        Route("/v1/videos/{number}/content", content, methods=["GET"]),
    ]


async def _wanted(request: Request, service: Service) -> FilmRequest:
    """The film of a JSON body, or of a form as OpenAI's client sends it."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        form = await form_of(request)
        picture = form.get("input_reference")
        data: dict[str, Any] = {name: _number(name, value) for name, value in form.items() if name != "input_reference"}
        if isinstance(picture, UploadFile):
            picture = f"data:;base64,{base64.b64encode(await picture.read()).decode()}"
    else:
        data = await json_of(request)
        if not isinstance(data, dict):
            raise RequestError(f"got a {type(data).__name__} as the body, expected a JSON object")
        picture = data.pop("input_reference", None)
    try:
        fields = from_json(VideoFields, _with_numbers(data))
    except Violations as error:
        raise RequestError(f"the request has fields that cannot be used:\n{error}") from error
    width, height = map(int, fields.size.split("x")) if fields.size else (None, None)
    pixels = None if picture is None else service.sources.at(_reference(picture))
    return FilmRequest(
        fields.model, fields.prompt, fields.seconds, width, height, fields.seed or 0, fields.steps, pixels
    )


def _reference(picture: Any) -> Any:
    """A picture's URL or id, as OpenAI's client may wrap it."""
    return picture.get("image_url", picture.get("file_id")) if isinstance(picture, dict) else picture


def _with_numbers(data: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's `seconds` is a text."""
    return {name: _number(name, value) if name == "seconds" else value for name, value in data.items()}


def _number(name: str, value: Any) -> Any:
    """The value of a form's field: numbers come as texts there."""
    kind = {"seconds": float, "seed": int, "steps": int}.get(name)
    if kind is None or not isinstance(value, str):
        return value
    try:
        return kind(value)
    except ValueError as error:
        raise RequestError(f"{name}: got {value[:40]!r}, expected a number") from error


async def _progress(job: FilmJob) -> AsyncIterator[bytes]:
    """An event whenever a job has got on; the last one has its end."""
    told: Any = None
    while True:
        facts = job.facts
        if facts != told:
            over = facts["status"] in ("completed", "failed", "cancelled")
            yield sse(facts, f"video.{facts['status']}" if over else "video.progress")
            told = facts
            if over:
                return
        await asyncio.sleep(LOOK)
