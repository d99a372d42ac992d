"""The language model as training runs it: transformers' modules with their weights, in a leaner forward.

Against transformers' own forward it saves work (the last layer computes only the rows that are asked for: those of the
image are looked at, never read out), is one function a layer, which a compiler can fuse, and gives out scores of one
layer, which attention guidance is trained on. A test holds the results against transformers' own.

Knows rows of one length; nothing of slates, losses or schedules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Layer", "Turn", "Watch", "decode", "layer", "norm", "turn", "turned"]

Turn = tuple[Tensor, Tensor]
"""Cosines and sines `[rows, head_dim]`."""

Watch = tuple[int, int]
"""A layer, and how many of its first heads' scores are given out."""

Layer = Callable[[nn.Module, Tensor, Turn, Tensor, int, int], tuple[Tensor, Tensor]]


def turn(model: nn.Module, positions: Tensor) -> Turn:
    """Of mrope positions `[3, rows]`: each section of a head takes one of the axes."""
    cos, sin = model.rotary_emb(torch.zeros(1, device=positions.device), positions[:, None])
    return cos[0], sin[0]


def decode(
    model: nn.Module, embedded: Tensor, angles: Turn, mask: Tensor, first: int, watch: Watch, run: Layer
) -> tuple[Tensor, Tensor]:
    """Hidden states `[N, L - first, H]` from row `first` on, and scores `[N, heads, L - first, L]` of what is watched.

    `embedded` is `[N, L, H]`; `mask` `[L, L]` is 0 where row q sees row k, and very negative elsewhere; `run` is
    `layer`, or `layer` compiled.
    """
    x, scores = embedded, embedded.new_zeros(())
    last = len(model.layers) - 1
    for index, module in enumerate(model.layers):
        begin = first if index == last else 0
        x, found = run(module, x, angles, mask, begin, watch[1] if index == watch[0] else 0)
        if index == watch[0]:
            scores = found[:, :, first - begin :]
    return norm(x, model.norm), scores


def layer(module: nn.Module, x: Tensor, angles: Turn, mask: Tensor, first: int, watched: int) -> tuple[Tensor, Tensor]:
    """One layer: its output from row `first` on, and the scores of its first `watched` heads."""
    attention, normed = module.self_attn, norm(x, module.input_layernorm)
    k = turned(_heads(attention.k_proj(normed), attention), angles)
    v = _heads(attention.v_proj(normed), attention)
    q = turned(_heads(attention.q_proj(normed[:, first:]), attention), (angles[0][first:], angles[1][first:]))
    scores = (q @ k.transpose(-1, -2) * attention.scaling).float() + mask[first:]
    seen = (scores.softmax(-1).to(v.dtype) @ v).transpose(1, 2).flatten(2)
    x = x[:, first:] + attention.o_proj(seen)
    return x + _mlp(module.mlp, norm(x, module.post_attention_layernorm)), scores[:, :watched]


def norm(x: Tensor, module: Any) -> Tensor:
    """RMS norm, in float32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + module.variance_epsilon) * module.weight).to(
        x.dtype
    )


def turned(x: Tensor, angles: Turn) -> Tensor:
    """Rotary position embedding of `[..., rows, head_dim]`."""
    cos, sin = (part.to(x.dtype) for part in angles)
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def _mlp(mlp: Any, x: Tensor) -> Tensor:
    out: Tensor = mlp.down_proj(functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
    return out


def _heads(x: Tensor, attention: Any) -> Tensor:
    """`[N, heads, rows, head_dim]`; there are as many heads of keys as of queries."""
    return x.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
