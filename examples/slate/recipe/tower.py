"""The vision tower as training runs it: transformers' modules with their weights, over batches of frames of one size.

transformers runs its tower image by image and window by window, because images differ in size. Here they do not, so the
same modules run over `[frames, patches]`. A test holds the results against transformers' own.

Knows patches; nothing of slates, losses or schedules.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from .language import norm, turned

__all__ = ["Layer", "encode", "layer"]

Layer = Callable[[nn.Module, Tensor, tuple[Tensor, Tensor], int], Tensor]


def encode(tower: nn.Module, patches: Tensor, grid: Tensor, run: Layer) -> Tensor:
    """Features `[N, tokens, H]` of `patches` [N, patches, C * side^2], in the order of the windows.

    `grid` is the row and column of each patch, `[2, patches]`; `run` is `layer`, or `layer` compiled.
    """
    kernel = tower.patch_embed.proj.weight.sum(2)  # both frames of a patch are the same one
    x = functional.linear(patches, kernel.flatten(1))
    cos, sin = tower.rotary_pos_emb(x, grid.T)
    turn = (cos.to(x.dtype), sin.to(x.dtype))
    side = tower.config.window_size // tower.config.patch_size
    split = x.shape[1] // side**2
    for index, block in enumerate(tower.blocks):
        x = run(block, x, turn, 1 if index in tower.fullatt_block_indexes else split)
    features: Tensor = tower.merger(x)
    return features.view(len(patches), -1, features.shape[-1])


def layer(block: nn.Module, x: Tensor, turn: tuple[Tensor, Tensor], windows: int) -> Tensor:
    """One layer over `[N, patches, width]`; a patch sees those of its own window, of `windows` in a row."""
    attention = block.attn
    q, k, v = attention.qkv(norm(x, block.norm1)).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    q, k = turned(q, turn), turned(k, turn)
    x = x + attention.proj(_seen(q, k, v, windows).transpose(1, 2).flatten(2))
    out: Tensor = x + block.mlp(norm(x, block.norm2))
    return out


def _seen(q: Tensor, k: Tensor, v: Tensor, windows: int) -> Tensor:
    """Attention of `[N, heads, patches, head_dim]` within windows; on a CPU the fused one pays over long rows only."""
    if windows == 1:
        return functional.scaled_dot_product_attention(q, k, v)
    q, k, v = (part.unflatten(2, (windows, -1)) for part in (q, k, v))
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).float().softmax(-1)
    return (weights.to(v.dtype) @ v).flatten(2, 3)
