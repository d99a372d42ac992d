"""Bodies of requests and answers, as routes read and write them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ....engines.errors import RequestError
from ...schema import Violations, parse

__all__ = ["json_of", "reply"]


def reply(content: Any, status: int = 200) -> Response:
    """JSON, in ASCII: a client's own half characters come back as escapes."""
    return Response(json.dumps(content), status, media_type="application/json")


async def json_of(request: Request) -> Any:
    """The body's JSON. Raises RequestError where it is none."""
    body = await request.body()
    try:
        return await asyncio.to_thread(_parsed, body)
    except (Violations, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not JSON in UTF-8: {str(error).strip()}") from error


def _parsed(body: bytes) -> Any:
    return parse(body.decode("utf-8"))
