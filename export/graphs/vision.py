"""The vision graph of Qwen2.5-VL's tower.

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

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...engines.errors import CheckpointError
from ..checkpoint.sources import Source
from .kind import OWN, Array, Axes, Case, Kind, Machine, Piece, Port, random_feeds
from .layers import Projection, RMSNorm
from .shapes import Network, PackedShape, VisionShape

__all__ = ["WINDOWS", "from_config", "linear", "rotary", "rotate", "sources"]

V = TypeVar("V")

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "silu": functional.silu}
"""Activation functions by their names in `hidden_act`."""

PADDING_BIAS = -30000.0
"""Number added to the scores of keys that are padding. It is finite in float16 too, so a window of nothing but
padding averages over it instead of giving NaN."""


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
    """Read the shape that `config.json`'s `vision_config` describes.

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
    """List the faults of a config that has all its keys, a sentence each."""
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
    """List for each parameter of the tower the checkpoint tensors that it is made of.

    `prefix` is the beginning of all names in the checkpoint: "visual.", or "model.visual." in newer ones. Names of the
    merger begin with `merger`, by default `prefix` + "merger.".
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
    """List weight and bias of a projection that joins several of the checkpoint's, each `width_out` wide."""
    weights, biases = (tuple(f"{name}.{kind}" for name in theirs) for kind in ("weight", "bias"))
    return {
        f"{ours}.weight": Source(weights, ((width_out, width_in),) * len(theirs), transpose=True),
        f"{ours}.bias": Source(biases, ((width_out,),) * len(theirs)),
    }


class Block(nn.Module):
    """A block: attention, within windows or over the whole frame group, and a gated MLP."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, shape.head_dim
        self.act = ACTIVATIONS[shape.hidden_act]
        self.norm1 = RMSNorm(shape.hidden, shape.eps)
        self.qkv = Projection(shape.hidden, 3 * shape.hidden)
        self.proj = Projection(shape.hidden, shape.hidden)
        self.norm2 = RMSNorm(shape.hidden, shape.eps)
        self.gate_up = Projection(shape.hidden, 2 * shape.intermediate)
        self.down = Projection(shape.intermediate, shape.hidden)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor) -> Tensor:
        """Map `x [M,hidden]` to the same; `bias` is the one for the block's kind of attention."""
        x = x + self.attend(self.norm1(x), cos, sin, bias)
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(self.act(gate) * up)

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor) -> Tensor:
        """Compute softmax(q k' / sqrt(d) + bias) v per window and head, `[M,hidden]`."""
        qk, v = self.qkv(x).view(-1, 3 * self.heads, self.head_dim).split((2 * self.heads, self.heads), dim=1)
        q, k = rotate(qk, cos, sin).chunk(2, dim=1)
        per_window = (-1, bias.shape[-1], self.heads, self.head_dim)
        q, v = (part.reshape(per_window).transpose(1, 2) for part in (q, v))
        scores = (q * self.head_dim**-0.5) @ k.reshape(per_window).permute(0, 2, 3, 1)
        weights = functional.softmax(scores.float() + bias, dim=-1).to(v.dtype)
        return self.proj((weights @ v).transpose(1, 2).reshape(x.shape))


class Merge(nn.Module):
    """The merger behind the last block: the patches of each merge group, side by side, to one feature."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        merged = shape.hidden * shape.merge**2
        self.patches = shape.merge**2
        self.norm = RMSNorm(shape.hidden, shape.eps)
        self.up = Projection(merged, merged)
        self.down = Projection(merged, shape.out_hidden)

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        """Map `x [M,hidden]`, `order [G]` to features `[G,out_hidden]` float32.

        Groups are picked first, so that no work is spent on padding.
        """
        groups = self.norm(x.reshape(-1, self.patches, x.shape[-1]).index_select(0, order))
        return self.down(functional.gelu(self.up(groups.flatten(1)))).float()


class Patches(nn.Module):
    """The start of the tower: patches to rows, rotations and the biases of both kinds of attention."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = Projection(shape.patch_values, shape.hidden, bias=False)

    def forward(self, pixels: Tensor, positions: Tensor, real: Tensor) -> tuple[Tensor, ...]:
        """Map `pixels [M,K]`, `positions [M,2]`, `real [M]` to x `[M,hidden]` and the inputs of all blocks, in float32.

        These are cos, sin `[M,1,head_dim]`, and the biases of the scores: window_bias `[W,1,1,S]` within windows,
        full_bias `[1,1,1,M]` over the frame group.
        """
        cos, sin = rotary(positions, self.shape)
        bias = torch.where(real, 0.0, PADDING_BIAS)
        x = self.embed(pixels.to(self.embed.weight.dtype))
        return x, cos, sin, bias.view(-1, 1, 1, self.shape.slots), bias.view(1, 1, 1, -1)


