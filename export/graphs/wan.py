"""The graphs of a causal Wan network (Self-Forcing, Causal-Forcing, LongLive): `cross`, `frames`, `frames_merged`.

`cross` makes a prompt's keys and values for all layers, once. `frames` runs the rows of some latent frames against the
keys and values of earlier ones, and gives their velocity and their own keys and values. Timesteps differ by frame, so
modulation does. Sinusoids and rotations are inputs, for a float32 angle is not exact enough. `frames_merged` hides
some rows from others; `frames` hides none and has no mask, so that engines can fuse its attention.

One layer is traced and stamped out as often as the network is deep. Rows stay `[1, F, h, w, hidden]` until they are
attended. Knows nothing of schedules, blocks or caches. The network is that of diffusers' WanTransformer3DModel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .film_shapes import FilmNetwork, WanShape
from .kind import DYNAMIC, OWN, Axes, Case, Kind, Machine, Piece, Port, random_feeds
from .layers import affine, exact, parameters
from .layers import rms_norm_wide as rms

__all__ = ["CROSS", "FRAMES", "FRAMES_MERGED"]

V = TypeVar("V")

HIDDEN_BIAS = -1.0e30
"""Number added to the score of a key that a row may not see: finite, so that no row can become NaN."""

SIZES = {"frames": 3, "high": 2, "wide": 5, "rows": 30, "cached": 7, "keys": 37, "words": 6, "latent_h": 4}
SIZES |= {"latent_w": 10}
"""Axes to trace with. Rows are frames times high times wide; keys are cached rows and these."""

CHECKED = ((1, 2, 3, 0), (2, 3, 2, 5), (3, 1, 4, 12))
"""Sizes of the cases: (frames, rows high, rows wide, cached rows)."""


def _axes(_: FilmNetwork) -> Axes:
    return {name: (size, DYNAMIC) for name, size in SIZES.items()}


def _norm(x: Tensor, eps: float, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Normalise the last axis, in float32, without weights (Ba et al. 2016)."""
    return functional.layer_norm(x.float(), x.shape[-1:], weight, bias, eps)


