"""The sample graph: tokens drawn at a temperature through top-k and top-p, then accepted as `denoise` does.

Does not know where randomness comes from: it is data. Written for engines without runtime-sized sorts: the filters find
their cut by bisection, one `Halve` at a time. `Believe` gives the probability that a token was drawn with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .denoise import block_cases, block_ports, logits_of, settled, settled_ports, wide
from .kind import Array, Case, Kind, Machine, Piece, Port
from .shapes import Network

__all__ = ["SAMPLE"]

V = TypeVar("V")

BELIEVED = ("tempered", "tempered_entropy", "filtered", "filtered_entropy")
"""Names of the results of `Believe`, in order: outputs that `denoise` has not."""

LOWEST = -88.0
"""Scaled logit from which on a token has no mass that could be drawn: its exp is about the smallest normal float32."""

HALVINGS = 30
"""Bisections of `LOWEST..0`: the ends are then 8e-8 apart, the resolution of float32 near 1."""


class Temper(nn.Module):
    """The tempered distribution, and the start of the search for the top-k cut."""

    def forward(self, open_logits: Tensor, temperature: Tensor, top_k: Tensor) -> tuple[Tensor, ...]:
        """Map `open_logits [B,V]`, `temperature [1]` > 0, `top_k [1]` (0: all) to scaled, weight, wanted, low, high.

        `scaled [B,V]` are logits less the best one; the cut, between `low` and `high [B,1]`, is the highest for
        which `wanted [B,1]` tokens of weight 1 lie at or above it.
        """
        scaled = (open_logits - open_logits.amax(-1, keepdim=True)) / temperature
        low = torch.full_like(scaled[:, :1], LOWEST)
        wanted = torch.where(top_k > 0, top_k, open_logits.shape[1]).float() + torch.zeros_like(low)
        return scaled, torch.ones_like(scaled), wanted, low, torch.zeros_like(low)


class Halve(nn.Module):
    """One bisection towards the highest cut for which the tokens at or above it weigh at least `wanted`."""

    def forward(
        self, scaled: Tensor, weight: Tensor, wanted: Tensor, low: Tensor, high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map `scaled, weight [B,V]`, `wanted, low, high [B,1]` (enough at low, too little at high) to closer ends."""
        middle = (low + high) * 0.5
        # A product, because ONNX Runtime's Where takes four times as long.
        enough = (weight * (scaled >= middle).float()).sum(-1, keepdim=True) >= wanted
        return torch.where(enough, middle, low), torch.where(enough, high, middle)


class Nucleus(nn.Module):
    """The tokens that top-k keeps, and the start of the search for the top-p cut (nucleus sampling, 1904.09751)."""

    def forward(self, scaled: Tensor, low: Tensor, top_p: Tensor) -> tuple[Tensor, ...]:
        """Map `scaled [B,V]`, the top-k cut `low [B,1]` and `top_p [1]` to weight, wanted, low, high."""
        weight = scaled.exp() * (scaled >= low).float()
        start = torch.full_like(low, LOWEST)
        return weight, top_p * weight.sum(-1, keepdim=True), start, torch.zeros_like(low)


