"""WanTransformer3DModel as training runs it: block-causal, with a time per latent frame, many noisy copies at once.

`teacher_forced` runs a clean and K noisy copies in one pass over the stock module's weights. Every slot (a latent
frame of the clean or of a noisy copy) sees the clean frames before it, and itself: what the decode loop's cache holds.
No mask is needed, for slots of one frame share one set of keys. A test holds all of it against the stock forward
under an injected mask and against the cached loop.

Knows latents and text rows; nothing of prompts, losses or schedules.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor
from torch.nn import functional

__all__ = ["Cache", "fresh", "step", "teacher_forced"]


def fresh(channels: int, text: int, width: int = 256, layers: int = 8, ffn: int = 512) -> WanTransformer3DModel:
    torch.manual_seed(0)
    net = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=width // 64, attention_head_dim=64, in_channels=channels,
        out_channels=channels, text_dim=text, freq_dim=256, ffn_dim=ffn, num_layers=layers, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", eps=1e-6, rope_max_seq_len=1024,
    )  # fmt: skip
    torch.nn.init.zeros_(net.proj_out.weight)  # velocities begin at nothing
    torch.nn.init.zeros_(net.proj_out.bias)
    return net


def times(net: Any, sigma: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """For noise levels of any shape: the time's row [..., D], and its six modulations [..., 6, D].

    The sinusoid is worked out in float64, as the original does.
    """
    half = net.config.freq_dim // 2
    angle = 1000.0 * sigma.double()[..., None] * 10000.0 ** (-torch.arange(half, device=sigma.device).double() / half)
    wave = torch.cat([angle.cos(), angle.sin()], -1).to(dtype)
    embedder = net.condition_embedder
    row = embedder.time_embedder(wave)
    return row, embedder.time_proj(functional.silu(row)).unflatten(-1, (6, -1))


def turns(net: Any, frames: Tensor, high: int, wide: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [S, R, hd / 2] for slots that stand at latent frames `frames` [S]."""
    d = net.config.attention_head_dim
    part = 2 * (d // 6)
    angles = []
    for size, places in ((d - 2 * part, frames), (part, torch.arange(high)), (part, torch.arange(wide))):
        inverse = 10000.0 ** (-torch.arange(0, size, 2).double() / size)
        angles.append(places.double().cpu()[:, None] * inverse)
    s = len(frames)
    angle = torch.cat([
        angles[0][:, None, None].expand(s, high, wide, -1),
        angles[1][None, :, None].expand(s, high, wide, -1),
        angles[2][None, None].expand(s, high, wide, -1),
    ], -1).flatten(1, 2)  # fmt: skip
    return angle.cos().float().to(frames.device), angle.sin().float().to(frames.device)


def turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """RoPE over interleaved pairs; x [N, H, S, R, hd]."""
    cos, sin = (t.to(x.dtype) for t in turn)
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def heads(x: Tensor, count: int) -> Tensor:
    """[N, S, R, D] to [N, H, S, R, hd]."""
    return x.unflatten(-1, (count, -1)).permute(0, 3, 1, 2, 4)


def norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    cast = None if weight is None else weight.to(x.dtype)
    return functional.layer_norm(x, x.shape[-1:], cast, None if bias is None else bias.to(x.dtype), 1e-6)


def rms(x: Tensor, module: Any) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], module.weight.to(x.dtype), module.eps)


