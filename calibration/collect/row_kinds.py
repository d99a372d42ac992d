"""Strata: the kinds of rows that a decode loop feeds to a network, told apart while it runs.

    prefill                    rows of a prompt
    commit                     rows of a finished block, on their way into the cache
    step 1, 3/4 masked, masked     rows without a token in the second step of a block with up to 3/4 masks
    step 1, 3/4 masked, settled    the rows that hold one meanwhile
    vision                     patches of an image

Knows the loop; not what is recorded of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...runtime.decode.block import Rows

__all__ = ["VISION", "Parts", "Place", "kept_only"]

LAST_STEP = 7
"""Later steps are counted as this one."""

VISION = "vision"
PREFILL, COMMIT = "prefill", "commit"

Parts = list[tuple[str, "NDArray[np.intp] | slice"]]


def kept_only(name: str) -> bool:
    """A stratum of rows that a cache keeps, or that never meet a block: what a prompt alone would show."""
    return name in (PREFILL, VISION)


@dataclass
class Place:
    """Place of a decode: the stratum that each row of the forward that runs now belongs to."""

    mask_token_id: int | None
    prompt: int = 0
    """Rows of the prompt."""
    step: int = 0
    parts: dict[str, Parts] = field(default_factory=dict)
    """Graph to strata with the indices of their rows."""

    def enter(self, rows: Rows, keep: int, cached: int) -> None:
        """The backbone is about to run `rows` behind `cached` ones, of which the first `keep` will be kept."""
        index = np.arange(len(rows))
        old = index < keep
        prompt = cached + index < self.prompt
        parts = [(PREFILL, old & prompt), (COMMIT, old & ~prompt)]
        # A prompt may hold the mask's id; what the model wrote may not.
        masked = (rows.tokens == self.mask_token_id) & ~prompt
        noisy = masked[keep:]
        self.parts["denoise"] = [(COMMIT, slice(None))]  # a commit may yield a token
        if len(noisy):
            name = self._step(float(noisy.mean()))
            parts += [(f"{name}, masked", ~old & masked), (f"{name}, settled", ~old & ~masked)]
            # The denoise graphs are asked about masked rows only.
            self.parts["denoise"] = [(f"{name}, masked", slice(None))]
        self.parts["backbone"] = [(name, np.flatnonzero(which)) for name, which in parts if which.any()]

    def _step(self, share: float) -> str:
        more = "+" if self.step >= LAST_STEP else ""
        return f"step {min(self.step, LAST_STEP)}{more}, {max(1, int(np.ceil(4 * share)))}/4 masked"
