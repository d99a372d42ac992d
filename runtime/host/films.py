"""A host's film: from its request to a Film, and from steps and blocks to the messages that tell of them.

Knows messages and what is asked of a Model; not the pipe, nor when a film is made.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...engines.errors import RequestError
from ..film.film import Film, FilmBlock
from ..film.loop import Step
from ..film.options import film_options
from ..film.result import PixelsResult
from ..model import Model
from .messages import Denoised, FilmAsked, FilmSummary, PixelFrames
from .request import SharedFile, fields_of, pictures_of
from .wire import LONGEST

__all__ = ["NOT_BEGUN", "denoised", "film_of", "pixel_frames", "summary_of"]

SPARE = 64
"""Bytes that a PixelFrames has besides its pixels, and some."""

NOT_BEGUN = FilmSummary("cancelled", 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, "")
"""The end of a film that was cancelled before it was looked at."""


def film_of(model: Model, request: FilmAsked, shared: SharedFile | None) -> Film:
    """The film that a host asks for, its prompt read. Raises RequestError, ImageError, BundleError."""
    chosen = fields_of(request, ("frames", "height", "width", "steps", "seed"))
    options = film_options(**{name: tuple(v) if isinstance(v, list) else v for name, v in chosen.items()})
    pictures = pictures_of(request, shared)
    if len(pictures) > 1:
        raise RequestError(f"got {len(pictures)} pictures, a film takes one: its first frame")
    film = model.film(request.prompt, image=pictures[0] if pictures else None, options=options)
    frame = 3 * film.clip.height * film.clip.width
    if frame + SPARE > LONGEST:
        size = f"{film.clip.height}x{film.clip.width}"
        raise RequestError(f"height, width: got {size}, and a message takes frames of {LONGEST} bytes; make it smaller")
    if model.manifest.words is None:
        model.unload(film.network.contract.reader)  # the largest graph; it is loaded again for another prompt
    return film


def denoised(step: Step, frames: int) -> Denoised:
    """A step as it is told; `frames` were sent before it."""
    return Denoised(step.block.index, step.step, step.steps, frames)


def pixel_frames(block: FilmBlock) -> Iterator[PixelFrames]:
    """A block's frames, as many at a time as a message takes."""
    _, height, width, _ = block.frames.shape
    most = (LONGEST - SPARE) // (3 * height * width)
    for at in range(0, len(block.frames), most):
        part = block.frames[at : at + most]
        yield PixelFrames(block.block.index, block.first + at, len(part), height, width, part.tobytes())


def summary_of(result: PixelsResult) -> FilmSummary:
    """The end of a film."""
    return FilmSummary(
        result.stop_reason,
        result.forwards,
        result.steps,
        result.blocks,
        result.frames,
        result.height,
        result.width,
        result.fps,
        result.seconds,
        result.first_block_seconds,
        "\n".join(result.remarks),
    )