class Draw(nn.Module):
    """The draw of one token by inverse transform: the first whose cumulated weight exceeds the noise."""

    def forward(
        self, scaled: Tensor, weight: Tensor, low: Tensor, top_p: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map `scaled, weight [B,V]`, the top-p cut `low [B,1]`, `top_p [1]` (1: all), `noise [1,B]` to tokens `[B]`.

        Noise lies in [0,1); below 0 it takes the most probable token. The second result, `[B,V]`, is the weight that
        the filters have left.
        """
        weight = weight * ((scaled >= low) | (top_p >= 1)).float()
        kept = weight > 0
        cumulated = weight.cumsum(-1)
        beyond = kept & (cumulated > noise[0].unsqueeze(-1) * cumulated[:, -1:])
        # Rounding may leave no token beyond the noise: then any that is kept, never one that is filtered.
        best = (noise[0].unsqueeze(-1) < 0) & (scaled >= 0)
        return (kept.float() + (beyond & (noise[0].unsqueeze(-1) >= 0)).float() + best.float()).argmax(-1), weight


class Believe(nn.Module):
    """Probability and entropy under the distributions of the draw: at the temperature, and filtered as well."""

    def forward(self, scaled: Tensor, kept: Tensor, proposed: Tensor) -> tuple[Tensor, ...]:
        """Map `scaled, kept [B,V]`, `proposed [B]` to P(proposed) and entropy in nats, `[1,B]`, whole and filtered."""
        # A forbidden token's logit may be beyond float32 once it is divided by a temperature.
        scaled = scaled.clamp(min=LOWEST)
        return *_share(scaled, scaled.exp() * (scaled > LOWEST).float(), proposed), *_share(scaled, kept, proposed)


def _share(scaled: Tensor, mass: Tensor, proposed: Tensor) -> tuple[Tensor, Tensor]:
    """Compute P(proposed) and the entropy, `[1,B]` each, of the distribution by `mass [B,V]`: exp(scaled), or 0."""
    total = mass.sum(-1)
    entropy = total.log() - (mass * scaled).sum(-1) / total
    return (mass.gather(1, proposed.unsqueeze(-1))[:, 0] / total).unsqueeze(0), entropy.unsqueeze(0)


ONE = Port("float32", (1,))
NOISE = {"noise": Port("float32", (1, "block"))}


def _narrow(*names: str) -> dict[str, Port]:
    return dict.fromkeys(names, Port("float32", ("block", 1)))


TEMPER = Piece(
    "temper",
    lambda _: Temper(),
    lambda _: wide("open_logits") | {"temperature": ONE, "top_k": Port("int64", (1,))},
    ("scaled", "weight", "wanted", "low", "high"),
)
HALVE = Piece(
    "halve",
    lambda _: Halve(),
    lambda _: wide("scaled", "weight") | _narrow("wanted", "low", "high"),
    ("lower", "higher"),
)
NUCLEUS = Piece(
    "nucleus",
    lambda _: Nucleus(),
    lambda _: wide("scaled") | _narrow("low") | {"top_p": ONE},
    ("weight", "wanted", "lower", "higher"),
)
DRAW = Piece(
    "draw",
    lambda _: Draw(),
    lambda _: wide("scaled", "weight") | _narrow("low") | {"top_p": ONE} | NOISE,
    ("proposed", "kept"),
)
BELIEVE = Piece(
    "believe",
    lambda _: Believe(),
    lambda _: wide("scaled", "kept") | {"proposed": Port("int64", ("block",))},
    BELIEVED,
)


def _inputs(network: Network) -> dict[str, Port]:
    return block_ports(network) | NOISE | {"temperature": ONE, "top_k": Port("int64", (1,)), "top_p": ONE}


def _outputs(network: Network) -> dict[str, Port]:
    return settled_ports(network) | dict.fromkeys(BELIEVED, Port("float32", (1, "block")))


def _run(network: Network, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    logits, open_logits = logits_of(network, machine, feeds)
    tempered = {"open_logits": open_logits, "temperature": feeds["temperature"], "top_k": feeds["top_k"]}
    scaled, *start = machine.apply(TEMPER, tempered)
    cut = _bisected(machine, scaled, *start)
    weight, *start = machine.apply(NUCLEUS, {"scaled": scaled, "low": cut, "top_p": feeds["top_p"]})
    cut = _bisected(machine, scaled, weight, *start)
    last = {"scaled": scaled, "weight": weight, "low": cut, "top_p": feeds["top_p"], "noise": feeds["noise"]}
    proposed, kept = machine.apply(DRAW, last)
    believed = machine.apply(BELIEVE, {"scaled": scaled, "kept": kept, "proposed": proposed})
    return settled(machine, feeds, logits, proposed) | dict(zip(BELIEVED, believed, strict=True))


def _bisected(machine: Machine[V], scaled: V, weight: V, wanted: V, low: V, high: V) -> V:
    for _ in range(HALVINGS):
        ends = {"low": low, "high": high}
        low, high = machine.apply(HALVE, {"scaled": scaled, "weight": weight, "wanted": wanted, **ends})
    return low


def _cases(network: Network, hidden: Array, block: int) -> Iterator[Case]:
    """Make the cases of `denoise` with temperatures and filters."""
    rng = np.random.default_rng(2)
    knobs = ((1.0, 0, 1.0), (0.7, 5, 1.0), (1.3, 0, 0.9), (0.8, 40, 0.8))
    for case, (temperature, top_k, top_p) in zip(block_cases(network, hidden, block), knobs, strict=True):
        drawn = {
            "noise": rng.random(case.feeds["tokens"].shape).astype(np.float32),
            "temperature": np.array([temperature], np.float32),
            "top_k": np.array([top_k]),
            "top_p": np.array([top_p], np.float32),
        }
        yield Case(f"temperature {temperature}, top-k {top_k}, top-p {top_p}", {**case.feeds, **drawn})


SAMPLE = Kind(_inputs, _outputs, _run, _cases)