def rotary(positions: Tensor, shape: VisionShape | PackedShape) -> tuple[Tensor, Tensor]:
    """Compute cosines and sines `[M, 1, head_dim]` float32, in quarters for row, column, row, column."""
    assert shape.rope_theta is not None, "a tower with rotations"
    # Computed here rather than kept as a buffer, which a module built on `meta` could not fill.
    half = shape.head_dim // 2
    exponents = torch.arange(0, half, 2, dtype=torch.float32, device=positions.device) / half
    angles = (positions.unsqueeze(-1).float() / shape.rope_theta**exponents).flatten(1)
    angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + head_dim / 2) of `[M, heads, head_dim]` by their angles, in float32 (Su et al. 2021)."""
    wide = x.float()
    left, right = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat((-right, left), dim=-1) * sin).to(x.dtype)


def _tower(network: Network) -> VisionShape:
    assert isinstance(network.tower, VisionShape)
    return network.tower


def _axes(network: Network) -> Axes:
    """Axes to trace with: patches of two whole windows, and any number of merge groups."""
    slots, windows = _tower(network).slots, torch.export.Dim("windows")
    groups = 2 * slots // _tower(network).merge ** 2
    patches = (2 * slots, slots * windows)
    return {"patches": patches, "windows": (2, windows), "groups": (groups, torch.export.Dim("groups"))}


def _first(network: Network) -> dict[str, Port]:
    return {
        "pixels": Port("float32", ("patches", _tower(network).patch_values)),
        "positions": Port("int64", ("patches", 2)),
        "real": Port("bool", ("patches",)),
    }


def _of_block(network: Network, *bias: int | str) -> dict[str, Port]:
    angle = Port("float32", ("patches", 1, _tower(network).head_dim))
    x = Port(OWN, ("patches", _tower(network).hidden))
    return {"x": x, "cos": angle, "sin": angle, "bias": Port("float32", bias)}


def _of_merge(network: Network) -> dict[str, Port]:
    return {"x": Port(OWN, ("patches", _tower(network).hidden)), "order": Port("int64", ("groups",))}


PATCHES = Piece(
    "patches",
    lambda network: Patches(_tower(network)),
    _first,
    ("x", "cos", "sin", "window_bias", "full_bias"),
    _axes,
    residual=True,
)
WINDOW_BLOCK = Piece(
    "window_block",
    lambda network: Block(_tower(network)),
    lambda network: _of_block(network, "windows", 1, 1, _tower(network).slots),
    ("x_out",),
    _axes,
    residual=True,
)
FULL_BLOCK = Piece(
    "full_block",
    lambda network: Block(_tower(network)),
    lambda network: _of_block(network, 1, 1, 1, "patches"),
    ("x_out",),
    _axes,
    residual=True,
)
MERGE = Piece("merge", lambda network: Merge(_tower(network)), _of_merge, ("features",), _axes)


def _inputs(network: Network) -> dict[str, Port]:
    return _first(network) | {"order": Port("int64", ("groups",))}


def _outputs(network: Network) -> dict[str, Port]:
    return {"features": Port("float32", ("groups", network.decoder.hidden))}


def _run(network: Network, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    first = {name: feeds[name] for name in _first(network)}
    x, cos, sin, window_bias, full_bias = machine.apply(PATCHES, first, "vision.")
    kinds = {True: (FULL_BLOCK, full_bias), False: (WINDOW_BLOCK, window_bias)}
    for i in range(_tower(network).depth):
        block, bias = kinds[i in _tower(network).full_attention]
        (x,) = machine.apply(block, {"x": x, "cos": cos, "sin": sin, "bias": bias}, f"vision.blocks.{i}.")
    (features,) = machine.apply(MERGE, {"x": x, "order": feeds["order"]}, "vision.merger.")
    return {"features": features}


def _cases(network: Network, _: Array, __: int) -> Iterator[Case]:
    """Make cases of one window, and of several with padding at the edge."""
    rng = np.random.default_rng(3)
    tower = _tower(network)
    for windows in (1, 3):
        patches, group = windows * tower.slots, tower.merge**2
        real = np.repeat(rng.random(patches // group) < (1.0 if windows == 1 else 0.7), group)
        real[:group] = True
        order = rng.permutation(np.flatnonzero(real[::group]))
        pixels = random_feeds({"pixels": _first(network)["pixels"]}, {"patches": patches}, rng)["pixels"]
        positions = rng.integers(0, 40, (patches, 2))
        feeds = {"pixels": pixels * real[:, None], "positions": positions, "real": real, "order": order}
        yield Case(f"{windows} windows", feeds)


WINDOWS = Kind(_inputs, _outputs, _run, _cases)
