"""Qwen2.5-VL's vision tower as a plain function of tensors, to be traced into vision.onnx.

A rewrite of transformers' `Qwen2_5_VisionTransformerPretrainedModel.forward` for ONE frame group: an image,
or the frames of one temporal patch. Transformers gathers patches into windows and loops over them, with sizes
that depend on the data. Here the host has arranged them already, in windows padded to S patches: window
attention is one batched product, and the graph is dynamic only in M (patches, a multiple of S) and G (merge
groups).

Weights are stored `[in, out]`, gate and up projection are one matrix, and the convolution that embeds patches
is the matrix that it really is: every projection is one MatMul with a constant on its right, as quantizers
like them. Matrices work in the dtype of the weights; norms, rotary embedding and softmax in float32, as in
transformers.

Knows nothing of files and ONNX, nor of how pictures are cut up: that is `runtime/inputs/patches.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...engines.errors import CheckpointError
from ..checkpoint.sources import Source

__all__ = ["VisionShape", "VisionTower", "dynamic_shapes", "example_inputs", "from_config", "linear", "sources"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "silu": functional.silu}
"""Values of `hidden_act` that are known."""

PADDING_BIAS = -30000.0
"""Added to the scores of keys that are padding. Finite, and still so if the graph is turned into float16: a
window of nothing but padding averages over it instead of giving NaN."""


@dataclass(frozen=True)
class VisionShape:
    """The sizes of a vision tower, under the names of the papers rather than those of config.json."""

    depth: int
    """Blocks."""
    hidden: int
    """Width of a patch's row."""
    heads: int
    intermediate: int
    """Width of the gated MLP."""
    patch: int
    """Side of a patch, in pixels."""
    merge: int
    """Side of a merge group, in patches."""
    temporal: int
    """Frames in a patch."""
    channels: int
    """Colour channels."""
    window: int
    """Side of an attention window, in pixels."""
    full_attention: frozenset[int]
    """Blocks that attend over the whole frame group; the others stay within their window."""
    out_hidden: int
    """Width of a feature: that of the text model."""
    hidden_act: str
    rope_theta: float = 10000.0
    eps: float = 1e-6
    """Of all norms; transformers fixes it in code."""

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def patch_values(self) -> int:
        """K: numbers in one patch."""
        return self.channels * self.temporal * self.patch**2

    @property
    def slots(self) -> int:
        """S: patches in a whole window."""
        return (self.window // self.merge // self.patch * self.merge) ** 2


# config.json's name of each whole number of a VisionShape
_SIZES = {
    "depth": "depth",
    "hidden": "hidden_size",
    "heads": "num_heads",
    "intermediate": "intermediate_size",
    "patch": "patch_size",
    "merge": "spatial_merge_size",
    "temporal": "temporal_patch_size",
    "channels": "in_channels",
    "window": "window_size",
    "out_hidden": "out_hidden_size",
}


def from_config(vision_config: Mapping[str, Any]) -> VisionShape:
    """The shape that `config.json`'s `vision_config` describes.

    Raises `CheckpointError` that lists missing keys, sizes that are no positive whole numbers, an unknown
    activation or rotary embedding, and sizes that contradict each other.
    """
    config = dict(vision_config)
    # Qwen's own first configs write in_chans, which transformers has renamed.
    config.setdefault("in_channels", config.get("in_chans"))
    wanted = [*_SIZES.values(), "fullatt_block_indexes", "hidden_act"]
    missing = [key for key in wanted if config.get(key) is None]
    if missing:
        raise CheckpointError(
            f"vision_config lacks {missing}, expected a Qwen2.5-VL tower with {wanted}; check config.json"
        )
    rope = config.get("rope_parameters") or {}
    if wrong := list(_complaints(config, rope)):
        raise CheckpointError(f"vision_config is not usable: {'; '.join(wrong)}; check config.json")
    return VisionShape(
        **{field: config[key] for field, key in _SIZES.items()},
        # A shortened tower often keeps the full one's list, and transformers looks no further than its depth.
        full_attention=frozenset(config["fullatt_block_indexes"]) & frozenset(range(config["depth"])),
        hidden_act=config["hidden_act"],
        rope_theta=float(rope.get("rope_theta", VisionShape.rope_theta)),
    )


def _complaints(config: Mapping[str, Any], rope: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong with a config that has all its keys, in words."""
    odd = [key for key in _SIZES.values() if type(config[key]) is not int or config[key] < 1]
    if odd:
        yield "; ".join(f"{key} = {config[key]!r} is not a positive whole number" for key in odd)
        return
    if config["hidden_act"] not in list(ACTIVATIONS):
        yield f"hidden_act = {config['hidden_act']!r} is not one of {sorted(ACTIVATIONS)}"
    if not isinstance(rope, Mapping) or rope.get("rope_type", "axial") != "axial":
        yield f"rope_parameters = {rope!r} are not of rope_type 'axial'"
    if config["hidden_size"] % (4 * config["num_heads"]):
        yield f"hidden_size = {config['hidden_size']} is no multiple of 4 * {config['num_heads']} heads"
    if config["window_size"] < config["patch_size"] * config["spatial_merge_size"]:
        yield f"window_size = {config['window_size']} holds no merge group"
    full = config["fullatt_block_indexes"]
    if not isinstance(full, (list, tuple)) or any(type(block) is not int or block < 0 for block in full):
        yield f"fullatt_block_indexes = {full!r} is not a list of blocks"


def sources(shape: VisionShape, prefix: str = "visual.", merger: str | None = None) -> dict[str, Source]:
    """For each parameter of `VisionTower(shape)` the checkpoint tensors that it is made of.

    `prefix` is what all names in the checkpoint begin with: "visual." or, in newer ones, "model.visual."; those of the
    merger begin with `merger`, where that is not the tower's part.
    """
    merger = f"{prefix}merger." if merger is None else merger
    kernel = (shape.hidden, shape.channels, shape.temporal, shape.patch, shape.patch)
    flat = (shape.hidden, shape.patch_values)
    merged = shape.hidden * shape.merge**2
    table = {"embed.weight": Source((f"{prefix}patch_embed.proj.weight",), (kernel,), True, flat)}
    for i in range(shape.depth):
        table |= _block_sources(shape, f"blocks.{i}.", f"{prefix}blocks.{i}.")
    table |= _norm("merger.norm", f"{merger}ln_q", shape.hidden)
    table |= linear("merger.up", [f"{merger}mlp.0"], merged, merged)
    return table | linear("merger.down", [f"{merger}mlp.2"], merged, shape.out_hidden)


def _block_sources(shape: VisionShape, ours: str, theirs: str) -> dict[str, Source]:
    hidden, wide = shape.hidden, shape.intermediate
    return {
        **_norm(f"{ours}norm1", f"{theirs}norm1", hidden),
        **linear(f"{ours}qkv", [f"{theirs}attn.qkv"], hidden, 3 * hidden),
        **linear(f"{ours}proj", [f"{theirs}attn.proj"], hidden, hidden),
        **_norm(f"{ours}norm2", f"{theirs}norm2", hidden),
        **linear(f"{ours}gate_up", [f"{theirs}mlp.gate_proj", f"{theirs}mlp.up_proj"], hidden, wide),
        **linear(f"{ours}down", [f"{theirs}mlp.down_proj"], wide, hidden),
    }


def _norm(ours: str, theirs: str, width: int) -> dict[str, Source]:
    return {f"{ours}.weight": Source((f"{theirs}.weight",), ((width,),))}


def linear(ours: str, theirs: list[str], width_in: int, width_out: int) -> dict[str, Source]:
    """Weight and bias of one projection made of several, side by side, each `width_out` wide."""
    weights, biases = (tuple(f"{name}.{kind}" for name in theirs) for kind in ("weight", "bias"))
    return {
        f"{ours}.weight": Source(weights, ((width_out, width_in),) * len(theirs), transpose=True),
        f"{ours}.bias": Source(biases, ((width_out,),) * len(theirs)),
    }


class Projection(nn.Module):
    """x @ weight + bias, with the weight stored `[in, out]`."""

    def __init__(self, width_in: int, width_out: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_in, width_out))
        self.bias = nn.Parameter(torch.empty(width_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class Norm(nn.Module):
    """RMSNorm over the last axis, computed in float32, scaled in the weight's dtype."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(x.dtype)


@dataclass(frozen=True)
class Context:
    """What all blocks share. Each bias is added to the scores of its keys."""

    cos: Tensor
    """[M, 1, head_dim] float32, as is `sin`."""
    sin: Tensor
    window_bias: Tensor
    """[W, 1, 1, S] float32."""
    full_bias: Tensor
    """[1, 1, 1, M] float32."""


class Block(nn.Module):
    """Attention, within windows or over the whole frame group, and a gated MLP."""

    def __init__(self, shape: VisionShape, full: bool) -> None:
        super().__init__()
        self.heads, self.head_dim, self.full = shape.heads, shape.head_dim, full
        self.act = ACTIVATIONS[shape.hidden_act]
        self.norm1 = Norm(shape.hidden, shape.eps)
        self.qkv = Projection(shape.hidden, 3 * shape.hidden)
        self.proj = Projection(shape.hidden, shape.hidden)
        self.norm2 = Norm(shape.hidden, shape.eps)
        self.gate_up = Projection(shape.hidden, 2 * shape.intermediate)
        self.down = Projection(shape.intermediate, shape.hidden)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[M, hidden] to [M, hidden]."""
        x = x + self.attend(self.norm1(x), context)
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(self.act(gate) * up)

    def attend(self, x: Tensor, context: Context) -> Tensor:
        """Softmax(q k' / sqrt(d) + bias) v, per window and head."""
        bias = context.full_bias if self.full else context.window_bias
        qk, v = self.qkv(x).view(-1, 3 * self.heads, self.head_dim).split((2 * self.heads, self.heads), dim=1)
        q, k = rotate(qk, context.cos, context.sin).chunk(2, dim=1)
        per_window = (-1, bias.shape[-1], self.heads, self.head_dim)
        q, v = (part.reshape(per_window).transpose(1, 2) for part in (q, v))
        scores = (q * self.head_dim**-0.5) @ k.reshape(per_window).permute(0, 2, 3, 1)
        weights = functional.softmax(scores.float() + bias, dim=-1).to(v.dtype)
        return self.proj((weights @ v).transpose(1, 2).reshape(x.shape))


class Merger(nn.Module):
    """The patches of each merge group, side by side, through a two-layer MLP to one feature."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        merged = shape.hidden * shape.merge**2
        self.patches = shape.merge**2
        self.norm = Norm(shape.hidden, shape.eps)
        self.up = Projection(merged, merged)
        self.down = Projection(merged, shape.out_hidden)

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        """[M, hidden] to [G, out_hidden]. Picks the groups first, so that no work is spent on padding."""
        groups = self.norm(x.reshape(-1, self.patches, x.shape[-1]).index_select(0, order))
        return self.down(functional.gelu(self.up(groups.flatten(1))))


class VisionTower(nn.Module):
    """pixels, positions, real, order -> features, for one frame group.

    Its parameters are uninitialised, and have the names and shapes that `sources` says.
    """

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = Projection(shape.patch_values, shape.hidden, bias=False)
        self.blocks = nn.ModuleList(Block(shape, i in shape.full_attention) for i in range(shape.depth))
        self.merger = Merger(shape)

    def forward(self, pixels: Tensor, positions: Tensor, real: Tensor, order: Tensor) -> Tensor:
        """Features [G, out_hidden] float32 of one frame group.

        pixels: [M, K] float32, M patches in windows of S; positions: [M, 2] int64, row and column of each;
        real: [M] bool, false for padding; order: [G] int64, the merge groups to be returned.
        """
        x = self.embed(pixels.to(self.embed.weight.dtype))
        context = self.context(positions, real)
        for block in self.blocks:
            x = block(x, context)
        return self.merger(x, order).float()

    def context(self, positions: Tensor, real: Tensor) -> Context:
        """What all blocks share."""
        cos, sin = rotary(positions, self.shape)
        bias = torch.where(real, 0.0, PADDING_BIAS)
        return Context(cos, sin, bias.view(-1, 1, 1, self.shape.slots), bias.view(1, 1, 1, -1))


def rotary(positions: Tensor, shape: VisionShape) -> tuple[Tensor, Tensor]:
    """Cosines and sines [M, 1, head_dim] float32, in quarters for row, column, row, column."""
    # Computed here rather than kept as a buffer, which a module built on `meta` could not fill.
    half = shape.head_dim // 2
    exponents = torch.arange(0, half, 2, dtype=torch.float32, device=positions.device) / half
    angles = (positions.unsqueeze(-1).float() / shape.rope_theta**exponents).flatten(1)
    angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + head_dim / 2) of [M, heads, head_dim] by their angles, in float32."""
    wide = x.float()
    left, right = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat((-right, left), dim=-1) * sin).to(x.dtype)


def example_inputs(shape: VisionShape, windows: int = 2) -> dict[str, Tensor]:
    """Inputs of `VisionTower.forward` by name, for tracing: `windows` whole windows, all patches real."""
    rows = windows * shape.slots
    return {
        "pixels": torch.zeros(rows, shape.patch_values),
        "positions": torch.zeros(rows, 2, dtype=torch.int64),
        "real": torch.ones(rows, dtype=torch.bool),
        "order": torch.arange(rows // shape.merge**2),
    }


def dynamic_shapes(shape: VisionShape) -> dict[str, dict[int, Any]]:
    """The dynamic axes for `torch.export`: M is a multiple of S, G is free."""
    patches, groups = shape.slots * torch.export.Dim("windows"), torch.export.Dim("groups")
    return {"pixels": {0: patches}, "positions": {0: patches}, "real": {0: patches}, "order": {0: groups}}
