"""The messages of a conversation in one spelling: parts of type `text`, `image` and `video`, whatever a caller wrote.

OpenAI's `image_url` and `input_image`, parts without a type, `file://` and `data:` URLs are read; what cannot be read
is refused by name, never left out. Opens no file and fetches nothing.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np

from ...engines.errors import RequestError
from .images import ImageSource

__all__ = [
    "Messages",
    "Picture",
    "check_list",
    "normalised",
    "picture_at",
    "pictures_of",
    "with_words",
    "without_sources",
]

Messages: TypeAlias = Sequence[Mapping[str, Any]]
Picture: TypeAlias = "ImageSource | Sequence[ImageSource]"
"""An image, or a list of images: the frames of a video."""

KINDS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "video": "video",
}
"""Type of a part, as callers write it, to the one that templates know."""

KEYS = {"text": ("text",), "image": ("image", "image_url", "url", "path"), "video": ("video",)}
"""Kind of a part to the keys that its content may stand under."""

SHORTEST_TEXT = 80
"""Characters of a message that an error shows."""


def normalised(messages: Messages) -> list[dict[str, Any]]:
    """The messages with every part as `{"type": "text", "text": ...}`, `{"type": "image", "image": ...}` or a video.

    Raises RequestError for a message that is none, and for a part that is not one of these.
    """
    return [_message(message) for message in messages]


def pictures_of(messages: Messages) -> list[Picture]:
    """The pictures of a conversation, in order. Raises RequestError as `normalised` does."""
    contents = [message["content"] for message in normalised(messages)]
    parts = [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]
    return [part[part["type"]] for part in parts if part.get("type") in ("image", "video")]


def with_words(messages: Messages, change: Callable[[str], str]) -> list[dict[str, Any]]:
    """The normalised messages with `change` made to every text that a user or an assistant wrote."""

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, Mapping):
            return {
                key: item if key in ("type", "role", "image", "video") else changed(item) for key, item in value.items()
            }
        return [changed(item) for item in value] if isinstance(value, list | tuple) else value

    return [{key: value if key == "role" else changed(value) for key, value in message.items()} for message in messages]


def without_sources(messages: Messages) -> list[dict[str, Any]]:
    """The messages with a mark for each picture's source that is given apart: an empty one."""
    return [
        {**message, "content": [_marked(part) for part in message["content"]]}
        if isinstance(message, Mapping) and isinstance(message.get("content"), list)
        else message  # type: ignore[misc]
        for message in messages
    ]


def _marked(part: Any) -> Any:
    if not isinstance(part, Mapping) or part.get("type") not in ("image", "video"):
        return part
    found = any(part.get(key) is not None for key in KEYS[part["type"]])
    return part if found else {**part, part["type"]: "" if part["type"] == "image" else []}


def picture_at(source: Any) -> Any:
    """A picture's source: a path for a `file://` URL, bytes for a `data:` URL, everything else as it is.

    Raises RequestError for a URL that would have to be fetched.
    """
    if not isinstance(source, str):
        return source
    scheme = urlsplit(source).scheme.lower() if "://" in source[:64] or source[:5].lower() == "data:" else ""
    if scheme == "data":
        return _data(source)
    if scheme == "file":
        from urllib.request import url2pathname  # noqa: PLC0415 - brings HTTP and TLS, which a path has no use for

        return url2pathname(urlsplit(source).path)
    if scheme in ("http", "https", "ftp", "s3", "gs"):
        raise RequestError(
            f"got a picture at {source[:SHORTEST_TEXT]}, which is not fetched; download it and give its path"
        )
    return source


def _message(message: Any) -> dict[str, Any]:
    message = _said(message)
    content = message.get("content") if isinstance(message, Mapping) else ()
    silent = content is None and not (isinstance(message, Mapping) and message.get("tool_calls"))
    if silent or not isinstance(content, str | list | None):
        raise RequestError(
            f'got a message {str(message)[:SHORTEST_TEXT]!r}, expected {{"role": "user", "content": ...}} with a text '
            "or a list of parts"
        )
    return {**message, "content": [_part(part) for part in content] if isinstance(content, list) else content}


def _said(value: Any) -> Any:
    """A message or a part without its nulls: tables give every row all columns, and templates ask which are there."""
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, Mapping) else value


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    part = _said(part)
    kind = _kind(part)
    key = next((key for key in KEYS[kind] if part.get(key) is not None), None)
    if key is None:
        raise RequestError(f'a message part of type "{part.get("type", kind)}" has no "{KEYS[kind][0]}"; give it one')
    value = part[key]
    if kind == "text":
        return {**part, "type": "text"} if key == "text" and isinstance(value, str) else _refused(part)
    if isinstance(value, Mapping):
        value = value.get("url") or value.get("bytes") or value.get("path") or _refused(part)
    rest = {name: value for name, value in part.items() if name not in (*KEYS[kind], "type", "detail")}
    return {**rest, "type": kind, kind: _picture(kind, value)}


def _kind(part: Any) -> str:
    """The kind of a part, by its type or, where it has none, by its keys."""
    if isinstance(part, Mapping) and "type" in part:
        return KINDS.get(str(part["type"])) or _refused(part)
    found = [kind for kind, keys in KEYS.items() if isinstance(part, Mapping) and any(key in part for key in keys)]
    return found[0] if len(found) == 1 else _refused(part)


def _refused(part: Any) -> Any:
    named = f'of type "{part["type"]}"' if isinstance(part, Mapping) and "type" in part else str(part)[:SHORTEST_TEXT]
    raise RequestError(f"got a message part {named}, expected one of type {', '.join(KINDS)}; leave it out")


def _picture(kind: str, value: Any) -> Any:
    if (kind == "video") != isinstance(value, list | tuple):
        raise RequestError(f'got a {type(value).__name__} as "{kind}"; a video is a list of its frames')
    return [picture_at(frame) for frame in value] if kind == "video" else picture_at(value)


def _data(url: str) -> bytes:
    """The content of a `data:` URL (RFC 2397)."""
    head, comma, content = url.partition(",")
    raw = unquote_to_bytes(content)
    try:
        made = base64.b64decode(raw, validate=True) if head.lower().endswith(";base64") else raw
    except binascii.Error as error:
        raise RequestError(f"got a picture as {url[:40]}..., whose content is not base64: {error}") from error
    if not comma or not made:
        raise RequestError(f"got a picture as {url[:40]}..., expected data:image/png;base64,... with content")
    return made


def check_list(images: object) -> None:
    """Raise RequestError for one picture where a list of them is wanted."""
    single = isinstance(images, str | bytes | os.PathLike) or not isinstance(images, Sequence | np.ndarray)
    if single or (isinstance(images, np.ndarray) and images.ndim < 4):
        said = f"{str(images)[:60]!r}" if isinstance(images, str | os.PathLike) else type(images).__name__
        raise RequestError(f"images: got one picture, {said}, expected a list of them: images=[...]")