def text_keys(net: Any, text: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Every layer's keys and values [N, H, L, hd] of the prompt's rows [N, L, C]; pads are keys as well."""
    x = net.condition_embedder.text_embedder(text)
    made = []
    for block in net.blocks:
        attention = block.attn2
        k, v = rms(attention.to_k(x), attention.norm_k), attention.to_v(x)
        made.append(tuple(part.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in (k, v)))
    return made


def patches(net: Any, x: Tensor) -> Tensor:
    """[N, S, C, h, w] to rows [N, S, R, D]."""
    w = net.patch_embedding.weight.flatten(1)
    n, s, c, h, v = x.shape
    cut = (
        x.reshape(n, s, c, h // 2, 2, v // 2, 2).permute(0, 1, 3, 5, 2, 4, 6).reshape(n, s, (h // 2) * (v // 2), c * 4)
    )
    return functional.linear(cut, w, net.patch_embedding.bias)


def unpatched(x: Tensor, high: int, wide: int) -> Tensor:
    """Rows [N, S, R, 4 C], a patch's channels last, to [N, S, C, h, w]."""
    n, s, _, c = x.shape
    cut = x.reshape(n, s, high, wide, 2, 2, c // 4).permute(0, 1, 6, 2, 4, 3, 5)
    return cut.reshape(n, s, c // 4, high * 2, wide * 2)


def head(net: Any, x: Tensor, row: Tensor, high: int, wide: int) -> Tensor:
    shift, scale = (net.scale_shift_table[0] + row[..., None, :]).unbind(-2)
    y = norm(x) * (1 + scale[:, :, None].to(x.dtype)) + shift[:, :, None].to(x.dtype)
    return unpatched(net.proj_out(y), high, wide)


def layer(
    block: Any, x: Tensor, mods: Tensor, text: tuple[Tensor, Tensor], attend: Any, turn: tuple[Tensor, Tensor]
) -> Tensor:
    """One layer over slots [N, S, R, D]; `attend(q, k, v)` decides who sees whom."""
    e = (block.scale_shift_table[0] + mods).to(x.dtype)[:, :, None]
    shift, scale, gate, shift2, scale2, gate2 = e.unbind(-2)
    attention = block.attn1
    y = norm(x) * (1 + scale) + shift
    q = turned(heads(rms(attention.to_q(y), attention.norm_q), attention.heads), turn)
    k = turned(heads(rms(attention.to_k(y), attention.norm_k), attention.heads), turn)
    seen = attend(q, k, heads(attention.to_v(y), attention.heads))
    x = x + attention.to_out[0](seen.permute(0, 2, 3, 1, 4).flatten(-2)) * gate
    attention = block.attn2
    y = norm(x, block.norm2.weight, block.norm2.bias)
    q = heads(rms(attention.to_q(y), attention.norm_q), attention.heads).flatten(2, 3)
    seen = attended(q, *text).unflatten(2, x.shape[1:3])
    x = x + attention.to_out[0](seen.permute(0, 2, 3, 1, 4).flatten(-2))
    y = norm(x) * (1 + scale2) + shift2
    return x + block.ffn(y) * gate2


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Plain attention; products of bfloat16 matrices are what a CPU is fast at, its fused attention is not."""
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v


class Forcing:
    """Attention of slots ordered by latent frame, the clean one of a frame first; the last frame has no clean one.

    Each slot sees the clean frames before its own, and itself.
    """

    def __init__(self, frames: int, copies: int) -> None:
        self._frames, self._each = frames, copies + 1

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows, each, made = q.shape[3], self._each, []
        clean_k, clean_v = (x[:, :, ::each] for x in (k, v))
        q = q * q.shape[-1] ** -0.5
        for j in range(self._frames):
            slots = slice(j * each, min((j + 1) * each, q.shape[2]))
            qj, kj, vj = q[:, :, slots], k[:, :, slots], v[:, :, slots]
            own = qj @ kj.transpose(-1, -2)
            if j == 0:
                made.append(own.softmax(-1) @ vj)
                continue
            past_k, past_v = (x[:, :, :j].flatten(2, 3) for x in (clean_k, clean_v))
            past = (qj.flatten(2, 3) @ past_k.transpose(-1, -2)).unflatten(2, (-1, rows))
            w_past, w_own = torch.cat([past, own], -1).softmax(-1).split([j * rows, rows], -1)
            made.append((w_past.flatten(2, 3) @ past_v).unflatten(2, (-1, rows)) + w_own @ vj)
        return torch.cat(made, 2)


def slotted(clean: Tensor, noisy: Tensor) -> Tensor:
    """[N, T, ...] and [N, K, T, ...] as slots [N, T (K + 1) - 1, ...], a frame's clean one before its noisy ones."""
    frames = noisy.shape[2]
    both = torch.cat([clean[:, None], noisy], 1).transpose(1, 2).flatten(1, 2)
    last = (frames - 1) * (noisy.shape[1] + 1)
    return torch.cat([both[:, :last], both[:, last + 1 :]], 1)


def teacher_forced(net: Any, clean: Tensor, noisy: Tensor, sigma: Tensor, text: Tensor, run: Any = layer) -> Tensor:
    """Velocities of noisy copies, both [N, K, T, C, h, w], at levels `sigma` [N, K, T], given clean latents."""
    copies, t = noisy.shape[1:3]
    high, wide = noisy.shape[-2] // 2, noisy.shape[-1] // 2
    levels = slotted(torch.zeros_like(sigma[:, 0]), sigma)
    frames = slotted(torch.arange(t)[None], torch.arange(t).expand(1, copies, t))[0].to(noisy.device)
    row, mods = times(net, levels, torch.float32)
    turn, attend = turns(net, frames, high, wide), Forcing(t, copies)
    y = patches(net, slotted(clean, noisy))
    for block, keys in zip(net.blocks, text_keys(net, text), strict=True):
        y = run(block, y, mods, keys, attend, turn)
    v = head(net, y, row, high, wide)
    last = (t - 1) * (copies + 1)
    v = torch.cat([v[:, :last].unflatten(1, (t - 1, copies + 1))[:, :, 1:], v[:, None, last:]], 1)
    return v.transpose(1, 2)


class Cache:
    """Keys and values of the frames that are done, by layer, and the prompt's."""

    def __init__(self, net: Any, text: Tensor) -> None:
        self.text = text_keys(net, text)
        self.kept: list[tuple[Tensor, Tensor] | None] = [None] * len(net.blocks)
        self.frames = 0


def step(net: Any, x: Tensor, sigma: float, cache: Cache, commit: bool = False) -> Tensor:
    """The velocity of one latent frame [N, C, h, w] after those in the cache; `commit` keeps its keys and values."""
    high, wide = x.shape[-2] // 2, x.shape[-1] // 2
    row, mods = times(net, torch.full((len(x), 1), sigma, device=x.device), torch.float32)
    turn = turns(net, torch.tensor([cache.frames], device=x.device), high, wide)
    y = patches(net, x[:, None])
    for index, block in enumerate(net.blocks):
        y = layer(block, y, mods, cache.text[index], _remembering(cache, index, commit), turn)
    cache.frames += commit
    return head(net, y, row, high, wide)[:, 0]


def _remembering(cache: Cache, index: int, commit: bool) -> Any:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = k.flatten(2, 3), v.flatten(2, 3)
        past = cache.kept[index]
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        if commit:
            cache.kept[index] = (k, v)
        return attended(q.flatten(2, 3), k, v).unflatten(2, q.shape[2:4])

    return attend
