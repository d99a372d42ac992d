"""Two variants of a model over one decode: the reference leads, the other says at every step what it would have done.

Both see the same rows and the same masks, so that one flipped token does not hide what comes after it: what is counted
is how often the *next* step would differ. Knows runners and proposals; not files, nor what is good enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...runtime.decode.block import Block, Prompt, Proposal
from ...runtime.decode.cache import Cache
from ...runtime.decode.forward import Forward, Propose, Request
from ...runtime.decode.loop import decode
from ...runtime.decode.options import Options, plan
from ...runtime.decode.runner import Answer, Runner, drive
from ...runtime.model import Model
from .intervals import Rate

__all__ = ["Drift", "follow"]


@dataclass
class Drift:
    """Findings, growing with every decode."""

    steps: Rate = field(default_factory=Rate)
    """Steps that accept the same positions."""
    proposals: Rate = field(default_factory=Rate)
    """Masked rows that propose the same token."""
    confidence: list[float] = field(default_factory=list)
    """Mean absolute difference of confidence in each step."""
    largest: float = 0.0
    layers: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    """Errors of each layer's cached keys and values: squared difference, and squared reference."""

    def compare(self, block: Block, own: Proposal, other: Proposal) -> None:
        """One step."""
        masked = block.masked
        self.steps.add(bool((own.next_masked == other.next_masked).all()))
        self.proposals.add(int((own.proposed == other.proposed)[masked].sum()), int(masked.sum()))
        off = np.abs(own.confidence - other.confidence)[masked]
        self.confidence.append(float(off.mean()))
        self.largest = max(self.largest, float(off.max()))

    def compare_rows(self, own: Cache, other: Cache, keep: int) -> None:
        """The rows that were just cached."""
        rows = slice(own.length - keep, own.length)
        sums = []
        for (_, a), (_, b) in zip(own.feeds().items(), other.feeds().items(), strict=True):
            ours, theirs = (np.asarray(x.numpy()[..., rows, :], np.float64) for x in (a, b))
            sums.append((float(((ours - theirs) ** 2).sum()), float((ours**2).sum())))
        both = np.asarray(sums).reshape(own.shape.layers, 2, 2).sum(1)
        self.layers = both if not len(self.layers) else self.layers + both

    def layer_errors(self) -> list[tuple[int, float]]:
        """Layers with the relative error of their keys and values, worst first."""
        shares = np.sqrt(self.layers[:, 0] / np.maximum(self.layers[:, 1], 1e-300))
        return sorted(enumerate(shares.tolist()), key=lambda row: -row[1])


@dataclass(frozen=True)
class _Lockstep:
    """The reference's runner; the other runs the same requests, and what the two say is compared."""

    own: Runner
    other: Runner
    prompt: Prompt
    """The other's, with the features that its own vision tower sees."""
    drift: Drift

    @property
    def cache(self) -> Cache:
        """The reference's."""
        return self.own.cache

    def run(self, request: Request) -> Answer:
        """See `Runner.run`."""
        assert isinstance(request, Forward)  # masked decoding asks for nothing else
        start = self.own.cache.length
        own, other = self.own.run(request), self.other.run(self._others(request, start))
        if request.keep:
            self.drift.compare_rows(self.own.cache, self.other.cache, request.keep)
        if isinstance(request.ask, Propose):
            self.drift.compare(request.ask.block, own, other)  # type: ignore[arg-type]
        return own

    def _others(self, request: Forward, start: int) -> Forward:
        """The same rows with the features that the other's own vision tower sees."""
        rows, seen = request.rows, self.prompt.rows.features
        if rows is None or rows.features is None or seen is None:
            return request
        index = start + (request.at or 0) + np.arange(len(rows))
        features = np.zeros_like(rows.features)
        features[index < len(seen)] = seen[index[index < len(seen)]]
        return replace(request, rows=replace(rows, features=features))


def follow(reference: Model, variant: Model, prompts: tuple[Prompt, Prompt], options: Options, drift: Drift) -> None:
    """Decode a prompt by `reference`, and note what `variant`, on rows of its own prompt, would have done."""
    lead, chased = reference.session(), variant.session()
    resolved = plan(lead.contract, options)
    sequence = lead.enter(prompts[0], resolved)
    own, other = (session.runner(sequence, resolved) for session in (lead, chased))
    for _ in drive(decode(sequence, lead.contract, resolved), _Lockstep(own, other, prompts[1], drift)):
        pass
