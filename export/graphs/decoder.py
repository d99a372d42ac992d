"""The transformer backbone in pieces: `Embed`, one `Layer` (or `Attention`, where `experts.py` has the rest), `Final`.

Every layer of a decoder is the same graph with other weights, so one layer is traced and stamped out as often as the
model is deep. The pieces know nothing of checkpoints, blocks or caches: rows come in with a read-only past, and the
keys and values of these rows alone go out.

Form chosen by measurement (docs/design.md, "The backbone graph"): plain ONNX operators; fused query-key-value and
gate-up projections stored `[in, out]`; query heads grouped under their key head, so that grouped-query attention
never repeats K or V.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

if TYPE_CHECKING:
    from .experts import ExpertShape

__all__ = ["Attention", "DecoderShape", "Embed", "Final", "Layer", "parameters", "rms_norm"]

HIDDEN_BIAS = -1.0e30
"""Added to the score of a key that a row may not see: finite, so that no row can become NaN."""


@dataclass(frozen=True)
class DecoderShape:
    """Everything about a decoder that shapes its graph."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    norm_eps: float
    inv_freq: tuple[float, ...]
    """Rotary frequencies in radians per position, `head_dim / 2` of them; fewer turn a head's first channels only."""
    rope_scale: float = 1.0
    """Factor on cos and sin (long-context scalings of the rotary embedding have one)."""
    rope_axes: tuple[int, ...] | None = None
    """For mrope: which of the three position rows turns each frequency."""
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tied: bool = False
    """The output projection is the embedding table."""
    features: bool = False
    """Rows may take a feature of another model (an image) instead of an embedded token."""

    experts: ExpertShape | None = None
    """For mixtures of experts."""

    @property
    def rotary_dim(self) -> int:
        """Channels of a head that are turned."""
        return 2 * len(self.inv_freq)

    def sparse(self, layer: int) -> bool:
        """The layer has experts."""
        return self.experts is not None and layer not in self.experts.dense

    @property
    def group(self) -> int:
        """Query heads per key head."""
        return self.heads // self.kv_heads


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root mean square normalisation over the last axis, in float32 whatever `x` is (Zhang and Sennrich 2019)."""
    wide = x.float()
    return (wide / torch.sqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def parameters(module: nn.Module, shapes: dict[str, tuple[int, ...] | None]) -> None:
    """Give `module` parameters of these shapes, without numbers; None is one that it does without."""
    for name, shape in shapes.items():
        module.register_parameter(name, None if shape is None else nn.Parameter(torch.empty(shape)))


class Embed(nn.Module):
    """Tokens, positions and visibility to what every layer shares: the residual stream, cos, sin and the score bias."""

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
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`tokens [1,R]`, `positions [1,R]` or `[3,1,R]`, `visible [1,1,R,K]` to x, rope_cos, rope_sin, bias."""
        x = nn.functional.embedding(tokens, self.embedding)
        if features is not None and is_feature is not None:
            x = torch.where(is_feature.unsqueeze(-1), features.to(x.dtype), x)
        cos, sin = self.rotation(positions)
        # Once for each query head of a key head: every layer then adds it to grouped scores as they are.
        bias = torch.where(visible, 0.0, HIDDEN_BIAS).repeat(1, 1, self.shape.group, 1)
        return x, cos.to(x.dtype), sin.to(x.dtype), bias

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cos and sign-folded sin, `[1,R,1,head_dim]` each: rotate-half becomes a swap of halves (Su et al. 2021)."""
        axes = self.shape.rope_axes
        inv_freq = torch.tensor(self.shape.inv_freq, dtype=torch.float32)
        if axes is None:
            angle = positions.unsqueeze(-1).float() * inv_freq
        else:
            # Each frequency is turned by one of the time, row and column positions (Qwen2-VL, 2409.12191).
            angle = positions.permute(1, 2, 0).index_select(-1, torch.tensor(axes)).float() * inv_freq
        cos, sin = angle.cos() * self.shape.rope_scale, angle.sin() * self.shape.rope_scale
        return torch.cat([cos, cos], -1).unsqueeze(2), torch.cat([-sin, sin], -1).unsqueeze(2)


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
                "out": (q_width, s.hidden),
                "out_bias": (s.hidden,) if s.out_bias else None,
            },
        )

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, past_key: Tensor, past_value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`x [1,R,H]`, `past [1,Hkv,C,D]` to x and this layer's `key, value [1,Hkv,R,D]` of the new rows."""
        query, key, value = self.project(rms_norm(x, self.attention_norm, self.shape.norm_eps), cos, sin)
        mixed = self.attend(query, torch.cat([past_key, key], 2), torch.cat([past_value, value], 2), bias)
        return x + affine(mixed, self.out, self.out_bias), key, value

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated query `[1,Hq,R,D]` and key, and value, `[1,Hkv,R,D]`, from one fused projection."""
        s = self.shape
        heads = affine(x, self.qkv, self.qkv_bias).view(1, -1, s.heads + 2 * s.kv_heads, s.head_dim)
        if s.qk_norm:
            query, key, value = heads.split([s.heads, s.kv_heads, s.kv_heads], 2)
            turned = torch.cat([rms_norm(query, self.q_norm, s.norm_eps), rms_norm(key, self.k_norm, s.norm_eps)], 2)
        else:
            turned, value = heads.split([s.heads + s.kv_heads, s.kv_heads], 2)
        query, key = self.rotated(turned, cos, sin).transpose(1, 2).split([s.heads, s.kv_heads], 1)
        return query, key, value.transpose(1, 2)

    def rotated(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`x [1,R,heads,D]` with its first `rotary_dim` channels turned."""
        s = self.shape
        turned = x if s.rotary_dim == s.head_dim else x[..., : s.rotary_dim]
        first, second = turned.split(s.rotary_dim // 2, -1)
        turned = turned * cos + torch.cat([second, first], -1) * sin
        return turned if s.rotary_dim == s.head_dim else torch.cat([turned, x[..., s.rotary_dim :]], -1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Softmax attention `[1,R,Hq*D]`; the query heads of one key head are rows of one product."""
        s = self.shape
        grouped = query.reshape(1, s.kv_heads, -1, s.head_dim)
        scores = (grouped @ key.transpose(2, 3)).float() * s.head_dim**-0.5 + bias
        mixed = (scores.softmax(-1).to(value.dtype) @ value).view(1, s.heads, -1, s.head_dim)
        return mixed.transpose(1, 2).reshape(1, -1, s.heads * s.head_dim)


class Layer(Attention):
    """A whole layer with a plain MLP."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__(shape)
        s = shape
        parameters(
            self,
            {
                "mlp_norm": (s.hidden,),
                "gate_up": (s.hidden, 2 * s.intermediate),
                "gate_up_bias": (2 * s.intermediate,) if s.mlp_bias else None,
                "down": (s.intermediate, s.hidden),
                "down_bias": (s.hidden,) if s.mlp_bias else None,
            },
        )

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, past_key: Tensor, past_value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `Attention.forward`."""
        x, key, value = super().forward(x, cos, sin, bias, past_key, past_value)
        gate_up = affine(rms_norm(x, self.mlp_norm, self.shape.norm_eps), self.gate_up, self.gate_up_bias)
        gate, up = gate_up.split(self.shape.intermediate, -1)
        return x + affine(silu(gate) * up, self.down, self.down_bias), key, value


class Final(nn.Module):
    """The last norm: `x [1,R,H]` to `hidden [1,R,H]`, which the denoise graphs project."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        parameters(self, {"norm": (shape.hidden,)})

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the residual stream."""
        return rms_norm(x, self.norm, self.shape.norm_eps)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight (+ bias)` with `weight [in, out]`."""
    return x @ weight if bias is None else x @ weight + bias
