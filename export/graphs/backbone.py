"""The backbone graph: rows in with a read-only past, hidden rows out, and the keys and values of these rows alone.

Every layer of a decoder is the same module with other weights, so one layer (or one `Attention`, where `experts.py` has
the rest) is traced and stamped out as often as the model is deep. Knows nothing of checkpoints, blocks or caches.

Form chosen by measurement (docs/design.md, "The backbone graph"): plain ONNX operators; fused query-key-value and
gate-up projections stored `[in, out]`; query heads grouped under their key head, so that grouped-query attention
never repeats K or V.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import relu, silu

from .experts import mixed
from .kind import AXES, DYNAMIC, OWN, Array, Axes, Case, Kind, Machine, Piece, Port, random_feeds
from .layers import affine, parameters, rms_norm, rms_norm_wide
from .shapes import DecoderShape, Network

__all__ = ["BACKBONE", "Attention", "Embed", "Final", "Layer"]

V = TypeVar("V")

HIDDEN_BIAS = -1.0e30
"""Number added to the score of a key that a row may not see: finite, so that no row can become NaN."""

SHAPES = ((1, 3), (8, 0), (5, 40), (24, 7))
"""Pairs (rows, cached rows) of the cases; the last has rows enough for the denoise cases."""


class Embed(nn.Module):
    """The start of the network: the residual stream, cos, sin and the bias of the scores, which all layers share.

    Where the model has deep features (`deep_layers`), these follow: one for each of the first layers, zero on rows that
    are tokens.
    """

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        parameters(self, {"embedding": (shape.vocab, shape.hidden)})

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        visible: Tensor,
        features: Tensor | None = None,
        is_feature: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Map `tokens [1,R]`, `positions [1,R]` or `[3,1,R]`, `visible [1,1,R,K]` to x, rope_cos, rope_sin, bias..."""
        x, deep = nn.functional.embedding(tokens, self.embedding), list[Tensor]()
        if features is not None and is_feature is not None:
            first, *more = features.to(x.dtype).split(self.shape.hidden, -1)
            x = torch.where(is_feature.unsqueeze(-1), first, x)
            deep = [torch.where(is_feature.unsqueeze(-1), part, 0.0) for part in more]
        cos, sin = self.rotation(positions)
        # Once for each query head of a key head: every layer then adds it to grouped scores as they are.
        bias = torch.where(visible, 0.0, HIDDEN_BIAS).repeat(1, 1, self.shape.group, 1)
        return x, cos.to(x.dtype), sin.to(x.dtype), bias, *deep

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Compute cos and sign-folded sin, `[1,R,1,head_dim]`: rotate-half is a swap of halves (Su et al. 2021)."""
        axes = self.shape.rope_axes
        inv_freq = torch.tensor(self.shape.inv_freq, dtype=torch.float32)
        if axes is None:
            angle = positions.unsqueeze(-1).float() * inv_freq
        else:
            # Each frequency is turned by one of the time, row and column positions (Qwen2-VL, 2409.12191).
            angle = positions.permute(1, 2, 0).index_select(-1, torch.tensor(axes)).float() * inv_freq
        cos, sin = angle.cos() * self.shape.rope_scale, angle.sin() * self.shape.rope_scale
        return torch.cat([cos, cos], -1).unsqueeze(2), torch.cat([-sin, sin], -1).unsqueeze(2)


class Deepen(nn.Module):
    """The addition of a deep feature to the rows behind one of the first layers (DeepStack, 2406.04334)."""

    def forward(self, x: Tensor, deep: Tensor) -> Tensor:
        """Add `deep [1,R,H]`, zero where a row has no feature, to `x [1,R,H]`."""
        return x + deep


class Attention(nn.Module):
    """The first half of a pre-norm decoder layer, over R new rows and C cached ones."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        s, q_width, kv_width = shape, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        parameters(
            self,
            {
                "attention_norm": (s.hidden,),
                "qkv": (s.hidden, q_width + 2 * kv_width),
                "qkv_bias": (q_width + 2 * kv_width,) if s.qkv_bias else None,
                "q_norm": (s.head_dim,) if s.qk_norm else None,
                "k_norm": (s.head_dim,) if s.qk_norm else None,
                "condition_norm": (s.head_dim,) if s.condition_key else None,
                "out": (q_width, s.hidden),
                "out_bias": (s.hidden,) if s.out_bias else None,
            },
        )

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor | None, past_key: Tensor, past_value: Tensor
    ) -> tuple[Tensor, ...]:
        """Map `x [1,R,H]` and `past [1,Hkv,C,D]` to x, and to `key, value [1,Hkv,R,D]` of the new rows.

        A shape with condition keys gives these as a fourth result.
        """
        query, key, value, *more = self.project(self.normed(x, self.attention_norm), cos, sin)
        mixed = self.attend(query, torch.cat([past_key, key], 2), torch.cat([past_value, value], 2), bias)
        return x + affine(mixed, self.out, self.out_bias), key, value, *more

    def normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """Divide `x [...,H]` by its root mean square, with the rounding of the checkpoint's own norm."""
        return (rms_norm_wide if self.shape.wide_norms else rms_norm)(x, weight, self.shape.norm_eps)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
        """Project rows to a rotated query `[1,Hq,R,D]` and to key, value and condition key, if any, `[1,Hkv,R,D]`."""
        s = self.shape
        heads = affine(x, self.qkv, self.qkv_bias).view(1, -1, s.heads + 2 * s.kv_heads, s.head_dim)
        counts = [s.heads, s.kv_heads]
        if s.qk_norm or s.condition_key:
            query, raw, value = heads.split([*counts, s.kv_heads], 2)
            parts = [self.normed(query, self.q_norm), self.normed(raw, self.k_norm)] if s.qk_norm else [query, raw]
            if s.condition_key:
                parts, counts = [*parts, self.normed(raw, self.condition_norm)], [*counts, s.kv_heads]
            turned = torch.cat(parts, 2)
        else:
            turned, value = heads.split([s.heads + s.kv_heads, s.kv_heads], 2)
        query, key, *more = self.rotated(turned, cos, sin).transpose(1, 2).split(counts, 1)
        return query, key, value.transpose(1, 2), *more

    def rotated(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate the first `rotary_dim` channels of `x [1,R,heads,D]`."""
        s = self.shape
        turned = x if s.rotary_dim == s.head_dim else x[..., : s.rotary_dim]
        first, second = turned.split(s.rotary_dim // 2, -1)
        turned = turned * cos + torch.cat([second, first], -1) * sin
        return turned if s.rotary_dim == s.head_dim else torch.cat([turned, x[..., s.rotary_dim :]], -1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """Compute softmax attention, `[1,R,Hq*D]`; the query heads of one key head are rows of one product."""
        s = self.shape
        grouped = query.reshape(1, s.kv_heads, -1, s.head_dim)
        scores = (grouped @ key.transpose(2, 3)).float() * s.head_dim**-0.5
        if bias is not None:
            scores = scores + bias
        mixed = (scores.softmax(-1).to(value.dtype) @ value).view(1, s.heads, -1, s.head_dim)
        return mixed.transpose(1, 2).reshape(1, -1, s.heads * s.head_dim)


class Layer(Attention):
    """A whole layer with a plain MLP."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__(shape)
        s, gated = shape, shape.mlp == "swiglu"
        width, name = s.intermediate * (2 if gated else 1), "gate_up" if gated else "up"
        parameters(
            self,
            {
                "mlp_norm": (s.hidden,),
                name: (s.hidden, width),
                f"{name}_bias": (width,) if s.mlp_bias else None,
                "down": (s.intermediate, s.hidden),
                "down_bias": (s.hidden,) if s.mlp_bias else None,
            },
        )

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor | None, past_key: Tensor, past_value: Tensor
    ) -> tuple[Tensor, ...]:
        """See `Attention.forward`."""
        x, *new = super().forward(x, cos, sin, bias, past_key, past_value)
        return x + affine(self.inner(self.normed(x, self.mlp_norm)), self.down, self.down_bias), *new

    def inner(self, x: Tensor) -> Tensor:
        """Compute the inner rows of the MLP, `[1,R,intermediate]`, which are projected down next."""
        if self.shape.mlp == "relu2":
            return relu(affine(x, self.up, self.up_bias)).square()
        gate, up = affine(x, self.gate_up, self.gate_up_bias).split(self.shape.intermediate, -1)
        return silu(gate) * up


