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

__all__ = ["DENOISE", "block_cases", "block_ports", "logits_of", "settled", "settled_ports", "wide"]

V = TypeVar("V")

SETTLED = ("next_tokens", "next_masked", "left", "proposed", "confidence", "entropy", "held")
"""Names of the results of `Settle`, in order; they are outputs of both graphs."""

FORBIDDEN_LOGIT = -3.0e38
"""Number added to the logit of a token that may not be proposed: it falls below all others and stays finite."""

CLEAR = [[1 - (byte >> bit & 1) for bit in range(8)] for byte in range(256)]
"""Table `[256,8]` from a byte of a mask to its eight tokens: 1 for each that is not allowed."""


class Project(nn.Module):
    """The output projection, `lm_head [V,H]` as checkpoints store it: a tied one is the embedding table itself."""

    def __init__(self, hidden: int, vocab: int) -> None:
        super().__init__()
        parameters(self, {"lm_head": (vocab, hidden)})

    def forward(self, hidden: Tensor, carry: Tensor, gather: Tensor) -> Tensor:
        """Compute logits `[B,V]` float32 of the rows `gather [1,B]` of [`carry [1,1,H]`, `hidden [1,R,H]`]."""
        rows = torch.cat([carry, hidden], 1)[0].index_select(0, gather[0])
        return nn.functional.linear(rows, self.lm_head).float()


class Allow(nn.Module):
    """The exclusion of tokens that a row may not propose: their logits fall below all others.

    They still count in every probability, for these are of the raw logits.

    A byte of the mask is looked up in a table, because TensorRT has no bitwise operators on integers.
    """

    def forward(self, logits: Tensor, allowed: Tensor, allowed_by: Tensor) -> Tensor:
        """Map `logits [B,V]`, masks `allowed [M,W]` uint8 and `allowed_by [1,B]`, the mask of each row, to `[B,V]`.

        Token t is allowed where bit `t % 8` of byte `t // 8` is set.
        """
        clear = torch.tensor(CLEAR).index_select(0, allowed.long().flatten()).view(allowed.shape[0], -1)
        added = clear.index_select(1, torch.arange(logits.shape[1])).float() * FORBIDDEN_LOGIT
        # A sum, because ONNX Runtime's Where takes four times as long.
        return logits + added.index_select(0, allowed_by[0])


class Greedy(nn.Module):
    """The choice of the most probable token, of equally probable ones the first."""

    def forward(self, open_logits: Tensor) -> Tensor:
        """Map `open_logits [B,V]` to `proposed [B]` int64."""
        return open_logits.argmax(-1)


class Settle(nn.Module):
    """The accept rule: masked rows that are among the `count` most confident, or above `threshold`."""

    def forward(
        self, logits: Tensor, proposed: Tensor, tokens: Tensor, masked: Tensor, count: Tensor, threshold: Tensor
    ) -> tuple[Tensor, ...]:
        """Map `logits [B,V]`, `proposed [B]`, the block `tokens, masked [1,B]` and `count, threshold [1]` to SETTLED.

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
    """Compute P(proposed), entropy in nats and P(tokens), each `[B]`, under softmax(logits)."""
    scaled = logits - logits.amax(-1, keepdim=True)
    mass = scaled.exp()
    total = mass.sum(-1, keepdim=True)
    entropy = total.log() - (mass * scaled).sum(-1, keepdim=True) / total
    both = mass.gather(1, torch.stack([proposed, tokens], -1)) / total
    return both[:, 0], entropy[:, 0], both[:, 1]


def _rank(confidence: Tensor, masked: Tensor) -> Tensor:
    """Count for each row the masked rows that are more confident, or as confident and earlier: `[B]`."""
    mine, other = confidence.unsqueeze(1), confidence.unsqueeze(0)
    index = torch.arange(confidence.shape[0])
    earlier = index.unsqueeze(0) < index.unsqueeze(1)
    before = (other > mine) | ((other == mine) & earlier)
    return (before & masked.unsqueeze(0)).sum(1)


def wide(*names: str) -> dict[str, Port]:
    """Ports of logits and the like, `[B,V]` float32, under these names."""
    return dict.fromkeys(names, Port("float32", ("block", "vocab")))


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
ALLOW = Piece(
    "allow",
    lambda _: Allow(),
    lambda _: (
        wide("logits") | {"allowed": Port("uint8", ("masks", "bytes")), "allowed_by": Port("int64", (1, "block"))}
    ),
    ("open_logits",),
)
GREEDY = Piece("greedy", lambda _: Greedy(), lambda _: wide("open_logits"), ("proposed",))
SETTLE = Piece(
    "settle",
    lambda _: Settle(),
    lambda _: wide("logits") | {"proposed": Port("int64", ("block",))} | _accept_ports(),
    SETTLED,
)


def block_ports(network: Network) -> dict[str, Port]:
    """Inputs that `denoise` and `sample` have in common."""
    width = -(-network.decoder.vocab // 8)
    allowed = {"allowed": Port("uint8", ("masks", width)), "allowed_by": Port("int64", (1, "block"))}
    return _hidden_ports(network) | _accept_ports() | allowed


def settled_ports(_: Network) -> dict[str, Port]:
    """Outputs that `denoise` and `sample` have in common, `[1,B]` each but for `left [1]`."""
    kinds = ("int64", "bool", "int64", "int64", "float32", "float32", "float32")
    rows = {name: Port(kind, (1, "block")) for name, kind in zip(SETTLED, kinds, strict=True)}
    return rows | {"left": Port("int64", (1,))}


def logits_of(network: Network, machine: Machine[V], feeds: Mapping[str, V]) -> tuple[V, V]:
    """Apply projection and masks: raw logits `[B,V]`, and those in which forbidden tokens are far below."""
    (logits,) = machine.apply(PROJECT, {name: feeds[name] for name in _hidden_ports(network)})
    masks = {name: feeds[name] for name in ("allowed", "allowed_by")}
    (open_logits,) = machine.apply(ALLOW, {"logits": logits, **masks})
    return logits, open_logits


def settled(machine: Machine[V], feeds: Mapping[str, V], logits: V, proposed: V) -> dict[str, V]:
    """Apply the accept rule to the `proposed` tokens `[B]`, and give the graph's outputs by name."""
    block = {name: feeds[name] for name in _accept_ports()}
    made = machine.apply(SETTLE, {"logits": logits, "proposed": proposed, **block})
    return dict(zip(SETTLED, made, strict=True))


def _run(network: Network, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    logits, open_logits = logits_of(network, machine, feeds)
    (proposed,) = machine.apply(GREEDY, {"open_logits": open_logits})
    return settled(machine, feeds, logits, proposed)


def block_cases(network: Network, hidden: Array, block: int) -> Iterator[Case]:
    """Make cases over the rows `hidden [1,R,H]` for shifts and accept rules."""
    rng, vocab = np.random.default_rng(1), network.decoder.vocab
    width = -(-vocab // 8)
    allowed = np.stack([np.full(width, 255), rng.integers(0, 256, width)]).astype(np.uint8)
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
                "allowed": allowed,
                "allowed_by": np.arange(block)[None] % 2,
            }
            yield Case(f"shift {shift}, count {count}, threshold {threshold}", feeds)


DENOISE = Kind(block_ports, settled_ports, _run, block_cases)
