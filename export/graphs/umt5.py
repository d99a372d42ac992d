"""The `text` graph: a UMT5 encoder, from a prompt's tokens to its rows, run once a prompt.

Only the prompt's own tokens go through it: rows behind them are hidden by the encoder's mask anyway, so nothing
depends on how far a prompt is padded. The residual stream and the last projection of the feed-forward layers stay in
float32 in every precision, for both leave the range of float16. The network is transformers' UMT5EncoderModel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .film_shapes import FilmNetwork, Umt5Shape
from .kind import DYNAMIC, Axes, Case, Kind, Machine, Piece, Port
from .layers import parameters, rms_norm

__all__ = ["TEXT", "bucket_of"]

V = TypeVar("V")


def _axes(_: FilmNetwork) -> Axes:
    return {"words": (6, DYNAMIC)}


def bucket_of(shape: Umt5Shape) -> list[int]:
    """List the class of each distance 0 to `max_distance`: one each if near, logarithmic if far (T5, 1910.10683)."""
    half = shape.buckets // 2
    exact = half // 2
    distances = torch.arange(shape.max_distance + 1, device="cpu")  # counted for real, whatever is being traced
    far = torch.log(distances.float() / exact) / log(shape.max_distance / exact) * (half - exact)
    far = torch.minimum(exact + far.to(torch.long), torch.full_like(distances, half - 1))
    return [int(i) for i in torch.where(distances < exact, distances, far)]


class Tokens(nn.Module):
    """The start of the encoder: tokens to rows, and the class of the distance of each pair of rows."""

    def __init__(self, shape: Umt5Shape) -> None:
        super().__init__()
        self.shape, self.buckets = shape, tuple(bucket_of(shape))
        parameters(self, {"embedding": (shape.vocab, shape.hidden)})

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens `[1, L]` to rows `[1, L, hidden]` float32 and classes `[L, L]`, queries first."""
        at = torch.arange(tokens.shape[1])
        ahead = at.unsqueeze(0) - at.unsqueeze(1)  # of the key, seen from the query
        near = torch.tensor(self.buckets)[ahead.abs().clamp(max=self.shape.max_distance)]
        classes = near + torch.where(ahead > 0, self.shape.buckets // 2, 0)
        return functional.embedding(tokens, self.embedding).float(), classes


class Layer(nn.Module):
    """A layer: attention with a bias for each class of distance, and a gated feed-forward layer."""

    def __init__(self, shape: Umt5Shape) -> None:
        super().__init__()
        self.shape, inner = shape, shape.heads * shape.head_dim
        parameters(self, {"qkv": (shape.hidden, 3 * inner), "out": (inner, shape.hidden)})
        parameters(self, {"gate_up": (shape.hidden, 2 * shape.intermediate)})
        high = {"down": (shape.intermediate, shape.hidden), "distance": (shape.buckets, shape.heads)}
        parameters(self, high | {"norm": (shape.hidden,), "norm_up": (shape.hidden,)})
        self.__dict__["exact"] = [self.down, self.distance, self.norm, self.norm_up]

    def forward(self, x: Tensor, classes: Tensor) -> tuple[Tensor]:
        """Map `x [1, L, hidden]` float32 to the same."""
        s = self.shape
        inner = rms_norm(x, self.norm, s.eps).to(self.qkv.dtype)
        q, k, v = ((inner @ self.qkv).unflatten(-1, (3 * s.heads, s.head_dim)).transpose(1, 2)).chunk(3, 1)
        scores = (q @ k.transpose(-1, -2)).float() + functional.embedding(classes, self.distance).permute(2, 0, 1)
        attended = torch.softmax(scores, -1).to(v.dtype) @ v
        x = x + (attended.transpose(1, 2).flatten(2) @ self.out).float()
        inner = rms_norm(x, self.norm_up, s.eps).to(self.gate_up.dtype)
        gate, up = (inner @ self.gate_up).float().chunk(2, -1)
        return (x + (functional.gelu(gate, approximate="tanh") * up) @ self.down,)


class Last(nn.Module):
    """The norm behind the last layer."""

    def __init__(self, shape: Umt5Shape) -> None:
        super().__init__()
        self.shape = shape
        parameters(self, {"weight": (shape.hidden,)})
        self.__dict__["exact"] = [self.weight]

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x [1, L, hidden]`, in float32."""
        return rms_norm(x, self.weight, self.shape.eps)


def _x(network: FilmNetwork) -> Port:
    return Port("float32", (1, "words", network.text.hidden))


TOKENS = Piece(
    "umt5_tokens",
    lambda n: Tokens(n.text),
    lambda _: {"tokens": Port("int64", (1, "words"))},
    ("x", "classes"),
    _axes,
    table="embedding",
    lookup="tokens",
)
LAYER = Piece(
    "umt5_layer",
    lambda n: Layer(n.text),
    lambda n: {"x": _x(n), "classes": Port("int64", ("words", "words"))},
    ("x",),
    _axes,
    residual=True,
)
LAST = Piece("umt5_last", lambda n: Last(n.text), lambda n: {"x": _x(n)}, ("text_rows",), _axes)


def _run(network: FilmNetwork, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    x, classes = machine.apply(TOKENS, {"tokens": feeds["tokens"]}, "text.")
    for i in range(network.text.layers):
        (x,) = machine.apply(LAYER, {"x": x, "classes": classes}, f"text.layers.{i}.")
    (rows,) = machine.apply(LAST, {"x": x}, "text.norm.")
    return {"text_rows": rows}


def _cases(network: FilmNetwork, *_: object) -> Iterator[Case]:
    rng = np.random.default_rng(2)
    for words in (2, 150):
        yield Case(f"{words} tokens", {"tokens": rng.integers(0, network.text.vocab, (1, words))})


TEXT: Kind = Kind(lambda n: dict(TOKENS.inputs(n)), lambda n: {"text_rows": _x(n)}, _run, _cases)
