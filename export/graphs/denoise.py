"""The diffusion maths on the rows of one block, in pieces: projection, proposal, and which masked rows to accept.

A proposal is the most probable token (`Greedy`), or one drawn at a temperature (`Temper`, `Halve`, `Nucleus`, `Draw`,
and `Believe`, which says how probable it was there).
Both share `Project` before and `Settle` after: accept the `count` most confident masked rows, and any above
`threshold`. The pieces know nothing of schedules, of other blocks, or of where randomness comes from: it is data.

Written for engines without runtime-sized sorts (TensorRT's TopK takes at most 3840): ranks are pairwise comparisons,
and the filters of sampling find their cut by bisection, one `Halve` at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = [
    "BELIEVED",
    "HALVINGS",
    "SETTLED",
    "Believe",
    "Draw",
    "Greedy",
    "Halve",
    "Nucleus",
    "Project",
    "Settle",
    "Temper",
]

SETTLED = ("next_tokens", "next_masked", "left", "proposed", "confidence", "entropy", "held")
"""What `Settle` returns, in this order: the outputs of both graphs."""

BELIEVED = ("tempered", "tempered_entropy", "filtered", "filtered_entropy")
"""What `Believe` returns, in this order: further outputs of the sample graph."""

FORBIDDEN_LOGIT = -3.0e38
"""Stands for the logit of a token that may not be proposed: below all others, and finite."""

LOWEST = -88.0
"""exp of it is about the smallest normal float32: a token so far below the best has no mass that could be drawn."""

HALVINGS = 30
"""Of `LOWEST..0`: they end 8e-8 apart, the resolution of float32 near 1."""


class Project(nn.Module):
    """The output projection, `lm_head [V,H]` as checkpoints store it: a tied one is the embedding table itself."""

    def __init__(self, hidden: int, vocab: int) -> None:
        super().__init__()
        self.lm_head = nn.Parameter(torch.empty(vocab, hidden))

    def forward(self, hidden: Tensor, carry: Tensor, gather: Tensor) -> Tensor:
        """Logits `[B,V]` float32; `gather [1,B]` says which row of [`carry [1,1,H]`, `hidden [1,R,H]`] gives each."""
        rows = torch.cat([carry, hidden], 1)[0].index_select(0, gather[0])
        return nn.functional.linear(rows, self.lm_head).float()


class _Chooser(nn.Module):
    """What picks tokens: `forbidden` ids are out of reach for it, though they count in every probability."""

    def __init__(self, forbidden: tuple[int, ...]) -> None:
        super().__init__()
        self.forbidden = forbidden

    def allowed(self, logits: Tensor) -> Tensor:
        """`logits [B,V]` with the forbidden columns at the bottom."""
        if not self.forbidden:
            return logits
        columns = torch.tensor(self.forbidden).unsqueeze(0).expand(logits.shape[0], -1)
        return logits.scatter(1, columns, FORBIDDEN_LOGIT)


class Greedy(_Chooser):
    """The most probable token; of equals the first."""

    def forward(self, logits: Tensor) -> Tensor:
        """`logits [B,V]` to `proposed [B]` int64."""
        return self.allowed(logits).argmax(-1)


class Temper(_Chooser):
    """The tempered distribution, and the start of the search for the top-k cut."""

    def forward(self, logits: Tensor, temperature: Tensor, top_k: Tensor) -> tuple[Tensor, ...]:
        """`temperature [1]` float32 > 0, `top_k [1]` int64 (0: all) to scaled, weight, wanted, low, high.

        `scaled [B,V]` are logits below the best; the cut is where `wanted [B,1]` tokens of weight 1 are at or above.
        """
        logits = self.allowed(logits)
        scaled = (logits - logits.amax(-1, keepdim=True)) / temperature
        low = torch.full_like(scaled[:, :1], LOWEST)
        wanted = torch.where(top_k > 0, top_k, logits.shape[1]).float() + torch.zeros_like(low)
        return scaled, torch.ones_like(scaled), wanted, low, torch.zeros_like(low)


class Halve(nn.Module):
    """One step of bisection towards the highest cut such that the tokens at or above it weigh at least `wanted`."""

    def forward(
        self, scaled: Tensor, weight: Tensor, wanted: Tensor, low: Tensor, high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`scaled, weight [B,V]`, `wanted, low, high [B,1]` (enough at low, too little at high) to closer ends."""
        middle = (low + high) * 0.5
        # A product, because ONNX Runtime's Where takes four times as long.
        enough = (weight * (scaled >= middle).float()).sum(-1, keepdim=True) >= wanted
        return torch.where(enough, middle, low), torch.where(enough, high, middle)