class Final(nn.Module):
    """The last norm: `x [1,R,H]` to `hidden [1,R,H]`, which the denoise graphs project."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        parameters(self, {"norm": (shape.hidden,)})

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the residual stream, `[1,R,H]`."""
        return (rms_norm_wide if self.shape.wide_norms else rms_norm)(x, self.norm, self.shape.norm_eps)


def _first(network: Network) -> dict[str, Port]:
    s = network.decoder
    ports = {
        "tokens": Port("int64", (1, "rows")),
        "positions": Port("int64", (3, 1, "rows") if s.rope_axes else (1, "rows")),
        "visible": Port("bool", (1, 1, "rows", "keys")),
    }
    if s.features:
        ports |= {"features": Port("float32", (1, "rows", s.feature_values)), "is_feature": Port("bool", (1, "rows"))}
    return ports


def _past(network: Network) -> Port:
    return Port(OWN, (1, network.decoder.kv_heads, "context", network.decoder.head_dim))


def _x(network: Network) -> Port:
    return Port(OWN, (1, "rows", network.decoder.hidden))


def _of_layer(network: Network) -> dict[str, Port]:
    s = network.decoder
    angle, past = Port(OWN, (1, "rows", 1, s.rotary_dim)), _past(network)
    bias = Port("float32", (1, 1, "grouped_rows", "keys"))
    x = _x(network)
    return {"x": x, "cos": angle, "sin": angle, "bias": bias, "past_key": past, "past_value": past}


