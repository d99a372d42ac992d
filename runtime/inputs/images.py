"""A file, some bytes or an array to an RGB image, safely.

The one place where a2d reads pictures that somebody else made. Only the formats in `FORMATS` are ever handed
to a decoder (Pillow knows many more, some of which start other programs), the size in the header is held
against a pixel budget before anything is decoded, and whatever a decoder throws at a broken file becomes an
`ImageError`.

Colours are those that transformers' image processors compute with: EXIF orientation is applied, transparent
pixels are composed onto white (`transformers.image_transforms.convert_to_rgb`; dropping alpha would bring out
whatever colour the editor left under it, usually black), CMYK is converted without its ICC profile, and a GIF
gives its first frame. 16-bit greyscale is scaled to 8 bits, where Pillow's `convert` clips it.

Knows nothing of models, patches or sizes that a model likes: that is `vision.py`.

A letterbox puts a picture of any size on a canvas of one size, for models that were trained on frames of exactly one;
its sizes and offsets are whole-number arithmetic, so that another language finds the same ones.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ...engines.errors import ImageError
from ..schema import Violations, bounds

__all__ = [
    "DEFAULT_PIXEL_BUDGET",
    "FORMATS",
    "ImageSource",
    "Letterbox",
    "load_image",
    "thumbnail",
]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's names of the formats that are read."""

DEFAULT_PIXEL_BUDGET = 64_000_000
"""Pixels of the largest image that is decoded: an 8K frame twice, 192 MB as RGB."""

ImageSource = str | os.PathLike[str] | bytes | NDArray[Any] | Image.Image
"""Kinds of images that `load_image` takes."""


def load_image(source: ImageSource, budget: int = DEFAULT_PIXEL_BUDGET) -> NDArray[np.uint8]:
    """The image as uint8 RGB of shape [H, W, 3], upright.

    `source` is a path, an encoded file as bytes, a Pillow image (its current frame), or a uint8 array of
    shape [H, W], [H, W, 3] or [H, W, 4] (with alpha); the result may share an array's memory. `budget` is in pixels.

    Raises `ImageError` for everything that is not such an image: missing, empty or damaged files, other
    formats, images over the budget, arrays of another type or shape.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, budget)
    if isinstance(source, Image.Image):
        with _decoding("the Pillow image"):
            return _decode(source, "the Pillow image", budget)
    if isinstance(source, bytes):
        return _from_bytes(source, budget)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(source, budget)
    raise ImageError(
        f"got {type(source).__name__} as an image, expected a path, bytes, a numpy array or a Pillow image; "
        "save the picture to a file and give its path"
    )


def _from_array(array: NDArray[Any], budget: int) -> NDArray[np.uint8]:
    grey = array.ndim == 2
    if array.dtype != np.uint8 or not (grey or (array.ndim == 3 and array.shape[2] in (3, 4))) or not array.size:
        raise ImageError(
            f"got an array {array.dtype}{list(array.shape)} as an image, expected uint8 [H, W], [H, W, 3] or "
            "[H, W, 4] with at least one pixel; scale floats to 0..255 and move the channels last"
        )
    _check_budget("the array", array.shape[1], array.shape[0], budget)
    if array.ndim == 3 and array.shape[2] == 4:
        return np.array(_on_white(Image.fromarray(np.ascontiguousarray(array))))
    return np.ascontiguousarray(np.repeat(array[:, :, None], 3, axis=2) if grey else array)


def _from_bytes(data: bytes, budget: int) -> NDArray[np.uint8]:
    name = f"the image ({len(data)} bytes)"
    if not data:
        raise ImageError("got 0 bytes as an image, expected an encoded file; check what filled the buffer")
    with _decoding(name), Image.open(BytesIO(data), formats=FORMATS) as image:
        return _decode(image, name, budget)


def _from_path(source: str | os.PathLike[str], budget: int) -> NDArray[np.uint8]:
    if isinstance(source, str) and "://" in source:
        raise ImageError(f"got an address, {source!r}; give the path of a local file, a2d downloads nothing")
    if not os.fspath(source):
        raise ImageError("got an empty text as an image, expected the path of a file; was a variable not set?")
    path = Path(source)
    _check_file(path)
    with _decoding(str(path)), path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
        return _decode(image, str(path), budget)


def _check_file(path: Path) -> None:
    """Refuse what is no regular file with bytes in it; opening a pipe or a device could block for ever."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise ImageError(
            f"cannot find an image at {str(path)!r} ({error}); give the path of a local file, a2d downloads nothing"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(
            f"{path} is a directory, expected an image file; name one in it, or read a folder with images in it "
            "frame by frame (.png, .jpg, ...)"
        )
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path} is a device or a pipe, expected an image file; read it and give the bytes")
    if status.st_size == 0:
        raise ImageError(f"{path} is empty, expected an image file; check that its writer has finished")


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn what decoders raise into `ImageError`.

    It catches every exception on purpose: on damaged files Pillow's decoders raise SyntaxError, struct.error,
    KeyError, zlib.error and more, and which ones is not documented.
    """
    formats = ", ".join(FORMATS)
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is in no format that a2d reads, or its header is damaged, expected one of {formats}; "
            "convert it to PNG or JPEG"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name} has more pixels than Pillow allows ({error}); make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    except Exception as error:
        raise ImageError(
            f"{name} is damaged or cut short ({type(error).__name__}: {error}), "
            f"expected a whole file of one of {formats}; copy or export it again"
        ) from error


def _decode(image: Image.Image, name: str, budget: int) -> NDArray[np.uint8]:
    _check_budget(name, image.width, image.height, budget)
    image.load()
    return np.array(_to_rgb(ImageOps.exif_transpose(image), name))


def _check_budget(name: str, width: int, height: int, budget: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name} is {width}x{height} pixels, expected at least 1x1; export it again")
    if width * height > budget:
        raise ImageError(
            f"{name} is {width}x{height} = {width * height} pixels, the budget is {budget}; "
            "make it smaller, or raise the budget if you trust it"
        )


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _to_8_bit(image, name)
    elif image.mode == "F":
        raise ImageError(
            f"{name} holds floating-point pixels, which have no agreed white, "
            "expected 8 or 16 bits per channel; tone-map it and export it as PNG"
        )
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _to_8_bit(image: Image.Image, name: str) -> Image.Image:
    """16-bit greyscale scaled to 8 bits, rounded. Older Pillows read it as mode "I", which has 32 bits."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError(
            f"{name} holds values from {values.min()} to {values.max()}, expected 0 to 65535; export it with 16 bits"
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


