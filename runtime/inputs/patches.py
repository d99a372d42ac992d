"""Pixels to the inputs of vision.onnx, as Qwen2.5-VL wants them.

The vision graph takes one *frame group* at a time (an image, or `temporal_patch_size` frames of a video):
Qwen2.5-VL never attends from one group to another. Whatever depends on the size of a picture is done here, so
that the graph is plain matrix products. Patches are laid out window by window, each window padded to its full
size, and `order` finds the real merge groups again. 3x3 groups in windows of 2x2:

    0 1 2
    3 4 5  ->  windows 0 1 3 4 | 2 . 5 . | 6 7 . . | 8 . . .    order 0 1 4 2 3 6 8 9 12
    6 7 8

Image values equal those of transformers' Pillow-backed Qwen2-VL image processor; video frames go the same
way, where transformers resizes with torchvision. Only a spec with a letterbox departs from it, in how a picture gets
its size.

Knows nothing of files (`images.py`), of graphs and engines, or of where pictures stand in a prompt (`mrope.py`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...engines.errors import ImageError
from ..schema import Violations, bounds
from .crops import Crops
from .images import Letterbox
from .packing import PACKINGS

__all__ = ["Grid", "Patches", "VisionSpec", "fitted", "normalised", "prepare", "raster_of", "smart_resize"]

MAX_ASPECT_RATIO = 200


@dataclass(frozen=True)
class VisionSpec:
    """A model's demands on its images. `from_json` holds each field against its bounds."""

    patch_size: int = field(metadata=bounds(1, 256))
    """Side of a square patch, in pixels."""
    merge_size: int = field(metadata=bounds(1, 16))
    """Side of a merge group, in patches: merge_size squared patches become one token."""
    temporal_patch_size: int = field(metadata=bounds(1, 16))
    """Frames in one patch; a still image is repeated that often."""
    window_size: int = field(metadata=bounds(1, 8192))
    """Side of an attention window, in pixels."""
    in_channels: int = field(metadata=bounds(3, 3))
    """Colour channels: red, green, blue."""
    min_pixels: int = field(metadata=bounds(1, 2**30))
    """Smaller images are enlarged to this area, in pixels."""
    max_pixels: int = field(metadata=bounds(1, 2**30))
    """Larger images are reduced to this area, in pixels."""
    image_mean: tuple[float, ...] = field(metadata=bounds(-10, 10))
    """Per channel, in units of the rescaled values."""
    image_std: tuple[float, ...] = field(metadata=bounds(1e-6, 100))
    """Per channel, in units of the rescaled values."""
    rescale_factor: float = field(metadata=bounds(1e-9, 1))
    """Factor of 8-bit values, before the mean is taken off; usually 1/255."""
    resample: int = field(metadata=bounds(0, 5))
    """Pillow's number of the resizing filter; 3 is bicubic."""
    image_token_id: int = field(metadata=bounds(0, 2**31 - 1))
    """Token that stands for one merge group of an image."""
    video_token_id: int = field(metadata=bounds(0, 2**31 - 1))
    """Token that stands for one merge group of a video."""
    vision_start_token_id: int | None = field(metadata=bounds(0, 2**31 - 1))
    """Token before the groups of a picture; None where prompts have none."""
    vision_end_token_id: int | None = field(metadata=bounds(0, 2**31 - 1))
    """Token after the groups of a picture; None where prompts have none."""
    tokens_per_second: float = field(metadata=bounds(1e-6, 1000))
    """Temporal positions per second of video."""
    letterbox: Letterbox | None = None
    """The one size that every picture takes; None where `smart_resize` finds one between the two areas."""
    table: int | None = field(default=None, metadata=bounds(1, 4096))
    """Side of the table of learned positions, for towers that see a picture whole (`packed.py`); else None."""
    packing: str = "siglip2"
    """The way in which such a tower wants its pictures: a name in `packing.py`."""
    crops: Crops | None = None
    """The cut of a picture into crops of one size, for towers that see no other (`crop_patches.py`); else None."""

    def __post_init__(self) -> None:
        lines = [
            f"{name}: got {len(values)} numbers, expected {self.in_channels}, one per channel"
            for name, values in (("image_mean", self.image_mean), ("image_std", self.image_std))
            if len(values) != self.in_channels
        ]
        if self.min_pixels > self.max_pixels:
            lines.append(f"min_pixels: got {self.min_pixels}, expected at most max_pixels, {self.max_pixels}")
        if self.window_groups < 1:
            lines.append(f"window_size: got {self.window_size}, expected at least a merge group, {self.factor} pixels")
        box = self.letterbox
        if box is not None and (box.height % self.factor or box.width % self.factor):
            lines.append(f"letterbox: got {box.width}x{box.height}, expected multiples of a merge group, {self.factor}")
        if self.crops is not None and (box is not None or self.crops.size < self.patch_size):
            lines.append(f"crops: got {self.crops.size} pixels, expected a patch, {self.patch_size}, and no letterbox")
        if self.packing not in PACKINGS:
            lines.append(f"packing: got {self.packing!r}, expected one of {', '.join(PACKINGS)}")
        if lines:
            raise Violations(lines)

    @property
    def factor(self) -> int:
        """Side of a merge group in pixels; image sides are multiples of it."""
        return self.patch_size * self.merge_size

    @property
    def window_groups(self) -> int:
        """Side of a window in merge groups (rounded down in this order, as transformers does)."""
        return self.window_size // self.merge_size // self.patch_size

    @property
    def slots_per_window(self) -> int:
        """Patches that a whole window holds: the graph's S."""
        return (self.window_groups * self.merge_size) ** 2

    @property
    def patch_values(self) -> int:
        """Numbers in one patch: the graph's K."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2


@dataclass(frozen=True)
class Grid:
    """The size of a picture in patches, and what its temporal positions mean."""

    t: int
    """Frame groups: 1 for an image."""
    h: int
    """Rows of patches."""
    w: int
    """Columns of patches."""
    is_video: bool = False
    seconds_per_group: float = 1.0
    """Seconds of video from one frame group to the next; images ignore it."""

    def tokens(self, spec: VisionSpec) -> int:
        """Rows that the picture takes in the prompt."""
        return self.t * self.h * self.w // spec.merge_size**2


@dataclass(frozen=True)
class Patches:
    """A picture as the vision graph takes it: T frame groups, each of M padded patches and G merge groups."""

    grid: Grid
    tokens: int
    """Features that the whole picture gives: T * G."""
    pixels: NDArray[np.float32]
    """[T, M, K]: the patches in padded window order, zero where there is none."""
    positions: NDArray[np.int64]
    """[M, 2]: row and column of each patch; zero where there is none."""
    real: NDArray[np.bool_]
    """[M]: false where there is no patch."""
    order: NDArray[np.int64]
    """[G]: for each merge group in raster order, its place among the padded merge groups."""

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the picture: the same only for the same pixels on the same grid."""
        # Where they lie: a copy takes as long as the rest.
        digest = hashlib.sha256(np.ascontiguousarray(self.pixels).data)
        digest.update(repr(self.grid).encode())
        return digest.digest()

    def feeds(self) -> Iterator[dict[str, NDArray[Any]]]:
        """The inputs of the vision graph, once per frame group."""
        for pixels in self.pixels:
            yield {"pixels": pixels, "positions": self.positions, "real": self.real, "order": self.order}

    def joined(self, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Features `[tokens, H]` of those of each frame group."""
        return np.concatenate(features)


def smart_resize(height: int, width: int, spec: VisionSpec) -> tuple[int, int]:
    """The size (height, width) in pixels that an image is resized to: multiples of `spec.factor` between
    `min_pixels` and `max_pixels` in area, as near to its aspect ratio as that allows.

    The algorithm is Qwen2-VL's `smart_resize`. Raises `ImageError` where one side is over 200 times the
    other.
    """
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise ImageError(
            f"got an image of {width}x{height} pixels, expected sides of at most {MAX_ASPECT_RATIO}:1; "
            "crop it, or cut it into several images"
        )
    factor = spec.factor
    if spec.table is not None and PACKINGS[spec.packing].enlarged and min(height, width) < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    rows, columns = round(height / factor), round(width / factor)
    if rows * columns * factor**2 > spec.max_pixels:
        shrink = math.sqrt(height * width / spec.max_pixels)
        rows = max(1, math.floor(height / shrink / factor))
        columns = max(1, math.floor(width / shrink / factor))
    elif rows * columns * factor**2 < spec.min_pixels:
        grow = math.sqrt(spec.min_pixels / (height * width))
        rows, columns = math.ceil(height * grow / factor), math.ceil(width * grow / factor)
    return rows * factor, columns * factor


def prepare(
    frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    spec: VisionSpec,
    is_video: bool = False,
    fps: float | None = None,
) -> Patches:
    """Resize (or letterbox), normalise and cut up one image (a single frame) or one video (frames of one size).

    `frames` are uint8 RGB arrays of shape [H, W, 3] as `load_image` gives them, or a stack of them. A video
    whose length is no multiple of `temporal_patch_size` repeats its last frame. `fps` is the rate of the
    frames given (after sampling); without it a frame group lasts one second, as in transformers.

    Raises `ImageError` for no frames, several frames of an image, frames of different sizes or another type,
    extreme aspect ratios (without a letterbox), and frame rates that are not positive.
    """
    _check_frames(frames, is_video, fps)
    return _in_windows(*raster_of(frames, spec, is_video, fps), spec)


def raster_of(
    frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    spec: VisionSpec,
    is_video: bool = False,
    fps: float | None = None,
) -> tuple[NDArray[np.uint8], Grid]:
    """Frames, resized, to patches `[T, G, merge^2, C, K / C]` line by line, and their grid."""
    resized = _resized(frames, spec)
    resized += resized[-1:] * (-len(resized) % spec.temporal_patch_size)
    stack = np.stack(resized)
    raster, (height, width) = _patchify(stack, spec), stack.shape[1:3]
    seconds = spec.temporal_patch_size / fps if fps else 1.0
    return raster, Grid(len(raster), height // spec.patch_size, width // spec.patch_size, is_video, seconds)


def fitted(frame: NDArray[np.uint8], spec: VisionSpec) -> NDArray[np.uint8]:
    """One frame `[H, W, 3]` in the size that the model wants: `prepare` gives the same for it, and it takes less room.

    Raises `ImageError` as `prepare`.
    """
    _check_frames([frame], False, None)
    return frame if spec.crops is not None else _resized([frame], spec)[0]


def reduced(frame: NDArray[np.uint8], spec: VisionSpec, times: int) -> NDArray[np.uint8]:
    """One frame `[H, W, 3]`, no larger than `times` its size on the model's canvas, for looks at parts of it.

    A model without a canvas gets the frame as it is. Raises `ImageError` as `prepare`.
    """
    _check_frames([frame], False, None)
    if spec.letterbox is None:
        return frame
    height, width = (times * side for side in spec.letterbox.fitted(*frame.shape[:2]))
    return frame if frame.shape[0] <= height else _scaled(frame, height, width, spec)


def _check_frames(frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], is_video: bool, fps: float | None) -> None:
    if not len(frames) or (len(frames) > 1 and not is_video):
        wanted = "at least 1 for a video" if is_video else "exactly 1 for an image"
        raise ImageError(f"got {len(frames)} frames, expected {wanted}; prepare images one by one")
    kinds = [(str(frame.dtype), *frame.shape) for frame in frames]
    for kind in kinds:
        if kind[0] != "uint8" or len(kind) != 4 or kind[3] != 3 or 0 in kind:
            raise ImageError(f"got a frame {kind[0]}{list(kind[1:])}, expected uint8 [H, W, 3]; use load_image")
    if len(set(kinds)) > 1:
        sizes = sorted({f"{kind[2]}x{kind[1]}" for kind in kinds})
        raise ImageError(f"got video frames of sizes {', '.join(sizes)}, expected one; resize them to one size")
    if fps is not None and not 0 < fps < math.inf:
        raise ImageError(f"got {fps} frames per second, expected a positive number; leave fps out if unknown")


def _resized(frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], spec: VisionSpec) -> list[NDArray[np.uint8]]:
    """Frames of one size in the size that the model wants."""
    if spec.letterbox is not None:
        return [spec.letterbox.apply(frame, spec.resample) for frame in frames]
    height, width = smart_resize(frames[0].shape[0], frames[0].shape[1], spec)
    return [_scaled(frame, height, width, spec) for frame in frames]


def _scaled(frame: NDArray[np.uint8], height: int, width: int, spec: VisionSpec) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling(spec.resample)))


def _patchify(stack: NDArray[np.uint8], spec: VisionSpec) -> NDArray[np.uint8]:
    """Frames [F, H, W, C] to patches [T, G, merge^2, C, K / C]: groups, and patches in each, row by row."""
    frames, height, width, channels = stack.shape
    p, m, f = spec.patch_size, spec.merge_size, spec.temporal_patch_size
    cut = stack.reshape(frames // f, f, height // (p * m), m, p, width // (p * m), m, p, channels)
    cut = cut.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return cut.reshape(frames // f, -1, m * m, channels, f * p * p)


def normalised(raster: NDArray[np.uint8], spec: VisionSpec) -> NDArray[np.float32]:
    """Patches `[..., C, K / C]` of 8 bits, normalised in transformers' order of precisions: rescaled in float64, the
    rest in float32.
    """
    pixels = np.empty(raster.shape, np.float32)
    np.multiply(raster, spec.rescale_factor, out=pixels, dtype=np.float64, casting="unsafe")
    mean, std = (np.asarray(values, np.float32)[:, None] for values in (spec.image_mean, spec.image_std))
    pixels -= mean
    pixels /= std
    return pixels


def _in_windows(raster: NDArray[np.uint8], grid: Grid, spec: VisionSpec) -> Patches:
    """Patches as `_patchify` makes them, normalised and rearranged into padded windows."""
    merge = spec.merge_size
    slots, order = _windows(grid.h // merge, grid.w // merge, spec.window_groups)
    placed = np.zeros((grid.t, len(slots), *raster.shape[2:]), np.uint8)
    placed[:, order] = raster  # while a pixel is a byte: of the floats there is one copy
    pixels = normalised(placed, spec)
    pixels[:, slots < 0] = 0
    positions = np.zeros((len(slots), merge**2, 2), np.int64)
    rows, columns = np.divmod(np.arange(len(order)), grid.w // merge)
    corner = np.stack([rows, columns], -1)[:, None] * merge
    positions[order] = corner + np.stack(np.divmod(np.arange(merge**2), merge), -1)
    return Patches(
        grid=grid,
        tokens=grid.tokens(spec),
        pixels=pixels.reshape(grid.t, -1, spec.patch_values),
        positions=positions.reshape(-1, 2),
        real=np.repeat(slots >= 0, merge**2),
        order=order,
    )


def _windows(rows: int, columns: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Arrange rows x columns merge groups in windows of side x side.

    Returns `slots` (window order to raster index, -1 where a window sticks out of the image) and `order`
    (raster order to slot). Without its padding it is transformers' `get_vision_window_index`.
    """
    padded = np.full((-(-rows // side) * side, -(-columns // side) * side), -1, np.int64)
    padded[:rows, :columns] = np.arange(rows * columns).reshape(rows, columns)
    tiles = padded.reshape(len(padded) // side, side, -1, side).transpose(0, 2, 1, 3)
    slots = tiles.reshape(-1)
    order = np.empty(rows * columns, np.int64)
    order[slots[slots >= 0]] = np.flatnonzero(slots >= 0)
    return slots, order
