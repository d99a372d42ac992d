"""Latents to pixels one latent frame after the other, the decoder's states staying where it made them; a picture to
latents.

Streaming gives the same pixels as decoding a whole clip: the decoder is causal, and its states are all that it takes
from earlier frames. Knows no steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import NumericsError
from ...engines.protocol import Buffer, Engine
from .clip import Block

__all__ = ["PixelStream", "encoded_picture", "in_bytes"]

States = Mapping[str, Buffer]


class PixelStream:
    """Graphs `pixels_first` and `pixels_next`, or those of drafts, with the states between them."""

    def __init__(self, engine: Callable[[str], Engine], states: States | None = None, draft: bool = False) -> None:
        """`states`: those behind the frames that another stream has decoded; None begins a clip. `draft`: by the
        bundle's decoder for drafts.
        """
        self._engine, self.draft = engine, draft
        self.states: States | None = states
        """States by `pixels_next`'s input names; None before the first frame. Never written to, so they may be kept."""

    def decode(self, block: Block, latents: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Pixels `[n, H, W, 3]` in 0 to 1 of each latent frame of `latents [C, F, h, w]` in turn.

        Raises NumericsError that names the block and the frame.
        """
        for at in range(latents.shape[1]):
            pixels = self._frame(latents[None, :, at : at + 1])
            if not np.isfinite(pixels).all():
                raise NumericsError(
                    f"block {block.index}, latent frame {block.start + at}: the pixels are not finite; decode in fp32, "
                    "and report it if that does not help"
                )
            yield pixels

    def _frame(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        first = self.states is None
        graph = "pixels_first" if first else "pixels_next"
        engine = self._engine(f"{graph}_draft" if self.draft else graph)
        kept = [name for name in engine.outputs if name != "pixels"]
        feeds: dict[str, Any] = {"latents": np.ascontiguousarray(latents), **(self.states or {})}
        made = dict(engine.run(feeds, keep=kept))
        pixels: NDArray[np.float32] = np.asarray(made.pop("pixels"), np.float32)[0]
        self.states = {f"past_{name.removeprefix('new_')}": state for name, state in made.items()}  # type: ignore[misc]
        return pixels


def encoded_picture(picture: NDArray[np.uint8], encoder: Engine) -> NDArray[np.float32]:
    """The first latent frame `[C, 1, h, w]` of a picture `[H, W, 3]`."""
    image = np.asarray(picture, np.float32)[None] / np.float32(255)
    latents: NDArray[np.float32] = np.asarray(encoder.run({"image": image}, ["latents"])["latents"], np.float32)[0]
    return latents


def in_bytes(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pixels in 0 to 1 as bytes, rounded half to even."""
    frames: NDArray[np.uint8] = np.rint(pixels * np.float32(255)).astype(np.uint8)
    return frames