class Times(nn.Module):
    """The embedding of time: sinusoids to each frame's embedding and modulation."""

    def __init__(self, shape: WanShape) -> None:
        super().__init__()
        self.shape, h = shape, shape.hidden
        exact(self, {"in_weight": (shape.freq_dim, h), "in_bias": (h,), "out_weight": (h, h), "out_bias": (h,)})
        exact(self, {"modulation_weight": (h, 6 * h), "modulation_bias": (6 * h,)})

    def forward(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Map sinusoids `[1, F, freq]` to `[1, F, hidden]` and `[1, F, 6, hidden]`, all in float32."""
        inner = functional.silu(affine(time, self.in_weight, self.in_bias))
        embedded = affine(inner, self.out_weight, self.out_bias)
        modulation = affine(functional.silu(embedded), self.modulation_weight, self.modulation_bias)
        return embedded, modulation.unflatten(-1, (6, self.shape.hidden))


class RowsIn(nn.Module):
    """The start of the network: latents to rows, a patch each."""

    def __init__(self, shape: WanShape) -> None:
        super().__init__()
        self.shape = shape
        kernel = (shape.hidden, shape.channels, 1, shape.patch_h, shape.patch_w)
        parameters(self, {"weight": kernel, "bias": (shape.hidden,)})

    def forward(self, latents: Tensor) -> Tensor:
        """In the dtype of the weights."""
        stride = (1, self.shape.patch_h, self.shape.patch_w)
        return functional.conv3d(latents.to(self.weight.dtype), self.weight, self.bias, stride).permute(0, 2, 3, 4, 1)


class Layer(nn.Module):
    """A layer: attention over cached rows and these, cross-attention over the prompt's rows, feed-forward."""

    def __init__(self, shape: WanShape) -> None:
        super().__init__()
        self.shape, h, f = shape, shape.hidden, shape.intermediate
        exact(self, {"scale_shift": (6, h), "norm_q": (h,), "norm_k": (h,), "cross_norm_q": (h,)})
        normed = (h,) if shape.cross_norm else None
        exact(self, {"cross_norm_weight": normed, "cross_norm_bias": normed})
        for name, (width_in, width_out) in {
            "qkv": (h, 3 * h), "out": (h, h), "cross_q": (h, h), "cross_out": (h, h), "up": (h, f), "down": (f, h),
        }.items():  # fmt: skip
            parameters(self, {f"{name}_weight": (width_in, width_out), f"{name}_bias": (width_out,)})

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        rope_cos: Tensor,
        rope_sin: Tensor,
        past_key: Tensor,
        past_value: Tensor,
        cross_key: Tensor,
        cross_value: Tensor,
        cross_bias: Tensor,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map `x [1,F,h,w,hidden]` over caches `[1,H,T,D]` to x, and to the rows' keys and values `[1,H,R,D]`."""
        m = (modulation + self.scale_shift).unsqueeze(3).unsqueeze(3)  # [1, F, 6, 1, 1, hidden]
        shift, scale, gate, ff_shift, ff_scale, ff_gate = (m[:, :, i] for i in range(6))
        inner = (_norm(x, self.shape.eps) * (1 + scale) + shift).to(x.dtype)
        q, k, v = affine(inner, self.qkv_weight, self.qkv_bias).chunk(3, -1)
        q = turned(self._heads(rms(q, self.norm_q, self.shape.eps)), rope_cos, rope_sin)
        new_key = turned(self._heads(rms(k, self.norm_k, self.shape.eps)), rope_cos, rope_sin)
        new_value = self._heads(v)
        keys, values = torch.cat([past_key, new_key], 2), torch.cat([past_value, new_value], 2)
        attended = affine(self._joined(attend(q, keys, values, bias), x), self.out_weight, self.out_bias)
        x = (x.float() + attended.float() * gate).to(x.dtype)
        x = x + self._crossed(x, cross_key, cross_value, cross_bias)
        inner = (_norm(x, self.shape.eps) * (1 + ff_scale) + ff_shift).to(x.dtype)
        inner = functional.gelu(affine(inner, self.up_weight, self.up_bias), approximate="tanh")
        fed = affine(inner, self.down_weight, self.down_bias)
        return (x.float() + fed.float() * ff_gate).to(x.dtype), new_key, new_value

    def _crossed(self, x: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        inner = x
        if self.shape.cross_norm:
            inner = _norm(x, self.shape.eps, self.cross_norm_weight, self.cross_norm_bias).to(x.dtype)
        q = rms(affine(inner, self.cross_q_weight, self.cross_q_bias), self.cross_norm_q, self.shape.eps)
        attended = attend(self._heads(q), key, value, bias)
        return affine(self._joined(attended, x), self.cross_out_weight, self.cross_out_bias)

    def _heads(self, x: Tensor) -> Tensor:
        """Lay rows `[1, F, h, w, hidden]` out by heads, `[1, H, R, D]`."""
        return x.flatten(1, 3).unflatten(-1, (self.shape.heads, self.shape.head_dim)).transpose(1, 2)

    def _joined(self, attended: Tensor, like: Tensor) -> Tensor:
        """Lay heads `[1, H, R, D]` out as the rows `like [1, F, h, w, hidden]`."""
        return attended.transpose(1, 2).reshape(like.shape)


class MaskedLayer(Layer):
    """A layer whose attention is under a mask."""


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate interleaved pairs of `x [1, H, R, D]` by cos and signed sin `[1, R, 1, D]` (Su et al. 2021)."""
    swapped = torch.stack([x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
    return (x.float() * cos.transpose(1, 2) + swapped.float() * sin.transpose(1, 2)).to(x.dtype)


def attend(q: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Compute softmax attention, `[1, H, R, D]`; `bias` is added to its scores, which are float32."""
    scores = ((q * q.shape[-1] ** -0.5) @ key.transpose(-1, -2)).float()
    if bias is not None:
        scores = scores + bias
    return torch.softmax(scores, -1).to(value.dtype) @ value


class Visible(nn.Module):
    """The bias of scores under a mask."""

    def forward(self, visible: Tensor) -> Tensor:
        """Map `visible [1,1,R,K]` bool to float32: 0 where a key is seen, HIDDEN_BIAS elsewhere."""
        return torch.where(visible, 0.0, HIDDEN_BIAS)


class RowsOut(nn.Module):
    """The end of the network: rows to the velocity; a patch's numbers are in the order (h, w, C)."""

    def __init__(self, shape: WanShape) -> None:
        super().__init__()
        self.shape = shape
        exact(self, {"scale_shift": (2, shape.hidden)})
        parameters(self, {"weight": (shape.hidden, shape.patch_values), "bias": (shape.patch_values,)})

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """Map `x [1, F, h, w, hidden]`, times `embedded [1, F, hidden]` to the velocity `[1, C, F, H, W]` float32."""
        s = self.shape
        m = (embedded.unsqueeze(2) + self.scale_shift).unsqueeze(3).unsqueeze(3)  # [1, F, 2, 1, 1, hidden]
        inner = (_norm(x, s.eps) * (1 + m[:, :, 1]) + m[:, :, 0]).to(x.dtype)
        patches = affine(inner, self.weight, self.bias).float()
        parts = patches.unflatten(-1, (s.patch_h, s.patch_w, s.channels)).permute(0, 6, 1, 2, 4, 3, 5)
        return parts.flatten(5, 6).flatten(3, 4)


class Words(nn.Module):
    """The projection of the text encoder's rows to the width of the network."""

    def __init__(self, shape: WanShape) -> None:
        super().__init__()
        self.shape, h = shape, shape.hidden
        parameters(self, {"in_weight": (shape.text_dim, h), "in_bias": (h,), "out_weight": (h, h), "out_bias": (h,)})

    def forward(self, text_rows: Tensor) -> Tensor:
        """In the dtype of the weights."""
        inner = affine(text_rows.to(self.in_weight.dtype), self.in_weight, self.in_bias)
        return affine(functional.gelu(inner, approximate="tanh"), self.out_weight, self.out_bias)


class CrossRows(nn.Module):
    """The keys and values of one layer's cross-attention."""

    def __init__(self, shape: WanShape) -> None:
        super().__init__()
        self.shape, h = shape, shape.hidden
        exact(self, {"cross_norm_k": (h,)})
        parameters(self, {"cross_kv_weight": (h, 2 * h), "cross_kv_bias": (2 * h,)})

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Map `words [1, L, hidden]` to keys and values `[1, H, L, D]`; keys are normalised, nothing is rotated."""
        s = self.shape
        k, v = affine(words, self.cross_kv_weight, self.cross_kv_bias).chunk(2, -1)
        key = rms(k, self.cross_norm_k, s.eps)
        split = (s.heads, s.head_dim)
        return key.unflatten(-1, split).transpose(1, 2), v.unflatten(-1, split).transpose(1, 2)


def _x(network: FilmNetwork) -> Port:
    return Port(OWN, (1, "frames", "high", "wide", network.wan.hidden))


def _layer_ports(network: FilmNetwork) -> dict[str, Port]:
    s = network.wan
    rope = Port("float32", (1, "rows", 1, s.head_dim))
    past, cross = (Port(OWN, (1, s.heads, axis, s.head_dim)) for axis in ("cached", "words"))
    return {
        "x": _x(network), "modulation": Port("float32", (1, "frames", 6, s.hidden)),
        "rope_cos": rope, "rope_sin": rope, "past_key": past, "past_value": past,
        "cross_key": cross, "cross_value": cross, "cross_bias": Port("float32", (1, 1, 1, "words")),
    }  # fmt: skip


VISIBLE_PORT = Port("bool", (1, 1, "rows", "keys"))
BIAS_PORT = Port("float32", (1, 1, "rows", "keys"))

TIMES = Piece(
    "wan_times",
    lambda n: Times(n.wan),
    lambda n: {"time": Port("float32", (1, "frames", n.wan.freq_dim))},
    ("embedded", "modulation"),
    _axes,
)
ROWS_IN = Piece(
    "wan_rows_in",
    lambda n: RowsIn(n.wan),
    lambda n: {"latents": Port("float32", (1, n.wan.channels, "frames", "latent_h", "latent_w"))},
    ("x",),
    _axes,
)
LAYER = Piece(
    "wan_layer", lambda n: Layer(n.wan), _layer_ports, ("x", "new_key", "new_value"), _axes, residual=True
)  # fmt: skip
MASKED_LAYER = Piece(
    "wan_masked_layer",
    lambda n: MaskedLayer(n.wan),
    lambda n: _layer_ports(n) | {"bias": BIAS_PORT},
    ("x", "new_key", "new_value"),
    _axes,
    residual=True,
)
VISIBLE = Piece("wan_visible", lambda _: Visible(), lambda _: {"visible": VISIBLE_PORT}, ("bias",), _axes)
ROWS_OUT = Piece(
    "wan_rows_out",
    lambda n: RowsOut(n.wan),
    lambda n: {"x": _x(n), "embedded": Port("float32", (1, "frames", n.wan.hidden))},
    ("velocity",),
    _axes,
)
WORDS = Piece(
    "wan_words",
    lambda n: Words(n.wan),
    lambda n: {"text_rows": Port("float32", (1, "words", n.wan.text_dim))},
    ("words",),
    _axes,
)
CROSS_ROWS = Piece(
    "wan_cross",
    lambda n: CrossRows(n.wan),
    lambda n: {"words": Port(OWN, (1, "words", n.wan.hidden))},
    ("cross_key", "cross_value"),
    _axes,
)


def _caches(network: FilmNetwork, kind: str, axis: str) -> dict[str, Port]:
    """Ports of the keys and values of the prompt, a pair for each layer, under this prefix."""
    port = Port(OWN, (1, network.wan.heads, axis, network.wan.head_dim))
    return {f"{kind}_{what}_{i}": port for i in range(network.wan.layers) for what in ("key", "value")}


def _frames_inputs(network: FilmNetwork) -> dict[str, Port]:
    ports = _layer_ports(network)
    return {
        **ROWS_IN.inputs(network), **TIMES.inputs(network),
        **{name: ports[name] for name in ("rope_cos", "rope_sin")},
        **_caches(network, "past", "cached"), **_caches(network, "cross", "words"), "cross_bias": ports["cross_bias"],
    }  # fmt: skip


def _frames_outputs(network: FilmNetwork) -> dict[str, Port]:
    latents = ROWS_IN.inputs(network)["latents"]
    return {"velocity": latents, **_caches(network, "new", "rows")}


def _run_frames(network: FilmNetwork, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    """Apply the whole network; `feeds` has a mask or not."""
    embedded, modulation = machine.apply(TIMES, {"time": feeds["time"]}, "times.")
    (x,) = machine.apply(ROWS_IN, {"latents": feeds["latents"]}, "rows_in.")
    shared = {"modulation": modulation, **{name: feeds[name] for name in ("rope_cos", "rope_sin", "cross_bias")}}
    piece = LAYER
    if "visible" in feeds:
        piece = MASKED_LAYER
        (shared["bias"],) = machine.apply(VISIBLE, {"visible": feeds["visible"]})
    made: dict[str, V] = {}
    for i in range(network.wan.layers):
        own = {f"{k}_{w}": feeds[f"{k}_{w}_{i}"] for k in ("past", "cross") for w in ("key", "value")}
        x, made[f"new_key_{i}"], made[f"new_value_{i}"] = machine.apply(
            piece, {"x": x, **shared, **own}, f"layers.{i}."
        )
    (made["velocity"],) = machine.apply(ROWS_OUT, {"x": x, "embedded": embedded}, "rows_out.")
    return made


def _run_cross(network: FilmNetwork, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    (words,) = machine.apply(WORDS, {"text_rows": feeds["text_rows"]}, "words.")
    made: dict[str, V] = {}
    for i in range(network.wan.layers):
        key, value = machine.apply(CROSS_ROWS, {"words": words}, f"layers.{i}.")
        made[f"cross_key_{i}"], made[f"cross_value_{i}"] = key, value
    return made


def _frames_cases(network: FilmNetwork, masked: bool) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    inputs = _frames_inputs(network) | ({"visible": VISIBLE_PORT} if masked else {})
    for frames, high, wide, cached in CHECKED:
        rows, s = frames * high * wide, network.wan
        sizes = {"frames": frames, "high": high, "wide": wide, "rows": rows, "cached": cached, "keys": cached + rows}
        sizes |= {"latent_h": high * s.patch_h, "latent_w": wide * s.patch_w, "words": 5}
        feeds = random_feeds(inputs, sizes, rng)
        angles = rng.uniform(-np.pi, np.pi, (1, rows, 1, s.head_dim // 2))
        feeds["rope_cos"] = np.repeat(np.cos(angles), 2, -1).astype(np.float32)
        feeds["rope_sin"] = np.repeat(np.sin(angles), 2, -1).astype(np.float32) * np.tile([-1, 1], s.head_dim // 2)
        feeds["rope_sin"] = feeds["rope_sin"].astype(np.float32)
        yield Case(f"{frames} frames of {high * wide} rows, {cached} cached", feeds)


def _cross_cases(network: FilmNetwork, *_: object) -> Iterator[Case]:
    rng = np.random.default_rng(1)
    for words in (2, 9):
        yield Case(f"{words} rows", random_feeds(WORDS.inputs(network), {"words": words}, rng))


CROSS: Kind = Kind(
    lambda n: dict(WORDS.inputs(n)), lambda n: _caches(n, "cross", "words"), _run_cross, _cross_cases
)  # fmt: skip
FRAMES: Kind = Kind(_frames_inputs, _frames_outputs, _run_frames, lambda n, *_: _frames_cases(n, False))
FRAMES_MERGED: Kind = Kind(
    lambda n: _frames_inputs(n) | {"visible": VISIBLE_PORT},
    _frames_outputs,
    _run_frames,
    lambda n, *_: _frames_cases(n, True),
)
