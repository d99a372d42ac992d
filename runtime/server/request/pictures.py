"""Pictures of a request: where they come from, and what a server refuses. Opens nothing that is not named to it.

A client names a picture by a `data:` URL, by the id of a file that it has uploaded, or by the URL of a host that the
server may fetch from. A path of this machine is none of these.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ....engines.errors import ImageError, RequestError
from ...inputs.images import load_image
from ...inputs.messages import picture_at
from .limits import Limits

__all__ = ["PictureSources", "Pixels"]

Pixels: TypeAlias = "Callable[[], NDArray[np.uint8]]"
"""Function that gives a picture's pixels `[H, W, 3]`: nothing is decoded, or fetched, before it is called."""

FETCH_SECONDS = 20.0


@dataclass(frozen=True)
class PictureSources:
    """The places that pictures may come from."""

    file: Callable[[str], Path]
    """Id of an uploaded file to its path. Raises for an id that is none."""
    limits: Limits
    hosts: frozenset[str] = frozenset()
    """Hosts, `example.com` or `example.com:8080`, whose pictures are fetched."""

    def at(self, source: Any) -> Pixels:
        """The picture that a part of a message names. Raises RequestError for what names none."""
        if not isinstance(source, str):
            raise RequestError(f"got a {type(source).__name__} for a picture, expected a URL or the id of a file")
        scheme = source[:16].partition(":")[0].lower()
        if scheme == "data":
            return self._pixels(picture_at(source))
        if scheme in ("http", "https"):
            return self._remote(source)
        if source.startswith("file-"):
            return self._pixels(self.file(source))
        raise RequestError(
            f"got {source[:40]!r} for a picture, expected a data: URL, or the id of a file that was uploaded to "
            "/v1/files; no other file is read"
        )

    def _pixels(self, source: Path | bytes) -> Pixels:
        return partial(_loaded, source, self.limits.pixels)

    def _remote(self, url: str) -> Pixels:
        try:
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2].lower()
        except ValueError as error:
            raise RequestError(f"got {url[:80]!r}, which is no URL: {error}") from error
        if host not in self.hosts or "@" in parts.netloc:
            fetched = ", ".join(sorted(self.hosts)) or "none"
            raise RequestError(
                f"got a picture at {url[:80]!r}, and this server fetches from these hosts: {fetched}; send it as a "
                "data: URL, or upload it to /v1/files"
            )
        return lambda: load_image(_fetched(url, self.limits.upload), self.limits.pixels)


def _loaded(source: Path | bytes, budget: int) -> NDArray[np.uint8]:
    try:
        return load_image(source, budget)
    except ImageError as error:
        # The place of an upload on this machine is nobody's business.
        message = str(error).replace(str(source), "the file") if isinstance(source, Path) else str(error)
        raise ImageError(message) from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead to a host that is not allowed."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def _fetched(url: str, most: int) -> bytes:
    """The bytes at a URL. Raises ImageError where they cannot be had, or are too many."""
    try:
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=FETCH_SECONDS) as answer:
            data: bytes = answer.read(most + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ImageError(f"the picture at {url[:80]} could not be fetched: {error}") from error
    if len(data) > most:
        raise ImageError(f"the picture at {url[:80]} has more than {most} bytes, which is the most that is fetched")
    return data
