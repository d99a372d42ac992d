"""The vision graph of a SigLIP2 tower that sees a whole picture of any size, and the projector behind it.

A plain transformer over all patches of one frame: layer norms, no windows, and learned positions on a square table
that is stretched to the picture. How much of which entry a patch takes is an input, for each axis its own, so the graph
knows no sizes. The projector joins the patches of a merge group. Weights as in `siglip.py`, whose blocks these are.
Knows nothing of files, or of how pictures are resized. The network is that of transformers' Cosmos3EdgeModel.
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

__all__ = ["PACKED"]

V = TypeVar("V")


class PackedPatches(nn.Module):
    """A picture up to the first layer."""

    def __init__(self, shape: PackedShape) -> None:
        super().__init__()
        self.embed = Projection(shape.patch_values, shape.hidden)
        self.position = nn.Parameter(torch.empty(shape.side**2, shape.hidden))

    def forward(self, pixels: Tensor, down: Tensor, across: Tensor) -> Tensor:
        """`pixels [G,M,K]`, shares `[G,M,side]` of the table's lines and columns; gives x `[G,M,hidden]`."""
        shares = (down.unsqueeze(-1) * across.unsqueeze(-2)).flatten(-2)
        return self.embed(pixels.to(self.position.dtype)) + shares.to(self.position.dtype) @ self.position


class PackedBlock(CropBlock):
    """Attention over all patches of the picture, and an MLP."""

    def forward(self, x: Tensor) -> Tensor:
        """`x [G,M,hidden]` to the same."""
        return super().forward(x.flatten(0, 1)).reshape(x.shape)


class PackedProjector(nn.Module):
    """The picture after its last layer."""

    def __init__(self, shape: PackedShape) -> None:
        super().__init__()
        self.last, self.norm = LayerNorm(shape.hidden, shape.eps), LayerNorm(shape.hidden, 1e-6)
        self.first = Projection(shape.merge**2 * shape.hidden, shape.projector)
        self.second = Projection(shape.projector, shape.out_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """`x [G,M,hidden]` to features `[G,out_hidden]` float32."""
        joined = self.norm(self.last(x)).flatten(1)
        return self.second(functional.gelu(self.first(joined))).float()


def _tower(network: Any) -> PackedShape:
    assert isinstance(network.tower, PackedShape)
    return network.tower


def _axes(_: Any) -> Axes:
    return {"groups": (6, DYNAMIC)}


def _inputs(network: Any) -> dict[str, Port]:
    s = _tower(network)
    share = Port("float32", ("groups", s.merge**2, s.side))
    return {"pixels": Port("float32", ("groups", s.merge**2, s.patch_values)), "down": share, "across": share}


def _outputs(network: Any) -> dict[str, Port]:
    return {"features": Port("float32", ("groups", _tower(network).out_hidden))}


def _x(network: Any) -> dict[str, Port]:
    return {"x": Port(OWN, ("groups", _tower(network).merge ** 2, _tower(network).hidden))}


PATCHES = Piece("packed_patches", lambda n: PackedPatches(_tower(n)), _inputs, ("x",), _axes, residual=True)
BLOCK = Piece("packed_block", lambda n: PackedBlock(_tower(n)), _x, ("x_out",), _axes, residual=True)
PROJECTOR = Piece("packed_projector", lambda n: PackedProjector(_tower(n)), _x, ("features",), _axes)


def _run(network: Any, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    (x,) = machine.apply(PATCHES, {name: feeds[name] for name in _inputs(network)}, "vision.")
    for i in range(_tower(network).depth):
        (x,) = machine.apply(BLOCK, {"x": x}, f"vision.blocks.{i}.")
    (features,) = machine.apply(PROJECTOR, {"x": x}, "vision.")
    return {"features": features}


def _cases(network: Any, _: Array, __: int) -> Iterator[Case]:
    """Pictures of one merge group and of several."""
    rng = np.random.default_rng(7)
    for groups in (1, 12):
        feeds = random_feeds(_inputs(network), {"groups": groups}, rng)
        for name in ("down", "across"):
            shares = rng.random(feeds[name].shape)
            feeds[name] = (shares / shares.sum(-1, keepdims=True)).astype(np.float32)
        yield Case(f"{groups} merge groups", feeds)


PACKED: Kind = Kind(_inputs, _outputs, _run, _cases)