class Nucleus(nn.Module):
    """The tokens that top-k keeps, and the start of the search for the top-p cut (nucleus sampling, 1904.09751)."""

    def forward(self, scaled: Tensor, low: Tensor, top_p: Tensor) -> tuple[Tensor, ...]:
        """`scaled [B,V]`, the top-k cut `low [B,1]` and `top_p [1]` to weight, wanted, low, high."""
        weight = scaled.exp() * (scaled >= low).float()
        start = torch.full_like(low, LOWEST)
        return weight, top_p * weight.sum(-1, keepdim=True), start, torch.zeros_like(low)


class Draw(nn.Module):
    """One token by inverse transform: the first whose cumulated weight exceeds the noise."""

    def forward(
        self, scaled: Tensor, weight: Tensor, low: Tensor, top_p: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`scaled, weight [B,V]`, the top-p cut `low [B,1]`, `top_p [1]` (1: all), `noise [1,B]` in [0,1) to `[B]`.

        Noise below 0 takes the most probable token. Also returns what the filters have left of `weight`.
        """
        weight = weight * ((scaled >= low) | (top_p >= 1)).float()
        kept = weight > 0
        cumulated = weight.cumsum(-1)
        beyond = kept & (cumulated > noise[0].unsqueeze(-1) * cumulated[:, -1:])
        # Rounding may leave no token beyond the noise: then any that is kept, never one that is filtered.
        best = (noise[0].unsqueeze(-1) < 0) & (scaled >= 0)
        return (kept.float() + (beyond & (noise[0].unsqueeze(-1) >= 0)).float() + best.float()).argmax(-1), weight


class Believe(nn.Module):
    """What the distributions that a token was drawn from say of it: at the temperature, and filtered as well."""

    def forward(self, scaled: Tensor, kept: Tensor, proposed: Tensor) -> tuple[Tensor, ...]:
        """`scaled, kept [B,V]`, `proposed [B]` to its probability and the entropy in nats, `[1,B]` each, of both."""
        # A forbidden token's logit may be beyond float32 once it is divided by a temperature.
        scaled = scaled.clamp(min=LOWEST)
        return *_share(scaled, scaled.exp() * (scaled > LOWEST).float(), proposed), *_share(scaled, kept, proposed)


class Settle(nn.Module):
    """Accept the masked rows that are among the `count` most confident, or above `threshold`."""

    def forward(
        self, logits: Tensor, proposed: Tensor, tokens: Tensor, masked: Tensor, count: Tensor, threshold: Tensor
    ) -> tuple[Tensor, ...]:
        """`logits [B,V]`, `proposed [B]`, the block `tokens, masked [1,B]`, `count, threshold [1]` to SETTLED.

        Probabilities are those of the raw logits: a temperature chooses tokens, not when they are good enough.
        """
        confidence, entropy, held = _beliefs(logits, proposed, tokens[0])
        accept = masked[0] & ((_rank(confidence, masked[0]) < count) | (confidence > threshold))
        still = masked[0] & ~accept
        following = torch.where(accept, proposed, tokens[0])
        rows = (proposed, confidence, entropy, held)
        first = (following.unsqueeze(0), still.unsqueeze(0), still.sum(0, keepdim=True))
        return first + tuple(row.unsqueeze(0) for row in rows)


def _share(scaled: Tensor, mass: Tensor, proposed: Tensor) -> tuple[Tensor, Tensor]:
    """Of the distribution with this `mass [B,V]` = exp(scaled) or 0: probability of `proposed` and entropy, `[1,B]`."""
    total = mass.sum(-1)
    entropy = total.log() - (mass * scaled).sum(-1) / total
    return (mass.gather(1, proposed.unsqueeze(-1))[:, 0] / total).unsqueeze(0), entropy.unsqueeze(0)


def _beliefs(logits: Tensor, proposed: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probability of `proposed`, entropy in nats, and probability of `tokens`, each `[B]`, of softmax(logits)."""
    scaled = logits - logits.amax(-1, keepdim=True)
    mass = scaled.exp()
    total = mass.sum(-1, keepdim=True)
    entropy = total.log() - (mass * scaled).sum(-1, keepdim=True) / total
    both = mass.gather(1, torch.stack([proposed, tokens], -1)) / total
    return both[:, 0], entropy[:, 0], both[:, 1]


def _rank(confidence: Tensor, masked: Tensor) -> Tensor:
    """`[B]`: how many masked rows come before each, being more confident, or as confident and earlier."""
    mine, other = confidence.unsqueeze(1), confidence.unsqueeze(0)
    index = torch.arange(confidence.shape[0])
    earlier = index.unsqueeze(0) < index.unsqueeze(1)
    before = (other > mine) | ((other == mine) & earlier)
    return (before & masked.unsqueeze(0)).sum(1)
