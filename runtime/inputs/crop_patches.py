"""Pictures in crops to the inputs of vision.onnx, and what comes out to the features of a prompt.

For towers that see one size (SigLIP): the graph takes a crop at a time. How a picture is cut, and how its features are
put in order, is `crops.py`; windows and videos, which other towers have, are `vision.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .patches import Grid, VisionSpec, normalised

__all__ = ["Cropped", "prepare_crops"]


@dataclass(frozen=True)
class Cropped:
    """A picture as the vision graph takes it, N crops of M patches, and its features' places."""

    pixels: NDArray[np.float32]
    """`[N, M, K]`: the patches of each crop, line by line."""
    index: NDArray[np.int64]
    """`[G, 4]`: rows, among the M + 1 of all crops, that each feature is mixed of."""
    weight: NDArray[np.float32]
    """`[G, 4]`"""

    @property
    def tokens(self) -> int:
        """Features that the whole picture gives."""
        return len(self.index)

    @property
    def grid(self) -> Grid:
        """The grid of a run of features, which has no lines and columns."""
        return Grid(1, 1, self.tokens)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the picture: the same only for the same crops in the same order."""
        return hashlib.sha256(self.pixels.tobytes() + self.index.tobytes() + self.weight.tobytes()).digest()

    def feeds(self) -> Iterator[dict[str, NDArray[Any]]]:
        """The inputs of the vision graph, once per crop."""
        for pixels in self.pixels:
            yield {"pixels": pixels}

    def joined(self, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Features `[G, H]` of the `[M + 1, H]` of each crop."""
        rows = np.concatenate(features)
        made = rows[self.index[:, 0]] * self.weight[:, :1]
        for corner in range(1, self.index.shape[1]):
            if self.weight[:, corner].any():
                made += rows[self.index[:, corner]] * self.weight[:, corner, None]
        return made


def prepare_crops(picture: NDArray[np.uint8], spec: VisionSpec, alone: bool) -> Cropped:
    """Cut, normalise and cut up one `picture [H, W, 3]`; `alone`: it is the only one of its prompt.

    Several pictures are one crop each, in a square with bars of the mean colour, as LLaVA-OneVision has them.
    """
    assert spec.crops is not None
    side = spec.crops.size // spec.patch_size
    if alone:
        crops = spec.crops.cut(picture, spec.resample)
        index, weight = spec.crops.arrange(picture.shape[0], picture.shape[1], side)
    else:
        crops = spec.crops.square(picture, tuple(int(x * 255) for x in spec.image_mean), spec.resample)
        index = np.arange(side**2 + 1).repeat(4).reshape(-1, 4)
        weight = np.broadcast_to(np.eye(1, 4, dtype=np.float32), index.shape)
    return Cropped(_patches(crops, side, spec), index, weight)


def _patches(crops: NDArray[np.uint8], side: int, spec: VisionSpec) -> NDArray[np.float32]:
    """`[N, size, size, 3]` to `[N, side * side, 3 * patch * patch]`; what is left of the size is dropped."""
    p, N = spec.patch_size, len(crops)
    cut = crops[:, : side * p, : side * p].reshape(N, side, p, side, p, 3).transpose(0, 1, 3, 5, 2, 4)
    return normalised(cut.reshape(N, side**2, 3, p * p), spec).reshape(N, side**2, -1)
