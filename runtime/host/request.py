"""A host's request, from its message to what a Model takes: a prompt, options, pictures.

Knows messages and the shared file of pixels; does not decode.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import ImageError, RequestError
from ..decode.options import Options, with_fields
from ..inputs.images import DEFAULT_PIXEL_BUDGET
from ..schema import Violations, parse
from .messages import CHANNELS, FilmAsked, Generate, PathImage, Pixels

__all__ = ["SharedFile", "fields_of", "options_of", "pictures_of", "prompt_of", "turn_of"]

TURN: dict[str, type] = {"template_options": dict, "continue_final": bool}
"""Entries of a request's options that say how a conversation goes on, with their types."""


def prompt_of(request: Generate) -> Any:
    """The argument of `Model.prompt`: a text, messages, token ids, or None for the bundle's own question.

    Raises RequestError for JSON that is none, or not of that kind.
    """
    if request.prompt is None or request.prompt_format in ("text", "raw"):
        return request.prompt
    kind = dict if request.prompt_format == "messages" else int
    made = _json(request.prompt, "prompt")
    if not isinstance(made, list) or not made or not all(type(item) is kind for item in made):
        expected = '[{"role": "user", "content": ...}]' if kind is dict else "[1, 2, 3]"
        raise RequestError(f"got a prompt {request.prompt[:80]!r}, expected a JSON list like {expected}")
    return made


def options_of(request: Generate) -> Options:
    """Options from the request's own fields and its JSON. Raises RequestError for unknown names, or one given twice."""
    given = fields_of(request, ("max_tokens", "steps", "threshold"))
    return with_fields(None, **{name: value for name, value in given.items() if name not in TURN})


def fields_of(request: Generate | FilmAsked, direct: Sequence[str]) -> dict[str, Any]:
    """Fields of a request by name: the `direct` ones that are not zero, and those of its JSON. Raises RequestError."""
    chosen = _chosen(request)
    given: dict[str, Any] = {name: value for name in direct if (value := getattr(request, name))}
    if twice := sorted(given.keys() & chosen.keys()):
        raise RequestError(f"got {', '.join(twice)} twice, in the request and in its options; leave one out")
    return {**given, **chosen}


def turn_of(request: Generate) -> dict[str, Any]:
    """Keywords of `Model.prompt` for how the conversation goes on, from the request's JSON. Raises RequestError."""
    turn = {name: value for name, value in _chosen(request).items() if name in TURN}
    wrong = [name for name, value in turn.items() if not isinstance(value, TURN[name])]
    if wrong:
        raise RequestError(f"{', '.join(wrong)}: got {turn[wrong[0]]!r}, expected {TURN[wrong[0]].__name__}")
    return turn


def _chosen(request: Generate | FilmAsked) -> dict[str, Any]:
    """The request's options, as they stand in its JSON. Raises RequestError where that is no object."""
    chosen = _json(request.options, "options") if request.options else {}
    if not isinstance(chosen, dict):
        raise RequestError(f'got options {request.options!r}, expected a JSON object like {{"seed": 1}}')
    return chosen


def _json(text: str, what: str) -> Any:
    try:
        return parse(text)
    except Violations as error:
        raise RequestError(f"the {what} cannot be read:\n{error}") from error


class SharedFile:
    """The file in which a host leaves pixels."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._buffer = np.empty(0, np.uint8)  # used again for each request: fresh memory costs more than the copy

    def read(self, images: Sequence[Pixels]) -> list[NDArray[np.uint8]]:
        """RGB `[H, W, 3]`, RGBA `[H, W, 4]` or grey `[H, W]` of each, uint8, until the next call. Raises ImageError."""
        for image in images:
            _check_size(image)
        sizes = [image.height * image.width * CHANNELS[image.layout] for image in images]
        if sum(sizes) > len(self._buffer):
            self._buffer = np.empty(sum(sizes), np.uint8)
        ends = np.cumsum(sizes)
        places = [self._buffer[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        return [self._read(image, place) for image, place in zip(images, places, strict=True)]

    def _read(self, image: Pixels, place: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._fill(place.data, image.offset) < len(place):
            size = f"{image.width}x{image.height} {image.layout} pixels"
            raise ImageError(f"the shared file ends before {size} from {image.offset} on; send them again")
        return _in_rgb_order(place.reshape(image.height, image.width, CHANNELS[image.layout]), image.layout)

    def _fill(self, into: memoryview, offset: int) -> int:
        """Read from `offset` on; how many bytes there were."""
        try:
            self._file.seek(offset)
        except (OSError, ValueError, OverflowError) as error:
            raise ImageError(f"got pixels at {offset}, which is nowhere in the shared file ({error})") from error
        got = 0
        while got < len(into) and (more := self._file.readinto(into[got:])):
            got += more
        return got


def pictures_of(request: Generate | FilmAsked, shared: SharedFile | None) -> Sequence[str | NDArray[np.uint8]]:
    """Each image as `load_image` takes it: a path, or an array that is good until the next request."""
    there = [image for image in request.images if isinstance(image, Pixels)]
    if there and shared is None:
        raise ImageError("got pixels, but no shared file; start the worker with one, or give a path")
    arrays = iter(shared.read(there) if shared is not None else ())
    return [image.path if isinstance(image, PathImage) else next(arrays) for image in request.images]


def _check_size(image: Pixels) -> None:
    if not 0 < image.width * image.height <= DEFAULT_PIXEL_BUDGET:
        size = f"{image.width}x{image.height}"
        raise ImageError(f"got {size} pixels, expected 1x1 to {DEFAULT_PIXEL_BUDGET} in all; make the image smaller")


def _in_rgb_order(array: NDArray[np.uint8], layout: str) -> NDArray[np.uint8]:
    if layout == "gray8":
        return array[:, :, 0]
    if layout.startswith("bgr"):
        return np.ascontiguousarray(array[:, :, [2, 1, 0, 3][: array.shape[2]]])
    return array