CHANNELS = 3


def thumbnail(frame: NDArray[np.uint8], longest: int) -> bytes:
    """A JPEG of a frame `[H, W, 3]`, reduced so that its longer side has `longest` pixels at most."""
    image = Image.fromarray(frame)
    image.thumbnail((longest, longest))
    image.save(file := io.BytesIO(), "JPEG", quality=80)
    return file.getvalue()


@dataclass(frozen=True)
class Letterbox:
    """The canvas. `from_json` holds each field against its bounds."""

    height: int = field(metadata=bounds(1, 16_384))
    """In pixels."""
    width: int = field(metadata=bounds(1, 16_384))
    """In pixels."""
    fill: tuple[int, ...] = field(default=(0, 0, 0), metadata=bounds(0, 255))
    """Colour of the bars: red, green, blue."""

    def __post_init__(self) -> None:
        if len(self.fill) != CHANNELS:
            raise Violations([f"fill: got {len(self.fill)} numbers, expected {CHANNELS}: red, green, blue"])

    def fitted(self, height: int, width: int) -> tuple[int, int]:
        """The largest size (height, width) on the canvas with the frame's aspect ratio, sides rounded half up."""
        if width * self.height >= height * self.width:
            return max(1, _rounded(height * self.width, width)), self.width
        return self.height, max(1, _rounded(width * self.height, height))

    def apply(self, frame: NDArray[np.uint8], resample: int) -> NDArray[np.uint8]:
        """The frame `[H, W, 3]` on the canvas `[height, width, 3]`.

        `resample` is Pillow's number of the filter; a reduced frame is filtered over all the pixels that a new one
        covers. Where bars cannot be equally wide, the lower or right one takes the odd pixel.
        """
        height, width = self.fitted(*frame.shape[:2])
        canvas = np.empty((self.height, self.width, CHANNELS), np.uint8)
        canvas[:] = self.fill
        top, left = (self.height - height) // 2, (self.width - width) // 2
        scaled = Image.fromarray(frame).resize((width, height), Image.Resampling(resample))
        canvas[top : top + height, left : left + width] = np.asarray(scaled)
        return canvas


def _rounded(a: int, b: int) -> int:
    """The whole number nearest to a / b, halves up."""
    return (2 * a + b) // (2 * b)
