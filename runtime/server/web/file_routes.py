"""Routes for files that clients upload, with OpenAI's objects."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from ....engines.errors import RequestError
from ..reply.replies import reply
from ..request.limits import Limits
from ..request.refusal import Refusal
from ..work.service import Service

__all__ = ["file_routes", "form_of"]

FIELDS = 20
"""Fields of a form at most."""


def file_routes(service: Service) -> list[Route]:
    """The routes of a service."""

    async def create(request: Request) -> Response:
        async with request.form(max_files=1, max_fields=FIELDS) as form:
            file, purpose = form.get("file"), form.get("purpose", "user_data")
            if not isinstance(file, UploadFile):
                raise RequestError("expected a form with a file in its field file, and a purpose: user_data, vision")
            upload = service.uploads.add(
                lambda path: _copied(file, path, service.limits), file.filename or "file", str(purpose)[:64]
            )
        return reply(upload.facts)

    async def all_files(_: Request) -> Response:
        return reply({"object": "list", "data": [upload.facts for upload in service.uploads.all()], "has_more": False})

    async def one(request: Request) -> Response:
        return reply(service.uploads.get(request.path_params["number"]).facts)

    async def content(request: Request) -> Response:
        upload = service.uploads.get(request.path_params["number"])
        return FileResponse(upload.path, media_type="application/octet-stream")

    async def delete(request: Request) -> Response:
        number = request.path_params["number"]
        service.uploads.drop(number)
        return reply({"id": number, "object": "file", "deleted": True})

    return [
        Route("/v1/files", create, methods=["POST"]),
        Route("/v1/files", all_files, methods=["GET"]),
        Route("/v1/files/{number}", one, methods=["GET"]),
        Route("/v1/files/{number}", delete, methods=["DELETE"]),
        Route("/v1/files/{number}/content", content, methods=["GET"]),
    ]


async def form_of(request: Request) -> FormData:
    """The form of a request. Raises RequestError where it is none."""
    try:
        return await request.form(max_files=1, max_fields=FIELDS)
    except HTTPException as error:
        raise RequestError(f"the form cannot be read: {error.detail}") from error


def _copied(file: UploadFile, path: Path, limits: Limits) -> int:
    """Write an upload to `path`; its size. Raises Refusal (413)."""
    if file.size is not None and file.size > limits.upload:
        raise Refusal(413, f"got a file of {file.size} bytes, expected at most {limits.upload}; send less", "too_large")
    source: Any = file.file
    with path.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        return target.tell()
