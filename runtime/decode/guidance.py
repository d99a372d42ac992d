"""Classifier-free guidance (Ho and Salimans, 2207.12598): two streams of the same rows, one blind to the prompt.

The blind stream holds masks in the prompt's place, as dLLM's and LLaDA's samplers do. Logits are linear in the hidden
rows, l = h W, so u + (s + 1)(c - u) is taken of hidden rows, before they are projected: the denoise graphs know
nothing of it, and project once. Does not know blocks, or what is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...engines.host import HostBuffer
from ...engines.protocol import Buffer
from .backbone import Backbone, Rows
from .cache import Cache

__all__ = ["Guided"]


@dataclass(frozen=True)
class Guided:
    """A backbone behind which two run, each over its own cache; both caches are empty to begin with."""

    seen: Backbone
    """The stream that sees the prompt."""
    blind: Backbone
    prompt: int
    """Leading rows that the blind stream does not see."""
    keep: tuple[int, ...]
    """Tokens of the prompt that it sees all the same."""
    mask_token_id: int
    scale: float

    @property
    def cache(self) -> Cache:
        """Of the stream that sees the prompt; the other's is as long."""
        return self.seen.cache

    @property
    def carry(self) -> Buffer:
        """See `Backbone.carry`."""
        return self._mixed(self.seen.carry, self.blind.carry)

    def forward(self, rows: Rows, keep: int, draft: int = 0) -> Buffer:
        """See `Backbone.forward`."""
        hidden = self.blind.forward(self._blinded(rows, self.cache.length), keep, draft)
        return self._counted(self.seen.forward(rows, keep, draft), hidden)

    def refine(self, rows: Rows, at: int) -> Buffer:
        """See `Backbone.refine`."""
        hidden = self.blind.refine(self._blinded(rows, self.cache.length + at), at)
        return self._counted(self.seen.refine(rows, at), hidden)

    def _counted(self, seen: Buffer, blind: Buffer) -> Buffer:
        self.seen.forwards += 1  # the other stream's is a forward like any other
        return self._mixed(seen, blind)

    def _blinded(self, rows: Rows, first: int) -> Rows:
        """`rows`, which begin at row `first`, with masks for the prompt; its pictures are masks as well."""
        hidden = (first + np.arange(len(rows)) < self.prompt) & ~np.isin(rows.tokens, self.keep)
        tokens = np.where(hidden, self.mask_token_id, rows.tokens)
        shown = None if rows.is_feature is None else rows.is_feature & ~hidden
        return replace(rows, tokens=tokens, is_feature=shown)

    def _mixed(self, seen: Buffer, blind: Buffer) -> Buffer:
        c, u = (buffer.numpy() for buffer in (seen, blind))
        wide = np.promote_types(c.dtype, np.float32)  # (s + 1) c may overflow what holds c
        mixed = u.astype(wide) + (self.scale + 1) * (c.astype(wide) - u.astype(wide))
        return HostBuffer(mixed.astype(c.dtype))
