"""Errors as a client is told them: a status, and OpenAI's form of an error. Knows no server."""

from __future__ import annotations

from typing import Any

from ....engines.errors import A2DError, ContextFullError, ImageError, RequestError
from ...schema import Violations

__all__ = ["Refusal", "refusal_of"]

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    503: "server_error",
}
"""Status to OpenAI's type of the error; every other is a server_error."""

CODES: dict[type[BaseException], str] = {
    ContextFullError: "context_length_exceeded",
    ImageError: "invalid_image",
    RequestError: "invalid_request",
    Violations: "invalid_request",
}
"""Exceptions that a request is to blame for, subclasses first, to the code that a program reads."""


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, message: str, code: str = "", param: str | None = None, retry_after: int | None = None
    ) -> None:
        """`retry_after`: seconds after which the same request may be served."""
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code or None, param, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers beside the body."""
        found = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        return found | ({"www-authenticate": "Bearer"} if self.status == 401 else {})

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's form."""
        kind = KINDS.get(self.status, "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def refusal_of(error: BaseException) -> Refusal:
    """An exception as a client is told it: 400 where the request is to blame, 500 where it is not."""
    if isinstance(error, Refusal):
        return error
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), None)
    if code is not None:
        return Refusal(400, str(error), code)
    if isinstance(error, A2DError):
        return Refusal(500, str(error), "engine_error")
    if isinstance(error, MemoryError):
        return Refusal(503, "the server is out of memory; ask again later, or for less", "out_of_memory", retry_after=5)
    return Refusal(500, f"an error in a2d itself: {type(error).__name__}; the server's log has more", "internal_error")
