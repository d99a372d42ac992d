"""What a host asks for, from its message to what a Model takes: a prompt, options, pictures.

Knows messages and the shared file of pixels; does not decode.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engines.errors import ImageError, RequestError
from .images import DEFAULT_PIXEL_BUDGET
from .messages import CHANNELS, Generate, PathImage, Pixels
from .options import Options, with_fields
from .record import Violations, parse

__all__ = ["options_of", "pictures_of", "prompt_of"]


def prompt_of(request: Generate) -> Any:
    """What `Model.prompt` takes: a text, messages, token ids, or None for the bundle's own question.

    Raises RequestError for JSON that is none, or not of that kind.
    """
    if request.prompt is None or request.form in ("text", "raw"):
        return request.prompt
    kind = dict if request.form == "messages" else int
    made = _json(request.prompt, "prompt")
    if not isinstance(made, list) or not made or not all(type(item) is kind for item in made):
        expected = '[{"role": "user", "content": ...}]' if kind is dict else "[1, 2, 3]"
        raise RequestError(f"got a prompt {request.prompt[:80]!r}, expected a JSON list like {expected}")
    return made


def options_of(request: Generate) -> Options:
    """Options from the request's own fields and its JSON. Raises RequestError for unknown names, or one given twice."""
    chosen = _json(request.options, "options") if request.options else {}
    if not isinstance(chosen, dict):
        raise RequestError(f'got options {request.options!r}, expected a JSON object like {{"seed": 1}}')
    direct = {"max_tokens": request.max_tokens, "steps": request.steps, "threshold": request.threshold}
    given: dict[str, Any] = {name: value for name, value in direct.items() if value}
    if twice := sorted(given.keys() & chosen.keys()):
        raise RequestError(f"got {', '.join(twice)} twice, in the request and in its options; leave one out")
    return with_fields(None, **given, **chosen)


def _json(text: str, what: str) -> Any:
    try:
        return parse(text)
    except Violations as error:
        raise RequestError(f"the {what} cannot be read:\n{error}") from error


def pictures_of(request: Generate, shared: io.FileIO | None) -> Sequence[str | NDArray[np.uint8]]:
    """Each image as `load_image` takes it: a path, RGB `[H, W, 3]`, RGBA `[H, W, 4]` or grey `[H, W]`, all uint8."""
    return [image.path if isinstance(image, PathImage) else _pixels(image, shared) for image in request.images]


def _pixels(image: Pixels, shared: io.FileIO | None) -> NDArray[np.uint8]:
    size = f"{image.width}x{image.height}"
    if shared is None:
        raise ImageError("got pixels, but no shared file; start the worker with --pixels, or give a path")
    if not 0 < image.width * image.height <= DEFAULT_PIXEL_BUDGET:
        raise ImageError(f"got {size} pixels, expected 1x1 to {DEFAULT_PIXEL_BUDGET} in all; make the image smaller")
    array = np.empty((image.height, image.width, CHANNELS[image.layout]), np.uint8)
    if _fill(array.reshape(-1).data, shared, image.offset) < array.nbytes:
        raise ImageError(
            f"the shared file ends before {size} {image.layout} pixels from {image.offset} on; send them again"
        )
    return _in_rgb_order(array, image.layout)


def _fill(into: memoryview, shared: io.FileIO, offset: int) -> int:
    """Read the shared file; how many bytes it had."""
    try:
        shared.seek(offset)
    except (OSError, ValueError, OverflowError) as error:
        raise ImageError(f"got pixels at {offset}, which is nowhere in the shared file ({error})") from error
    got = 0
    while got < len(into) and (more := shared.readinto(into[got:])):
        got += more
    return got


def _in_rgb_order(array: NDArray[np.uint8], layout: str) -> NDArray[np.uint8]:
    if layout == "gray8":
        return array[:, :, 0]
    if layout.startswith("bgr"):
        return np.ascontiguousarray(array[:, :, [2, 1, 0, 3][: array.shape[2]]])
    return array
