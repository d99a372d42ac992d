"""The vision graph of towers that see a whole picture of any size, and the projectors behind it.

A plain transformer over all patches of one frame: layer norms, no windows, and learned positions on a square table
that is stretched to the picture. A patch's shares of the table's lines and columns are inputs, so the graph knows no
sizes. A projector joins the patches of a merge group. Qwen3-VL's tower also turns queries and keys by line and
column, and gives features of several depths, side by side; SigLIP2 as Cosmos 3 Edge has it does neither. Weights as in
`siglip.py`, whose blocks these are. Knows nothing of files, or of how pictures are resized. The networks are those of
transformers' Cosmos3EdgeModel and Qwen3VLVisionModel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .kind import DYNAMIC, OWN, Array, Axes, Case, Kind, Machine, Piece, Port, random_feeds
from .layers import LayerNorm, Projection
from .shapes import PackedShape
from .siglip import CropBlock
from .vision import rotary

__all__ = ["PACKED"]

V = TypeVar("V")

EPS = 1e-6
"""Epsilon of the projectors' norms; transformers fixes it in code."""


class PackedPatches(nn.Module):
    """The start of the tower: patches of pixels to rows, with their learned positions."""

    def __init__(self, shape: PackedShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = Projection(shape.patch_values, shape.hidden)
        self.position = nn.Parameter(torch.empty(shape.side**2, shape.hidden))

    def forward(self, pixels: Tensor, down: Tensor, across: Tensor, places: Tensor | None = None) -> tuple[Tensor, ...]:
        """Map `pixels [G,M,K]` and shares `[G,M,side]` of the table's lines and columns to x `[G,M,hidden]`.

        A tower that rotates queries and keys maps `places [G,M,2]` to cos and sin `[G,M,head_dim]` as well.
        """
        shares = (down.unsqueeze(-1) * across.unsqueeze(-2)).flatten(-2)
        x = self.embed(pixels.to(self.position.dtype)) + shares.to(self.position.dtype) @ self.position
        if places is None:
            return (x,)
        cos, sin = rotary(places.flatten(0, 1), self.shape)
        return x, cos.view(*x.shape[:2], -1), sin.view(*x.shape[:2], -1)


class PackedBlock(CropBlock):
    """A layer: attention over all patches of the picture, and an MLP."""

    def forward(self, x: Tensor, cos: Tensor | None = None, sin: Tensor | None = None) -> Tensor:
        """Map `x [G,M,hidden]` to the same; rotations are `[G,M,head_dim]`, or None."""
        turned = [None if part is None else part.flatten(0, 1).unsqueeze(1) for part in (cos, sin)]
        return super().forward(x.flatten(0, 1), *turned).reshape(x.shape)


class PackedProjector(nn.Module):
    """The projector: rows of the last layer to features, or with `deep` those of an earlier one, normed as a group."""

    def __init__(self, shape: PackedShape, deep: bool = False) -> None:
        super().__init__()
        joined = shape.merge**2 * shape.hidden
        self.deep = deep
        self.last = LayerNorm(shape.hidden, shape.eps) if shape.last_norm and not deep else None
        self.norm = LayerNorm(joined if deep else shape.hidden, EPS)
        self.first = Projection(joined, shape.projector)
        self.second = Projection(shape.projector, shape.out_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x [G,M,hidden]` to features `[G,out_hidden]` float32."""
        x = x if self.last is None else self.last(x)
        joined = self.norm(x.flatten(1)) if self.deep else self.norm(x).flatten(1)
        return self.second(functional.gelu(self.first(joined))).float()


class Joined(nn.Module):
    """The join of features of several depths, side by side."""

    def forward(self, *features: Tensor) -> Tensor:
        """Join features `[G,out_hidden]`, of which the last layer's come first, to `[G,depths*out_hidden]`."""
        return torch.cat(features, -1)


def _tower(network: Any) -> PackedShape:
    assert isinstance(network.tower, PackedShape)
    return network.tower


def _axes(_: Any) -> Axes:
    return {"groups": (6, DYNAMIC)}


def _inputs(network: Any) -> dict[str, Port]:
    s = _tower(network)
    share = Port("float32", ("groups", s.merge**2, s.side))
    ports = {"pixels": Port("float32", ("groups", s.merge**2, s.patch_values)), "down": share, "across": share}
    return ports | ({} if s.rope_theta is None else {"places": Port("int64", ("groups", s.merge**2, 2))})


def _outputs(network: Any) -> dict[str, Port]:
    return {"features": Port("float32", ("groups", _tower(network).feature_values))}


def _x(network: Any) -> dict[str, Port]:
    return {"x": Port(OWN, ("groups", _tower(network).merge ** 2, _tower(network).hidden))}


def _of_block(network: Any) -> dict[str, Port]:
    s = _tower(network)
    turned = Port("float32", ("groups", s.merge**2, s.head_dim))
    return _x(network) | ({} if s.rope_theta is None else {"cos": turned, "sin": turned})


def _of_join(network: Any) -> dict[str, Port]:
    feature = Port("float32", ("groups", _tower(network).out_hidden))
    return dict.fromkeys([f"features_{i}" for i in range(1 + len(_tower(network).deep))], feature)


def _patches(network: Any) -> Piece:
    outputs = ("x",) if _tower(network).rope_theta is None else ("x", "cos", "sin")
    return Piece("packed_patches", lambda n: PackedPatches(_tower(n)), _inputs, outputs, _axes, residual=True)


BLOCK = Piece("packed_block", lambda n: PackedBlock(_tower(n)), _of_block, ("x_out",), _axes, residual=True)
PROJECTOR = Piece("packed_projector", lambda n: PackedProjector(_tower(n)), _x, ("features",), _axes)
DEEP = Piece("packed_deep", lambda n: PackedProjector(_tower(n), deep=True), _x, ("features",), _axes)
JOIN = Piece("packed_join", lambda _: Joined(), _of_join, ("features",), _axes)


def _run(network: Any, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    s, deep = _tower(network), list[V]()
    x, *turned = machine.apply(_patches(network), {name: feeds[name] for name in _inputs(network)}, "vision.")
    shared = dict(zip(("cos", "sin"), turned, strict=False))
    for i in range(s.depth):
        (x,) = machine.apply(BLOCK, {"x": x, **shared}, f"vision.blocks.{i}.")
        if i in s.deep:
            deep += machine.apply(DEEP, {"x": x}, f"vision.deep.{len(deep)}.")
    (features,) = machine.apply(PROJECTOR, {"x": x}, "vision.")
    if deep:
        (features,) = machine.apply(JOIN, dict(zip(_of_join(network), [features, *deep], strict=True)))
    return {"features": features}


def _cases(network: Any, _: Array, __: int) -> Iterator[Case]:
    """Make cases of one merge group and of several."""
    rng = np.random.default_rng(7)
    for groups in (1, 12):
        feeds = random_feeds(_inputs(network), {"groups": groups}, rng)
        for name in ("down", "across"):
            shares = rng.random(feeds[name].shape)
            feeds[name] = (shares / shares.sum(-1, keepdims=True)).astype(np.float32)
        if "places" in feeds:
            feeds["places"] = rng.integers(0, 40, feeds["places"].shape)
        yield Case(f"{groups} merge groups", feeds)


PACKED: Kind = Kind(_inputs, _outputs, _run, _cases)
