"""The denoise graph: hidden rows of one block to the most probable tokens, and which masked rows to accept.

Accepted are the `count` most confident masked rows, and any above `threshold`. Knows nothing of schedules or of other
blocks. Written for engines without runtime-sized sorts (TensorRT's TopK takes at most 3840): ranks are pairwise
comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .kind import OWN, Array, Case, Kind, Machine, Piece, Port
from .layers import parameters
from .shapes import Network

__all__ = ["DENOISE", "Chooser", "block_cases", "block_ports", "logits_of", "settled", "settled_ports", "wide"]

V = TypeVar("V")

SETTLED = ("next_tokens", "next_masked", "left", "proposed", "confidence", "entropy", "held")
"""Results of `Settle`, in this order: the outputs of both graphs."""

FORBIDDEN_LOGIT = -3.0e38
"""Stands for the logit of a token that may not be proposed: below all others, and finite."""


class Project(nn.Module):
    """The output projection, `lm_head [V,H]` as checkpoints store it: a tied one is the embedding table itself."""

    def __init__(self, hidden: int, vocab: int) -> None:
        super().__init__()
        parameters(self, {"lm_head": (vocab, hidden)})

    def forward(self, hidden: Tensor, carry: Tensor, gather: Tensor) -> Tensor:
        """Logits `[B,V]` float32; `gather [1,B]` says which row of [`carry [1,1,H]`, `hidden [1,R,H]`] gives each."""
        rows = torch.cat([carry, hidden], 1)[0].index_select(0, gather[0])
        return nn.functional.linear(rows, self.lm_head).float()


class Chooser(nn.Module):
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


class Greedy(Chooser):
    """The most probable token; of equals the first."""

    def forward(self, logits: Tensor) -> Tensor:
        """`logits [B,V]` to `proposed [B]` int64."""
        return self.allowed(logits).argmax(-1)


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


def wide(network: Network, *names: str) -> dict[str, Port]:
    """Ports `[B,V]`."""
    return dict.fromkeys(names, Port("float32", ("block", network.decoder.vocab)))


def _hidden_ports(network: Network) -> dict[str, Port]:
    hidden = network.decoder.hidden
    return {
        "hidden": Port(OWN, (1, "rows", hidden)),
        "carry": Port(OWN, (1, 1, hidden)),
        "gather": Port("int64", (1, "block")),
    }


def _accept_ports() -> dict[str, Port]:
    block = {"tokens": Port("int64", (1, "block")), "masked": Port("bool", (1, "block"))}
    return block | {"count": Port("int64", (1,)), "threshold": Port("float32", (1,))}


PROJECT = Piece(
    "project",
    lambda network: Project(network.decoder.hidden, network.decoder.vocab),
    _hidden_ports,
    ("logits",),
    table="lm_head",
)
GREEDY = Piece(
    "greedy", lambda network: Greedy(network.forbidden), lambda network: wide(network, "logits"), ("proposed",)
)
SETTLE = Piece(
    "settle",
    lambda _: Settle(),
    lambda network: wide(network, "logits") | {"proposed": Port("int64", ("block",))} | _accept_ports(),
    SETTLED,
)


def block_ports(network: Network) -> dict[str, Port]:
    """Inputs of both graphs."""
    return _hidden_ports(network) | _accept_ports()


def settled_ports(_: Network) -> dict[str, Port]:
    """Outputs of both graphs."""
    kinds = ("int64", "bool", "int64", "int64", "float32", "float32", "float32")
    rows = {name: Port(kind, (1, "block")) for name, kind in zip(SETTLED, kinds, strict=True)}
    return rows | {"left": Port("int64", (1,))}


def logits_of(network: Network, machine: Machine[V], feeds: Mapping[str, V]) -> V:
    """The logits of the block's rows."""
    (logits,) = machine.apply(PROJECT, {name: feeds[name] for name in _hidden_ports(network)})
    return logits


def settled(machine: Machine[V], feeds: Mapping[str, V], logits: V, proposed: V) -> dict[str, V]:
    """Outputs by name, once tokens are proposed."""
    block = {name: feeds[name] for name in _accept_ports()}
    made = machine.apply(SETTLE, {"logits": logits, "proposed": proposed, **block})
    return dict(zip(SETTLED, made, strict=True))


def _run(network: Network, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    logits = logits_of(network, machine, feeds)
    (proposed,) = machine.apply(GREEDY, {"logits": logits})
    return settled(machine, feeds, logits, proposed)


def block_cases(network: Network, hidden: Array, block: int) -> Iterator[Case]:
    """Cases over the rows `hidden [1,R,H]`, for shifts and accept rules."""
    rng, vocab = np.random.default_rng(1), network.decoder.vocab
    hidden = hidden.astype(np.float16).astype(np.float32)  # so that every precision holds them exactly
    rows = hidden.shape[1]
    block = min(block, rows)
    for shift in (0, 1):
        for count, threshold in ((2, 2.0), (1, 0.2)):
            feeds: dict[str, Array] = {
                "hidden": hidden,
                "carry": hidden[:, -1:],
                "gather": np.arange(rows - block, rows)[None] + 1 - shift,
                "tokens": rng.integers(0, vocab, (1, block)),
                "masked": rng.random((1, block)) < 0.8,
                "count": np.array([count]),
                "threshold": np.array([threshold], np.float32),
            }
            yield Case(f"shift {shift}, count {count}, threshold {threshold}", feeds)


DENOISE = Kind(block_ports, settled_ports, _run, block_cases)