def _grouped(network: Network) -> Axes:
    return {"grouped_rows": (network.decoder.group * AXES["rows"][0], DYNAMIC)}


def _embed(network: Network) -> Piece:
    return Piece(
        "embed",
        lambda network: Embed(network.decoder),
        _first,
        ("x", "cos", "sin", "bias", *(f"deep_{i}" for i in range(network.decoder.deep))),
        residual=True,
        table="embedding",
        lookup="tokens",
    )


DEEPEN = Piece("deepen", lambda _: Deepen(), lambda n: {"x": _x(n), "deep": _x(n)}, ("x_out",))
LAYER, ATTENTION = (
    Piece(name, made, _of_layer, ("x_out", "key", "value"), _grouped, residual=name == "layer")
    for name, made in (
        ("layer", lambda network: Layer(network.decoder)),
        ("attention", lambda network: Attention(network.decoder)),
    )
)
CONDITION_LAYER = Piece(
    "condition_layer",
    lambda network: Layer(network.decoder),
    _of_layer,
    ("x_out", "key", "value", "condition_key"),
    _grouped,
    residual=True,
)
FINAL = Piece(
    "final",
    lambda network: Final(network.decoder),
    lambda network: {"x": _x(network)},
    ("hidden",),
)


def _inputs(network: Network) -> dict[str, Port]:
    pasts = [f"past_{kind}_{i}" for i in range(network.decoder.layers) for kind in ("key", "value")]
    return _first(network) | dict.fromkeys(pasts, _past(network))


def _outputs(network: Network) -> dict[str, Port]:
    s = network.decoder
    new = Port(OWN, (1, s.kv_heads, "rows", s.head_dim))
    kinds = ("key", "value", "condition_key") if s.condition_key else ("key", "value")
    names = [f"new_{kind}_{i}" for i in range(s.layers) for kind in kinds]
    return {"hidden": _x(network), **dict.fromkeys(names, new)}


def _run(network: Network, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    made: dict[str, V] = {}
    x, cos, sin, bias, *deep = machine.apply(_embed(network), {name: feeds[name] for name in _first(network)})
    for i in range(network.decoder.layers):
        past = {"past_key": feeds[f"past_key_{i}"], "past_value": feeds[f"past_value_{i}"]}
        sparse, prefix = network.decoder.sparse(i), f"layers.{i}."
        given = {"x": x, "cos": cos, "sin": sin, "bias": bias, **past}
        piece = CONDITION_LAYER if network.decoder.condition_key else ATTENTION if sparse else LAYER
        x, made[f"new_key_{i}"], made[f"new_value_{i}"], *more = machine.apply(piece, given, prefix)
        made |= {f"new_condition_key_{i}": key for key in more}
        if sparse:
            x = mixed(machine, x, prefix)
        if i < len(deep):
            (x,) = machine.apply(DEEPEN, {"x": x, "deep": deep[i]})
    (made["hidden"],) = machine.apply(FINAL, {"x": x})
    return made


def _cases(network: Network, _: Array, __: int) -> Iterator[Case]:
    """Make cases of several rows and contexts with partial visibility; past keys are as long as normalised ones."""
    rng = np.random.default_rng(0)
    for rows, context in SHAPES:
        feeds = random_feeds(_inputs(network), {"rows": rows, "context": context, "keys": rows + context}, rng)
        feeds["tokens"] = rng.integers(0, network.decoder.vocab, (1, rows))
        # Random, but a row always sees itself, as in every mask of a decode.
        own = np.eye(rows, rows + context, context, dtype=np.bool_)
        feeds["visible"] = (own | (rng.random(own.shape) < 0.7))[None, None]
        line = np.arange(context, context + rows)[None]
        feeds["positions"] = line[None] + rng.integers(0, 5, (3, 1, rows)) if network.decoder.rope_axes else line
        yield Case(f"{rows} rows, {context} cached", feeds)


BACKBONE = Kind(_inputs, _outputs, _run, _cases)
