"""Two variants of a model over one decode: the reference leads, the other says at every step what it would have done.

Both see the same rows and the same masks, so that one flipped token does not hide what comes after it: what is counted
is how often the *next* step would differ. Knows backbones and proposals; not files, nor what is good enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...engines.protocol import Buffer
from ...runtime.decode.backbone import Backbone, Rows
from ...runtime.decode.block import Block, Proposal
from ...runtime.decode.denoiser import Denoiser
from ...runtime.decode.loop import decode
from ...runtime.decode.options import Options, plan
from ...runtime.decode.sequence import Prompt
from ...runtime.model import Model
from .intervals import Rate

__all__ = ["Drift", "follow"]


@dataclass
class Drift:
    """What was found, growing with every decode."""

    steps: Rate = field(default_factory=Rate)
    """Steps that accept the same positions."""
    proposals: Rate = field(default_factory=Rate)
    """Masked rows that propose the same token."""
    confidence: list[float] = field(default_factory=list)
    """Mean absolute difference of confidence in each step."""
    largest: float = 0.0
    layers: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    """Of each layer's cached keys and values: squared difference, and squared reference."""

    def compare(self, block: Block, own: Proposal, other: Proposal) -> None:
        """One step."""
        masked = block.masked
        self.steps.add(bool((own.next_masked == other.next_masked).all()))
        self.proposals.add(int((own.proposed == other.proposed)[masked].sum()), int(masked.sum()))
        off = np.abs(own.confidence - other.confidence)[masked]
        self.confidence.append(float(off.mean()))
        self.largest = max(self.largest, float(off.max()))

    def compare_rows(self, own: Backbone, other: Backbone, keep: int) -> None:
        """The rows that were just cached."""
        rows = slice(own.cache.length - keep, own.cache.length)
        sums = []
        for (_, a), (_, b) in zip(own.cache.feeds().items(), other.cache.feeds().items(), strict=True):
            ours, theirs = (np.asarray(x.numpy()[..., rows, :], np.float64) for x in (a, b))
            sums.append((float(((ours - theirs) ** 2).sum()), float((ours**2).sum())))
        both = np.asarray(sums).reshape(own.cache.shape.layers, 2, 2).sum(1)
        self.layers = both if not len(self.layers) else self.layers + both

    def layer_errors(self) -> list[tuple[int, float]]:
        """Layers with the relative error of their keys and values, worst first."""
        shares = np.sqrt(self.layers[:, 0] / np.maximum(self.layers[:, 1], 1e-300))
        return sorted(enumerate(shares.tolist()), key=lambda row: -row[1])


class _Backbones(Backbone):
    """The reference's backbone; the other runs the same rows."""

    def __init__(self, own: Backbone, other: Backbone, prompt: Prompt, drift: Drift) -> None:
        self.own, self.other, self._prompt, self._drift = own, other, prompt, drift
        self.cache = own.cache
        self.forwards = 0
        self.followed: Buffer | None = None

    @property
    def carry(self) -> Buffer:  # type: ignore[override]
        """The reference's."""
        return self.own.carry

    def forward(self, rows: Rows, keep: int, draft: int = 0, tokens: Buffer | None = None) -> Buffer:
        """See `Backbone.forward`."""
        start = self.own.cache.length
        hidden = self.own.forward(rows, keep, draft, tokens)
        self.followed = self.other.forward(self._others(rows, start), keep, draft, tokens)
        if keep:
            self._drift.compare_rows(self.own, self.other, keep)
        return hidden

    def refine(self, rows: Rows, at: int) -> Buffer:
        """See `Backbone.refine`."""
        self.followed = self.other.refine(self._others(rows, self.own.cache.length + at), at)
        return self.own.refine(rows, at)

    def _others(self, rows: Rows, start: int) -> Rows:
        """The same rows with the features that the other's own vision tower sees."""
        seen = self._prompt.features
        if rows.features is None or seen is None:
            return rows
        index = start + np.arange(len(rows))
        features = np.zeros_like(rows.features)
        features[index < len(seen)] = seen[index[index < len(seen)]]
        return replace(rows, features=features)


@dataclass(frozen=True)
class _Denoisers(Denoiser):
    """The reference's proposals; the other's are compared."""

    other: Denoiser
    backbones: _Backbones
    drift: Drift

    def propose(
        self, hidden: Buffer, carry: Buffer, block: Block, count: int, at: tuple[int, int], end: int | None = None
    ) -> Proposal:
        """See `Denoiser.propose`."""
        own = super().propose(hidden, carry, block, count, at, end)
        followed = self.backbones.followed
        assert followed is not None
        other = self.other.propose(followed, self.backbones.other.carry, block, count, at, end)
        self.drift.compare(block, own, other)
        return own


def follow(reference: Model, variant: Model, prompts: tuple[Prompt, Prompt], options: Options, drift: Drift) -> None:
    """Decode a prompt by `reference`, and note what `variant`, on rows of its own prompt, would have done."""
    lead, chased = reference.session(), variant.session()
    resolved = plan(lead.contract, options)
    backbones = _Backbones(lead.backbone, chased.backbone, prompts[1], drift)
    other = Denoiser(chased.engine, chased.contract.shift, resolved, chased.contract.forbid_token_ids)
    denoiser = _Denoisers(
        lead.engine, lead.contract.shift, resolved, lead.contract.forbid_token_ids, other, backbones, drift
    )
    sequence = lead.enter(prompts[0], resolved)
    for _ in decode(sequence, backbones, denoiser, lead.contract, resolved):
        pass
