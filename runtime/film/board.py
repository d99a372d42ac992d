"""A picture of any size as the first frame of a clip: as it is, scaled, with bars, or cropped. Knows no latents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..inputs.images import Letterbox

__all__ = ["FITS", "fitted"]

FITS = {
    "letterbox": "the whole picture, with black bars where its shape differs",
    "crop": "the picture's middle, without bars",
}
"""Ways to bring a picture of another shape to the clip's."""


def fitted(picture: NDArray[np.uint8], height: int, width: int, fit: str) -> tuple[NDArray[np.uint8], str]:
    """The picture `[H, W, 3]` at the clip's size, and a sentence about what was done to it, empty if nothing was.

    A picture of that size is not touched.
    """
    high, wide = picture.shape[:2]
    if (high, wide) == (height, width):
        return picture, ""
    said = f"the picture is {wide}x{high}, the clip {width}x{height}: scaled"
    if high * width == wide * height:
        return _scaled(picture, height, width, (0, 0, wide, high)), said
    if fit == "letterbox":
        made = Letterbox(height, width).apply(picture, Image.Resampling.BICUBIC)
        return made, f"{said}, with black bars, since its shape is another; [fit=crop] fills the frame"
    kept_high, kept_wide = min(high, wide * height / width), min(wide, high * width / height)
    left, top = (wide - kept_wide) / 2, (high - kept_high) / 2
    made = _scaled(picture, height, width, (left, top, left + kept_wide, top + kept_high))
    return made, f"{said} and cropped, since its shape is another; [fit=letterbox] keeps all of it"


def _scaled(
    picture: NDArray[np.uint8], height: int, width: int, box: tuple[float, float, float, float]
) -> NDArray[np.uint8]:
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC, box)
    return np.asarray(image)
