"""Classifier-free guidance (Ho and Salimans, 2207.12598): two streams of the same rows, one blind to the prompt.

The blind stream holds masks in the prompt's place, as dLLM's and LLaDA's samplers do. Logits are linear in the hidden
rows, l = h W, so u + (s + 1)(c - u) is taken of hidden rows, before they are projected: the denoise graphs know
nothing of it, and project once. Does not know blocks, or what is accepted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...engines.host import HostBuffer
from ...engines.protocol import Buffer
from .block import Rows
from .denoiser import Denoiser
from .forward import Forward
from .runner import Backbone, EngineRunner

__all__ = ["GuidedRunner"]


class GuidedRunner(EngineRunner):
    """Two backbones for each forward, each over its own cache; both caches are empty to begin with."""

    def __init__(
        self,
        seen: Backbone,
        blind: Backbone,
        denoiser: Denoiser,
        prompt: int,
        keep: tuple[int, ...],
        mask_token_id: int,
        scale: float,
    ) -> None:
        """`blind` does not see the `prompt` leading rows, but for tokens in `keep`."""
        super().__init__(seen, denoiser)
        self._blind = EngineRunner(blind, denoiser)
        self._prompt, self._keep, self._mask, self._scale = prompt, keep, mask_token_id, scale

    def last(self) -> Buffer:
        """See `EngineRunner.last`."""
        return self._mixed(super().last(), self._blind.last())

    def forward(self, request: Forward) -> Buffer:
        """See `EngineRunner.forward`."""
        if request.rows is None:
            return self.last()
        first = self.cache.length + (request.at or 0)
        blind = self._blind.forward(replace(request, rows=self._blinded(request.rows, first)))
        seen = super().forward(request)
        self.backbone.forwards += 1  # the other stream's is a forward like any other
        return self._mixed(seen, blind)

    def _blinded(self, rows: Rows, first: int) -> Rows:
        """`rows`, which begin at row `first`, with masks for the prompt; its pictures are masks as well."""
        hidden = (first + np.arange(len(rows)) < self._prompt) & ~np.isin(rows.tokens, self._keep)
        tokens = np.where(hidden, self._mask, rows.tokens)
        shown = None if rows.is_feature is None else rows.is_feature & ~hidden
        return replace(rows, tokens=tokens, is_feature=shown)

    def _mixed(self, seen: Buffer, blind: Buffer) -> Buffer:
        c, u = (buffer.numpy() for buffer in (seen, blind))
        wide = np.promote_types(c.dtype, np.float32)  # (s + 1) c may overflow what holds c
        mixed = u.astype(wide) + (self._scale + 1) * (c.astype(wide) - u.astype(wide))
        return HostBuffer(mixed.astype(c.dtype))
