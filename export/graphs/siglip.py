"""The vision graph of SigLIP's tower (2303.15343, 2502.14786) and a two-layer projector, for one crop.

A plain transformer over the M patches of a square crop: learned positions, layer norms, no windows, no class token. The
features are the rows of the last layer that is run: LLaVA uses neither SigLIP's last norm nor its pooling. One more
row comes out behind them, the one that ends a line of a picture (`runtime/inputs/crops.py`): it is a weight, and only
graphs have weights.

Weights are stored `[in, out]`, query, key and value as one matrix. Matrices work in the dtype of the weights; norms and
softmax in float32. Knows nothing of files, or of how pictures are cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...engines.errors import CheckpointError
from ..checkpoint.sources import Source
from .kind import OWN, Array, Case, Kind, Machine, Piece, Port, random_feeds
from .layers import LayerNorm, Projection
from .shapes import Network, PackedShape, SiglipShape
from .vision import linear, rotate

__all__ = ["CROPS", "CropBlock", "SiglipNames", "block_sources", "from_config", "norm_sources", "sources"]

V = TypeVar("V")


_SIZES = {
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "intermediate": "intermediate_size",
    "patch": "patch_size",
    "crop": "image_size",
    "channels": "num_channels",
}


def from_config(config: Mapping[str, Any], depth: int, out_hidden: int) -> SiglipShape:
    """Read the shape of the tower of `config` (a `siglip_vision_model`), run up to layer `depth`.

    Raises CheckpointError that lists what is missing or not supported.
    """
    wanted = [*_SIZES.values()]
    odd = [f"{key} = {config.get(key)!r}" for key in wanted if type(config.get(key)) is not int or config[key] < 1]
    if not odd and config["hidden_size"] % config["num_attention_heads"]:
        odd.append(f"hidden_size = {config['hidden_size']} is no multiple of {config['num_attention_heads']} heads")
    if config.get("hidden_act", "gelu_pytorch_tanh") != "gelu_pytorch_tanh":
        odd.append(f"hidden_act = {config['hidden_act']!r}, expected 'gelu_pytorch_tanh'")
    if depth < 1:
        odd.append(f"{depth} layers, expected at least 1")
    if odd:
        raise CheckpointError(f"vision_config is not that of a SigLIP tower: {'; '.join(odd)}; check config.json")
    sizes = {field: config[key] for field, key in _SIZES.items()}
    return SiglipShape(depth=depth, out_hidden=out_hidden, eps=float(config.get("layer_norm_eps", 1e-6)), **sizes)


@dataclass(frozen=True)
class SiglipNames:
    """Names, or beginnings of names, of a checkpoint's tensors."""

    tower: str
    first: str
    """The projector's two layers."""
    second: str
    newline: str


def sources(shape: SiglipShape, names: SiglipNames) -> dict[str, Source]:
    """List for each parameter the checkpoint tensors that it is made of."""
    s, at = shape, f"{names.tower}embeddings."
    kernel, flat = (s.hidden, s.channels, s.patch, s.patch), (s.hidden, s.patch_values)
    table = {
        "embed.weight": Source((f"{at}patch_embedding.weight",), (kernel,), True, flat),
        "embed.bias": Source((f"{at}patch_embedding.bias",), ((s.hidden,),)),
        "position": Source((f"{at}position_embedding.weight",), ((s.patches, s.hidden),)),
        "newline": Source((names.newline,), ((s.out_hidden,),)),
    }
    for i in range(s.depth):
        table |= block_sources(s, f"blocks.{i}.", f"{names.tower}encoder.layers.{i}.")
    table |= linear("first", [names.first], s.hidden, s.out_hidden)
    return table | linear("second", [names.second], s.out_hidden, s.out_hidden)


def block_sources(s: SiglipShape | PackedShape, ours: str, theirs: str) -> dict[str, Source]:
    """List the parameters of one layer, `ours` by name, with the tensors of the checkpoint, `theirs`."""
    return {
        **norm_sources(f"{ours}norm1", f"{theirs}layer_norm1", s.hidden),
        **linear(f"{ours}attention", [f"{theirs}self_attn.{x}_proj" for x in "qkv"], s.hidden, s.hidden),
        **linear(f"{ours}out", [f"{theirs}self_attn.out_proj"], s.hidden, s.hidden),
        **norm_sources(f"{ours}norm2", f"{theirs}layer_norm2", s.hidden),
        **linear(f"{ours}fc1", [f"{theirs}mlp.fc1"], s.hidden, s.intermediate),
        **linear(f"{ours}fc2", [f"{theirs}mlp.fc2"], s.intermediate, s.hidden),
    }


def norm_sources(ours: str, theirs: str, width: int) -> dict[str, Source]:
    """List weight and bias of a layer norm: see `block_sources`."""
    return {f"{ours}.{kind}": Source((f"{theirs}.{kind}",), ((width,),)) for kind in ("weight", "bias")}


class CropPatches(nn.Module):
    """The start of the tower: patches of pixels to rows, with their learned positions."""

    def __init__(self, shape: SiglipShape) -> None:
        super().__init__()
        self.embed = Projection(shape.patch_values, shape.hidden)
        self.position = nn.Parameter(torch.empty(shape.patches, shape.hidden))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map `pixels [M,K]` float32 to x `[M,hidden]`."""
        return self.embed(pixels.to(self.position.dtype)) + self.position


class CropBlock(nn.Module):
    """A layer: attention over all patches of the crop, and an MLP."""

    def __init__(self, shape: SiglipShape | PackedShape) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, shape.hidden // shape.heads
        self.norm1, self.norm2 = (LayerNorm(shape.hidden, shape.eps) for _ in range(2))
        self.attention = Projection(shape.hidden, 3 * shape.hidden)
        self.out = Projection(shape.hidden, shape.hidden)
        self.fc1 = Projection(shape.hidden, shape.intermediate)
        self.fc2 = Projection(shape.intermediate, shape.hidden)

    def forward(self, x: Tensor, cos: Tensor | None = None, sin: Tensor | None = None) -> Tensor:
        """Map `x [M,hidden]` to the same; rotations of queries and keys are `[M,1,head_dim]`, or None."""
        x = x + self.out(self.attend(self.norm1(x), cos, sin))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x)), approximate="tanh"))

    def attend(self, x: Tensor, cos: Tensor | None, sin: Tensor | None) -> Tensor:
        """Compute softmax(q k' / sqrt(d)) v per head, `[M,hidden]`."""
        heads = self.attention(x).view(-1, 3 * self.heads, self.head_dim)
        if cos is not None and sin is not None:
            turned, v = heads.split((2 * self.heads, self.heads), dim=1)
            heads = torch.cat([rotate(turned, cos, sin), v], 1)
        q, k, v = heads.transpose(0, 1).split(self.heads)
        scores = (q * self.head_dim**-0.5) @ k.transpose(1, 2)
        return (scores.float().softmax(-1).to(v) @ v).transpose(0, 1).reshape(x.shape)


class CropProjector(nn.Module):
    """The projector: rows of the last layer to features, and the row that ends a line."""

    def __init__(self, shape: SiglipShape) -> None:
        super().__init__()
        self.first = Projection(shape.hidden, shape.out_hidden)
        self.second = Projection(shape.out_hidden, shape.out_hidden)
        self.newline = nn.Parameter(torch.empty(shape.out_hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Map `x [M,hidden]` to features `[M+1,out_hidden]` float32, of which the last ends a line."""
        features = self.second(functional.gelu(self.first(x)))
        return torch.cat([features, self.newline.unsqueeze(0)]).float()


def _tower(network: Network) -> SiglipShape:
    assert isinstance(network.tower, SiglipShape)
    return network.tower


def _inputs(network: Network) -> dict[str, Port]:
    return {"pixels": Port("float32", (_tower(network).patches, _tower(network).patch_values))}


def _outputs(network: Network) -> dict[str, Port]:
    return {"features": Port("float32", (_tower(network).patches + 1, network.decoder.hidden))}


def _x(network: Network) -> dict[str, Port]:
    return {"x": Port(OWN, (_tower(network).patches, _tower(network).hidden))}


PATCHES = Piece("crop_patches", lambda network: CropPatches(_tower(network)), _inputs, ("x",), residual=True)
BLOCK = Piece("crop_block", lambda network: CropBlock(_tower(network)), _x, ("x_out",), residual=True)
PROJECTOR = Piece("crop_projector", lambda network: CropProjector(_tower(network)), _x, ("features",))


def _run(network: Network, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    (x,) = machine.apply(PATCHES, {"pixels": feeds["pixels"]}, "vision.")
    for i in range(_tower(network).depth):
        (x,) = machine.apply(BLOCK, {"x": x}, f"vision.blocks.{i}.")
    (features,) = machine.apply(PROJECTOR, {"x": x}, "vision.")
    return {"features": features}


def _cases(network: Network, _: Array, __: int) -> Iterator[Case]:
    """Make two cases, a crop each."""
    rng = np.random.default_rng(3)
    for number in range(2):
        yield Case(f"crop {number}", random_feeds(_inputs(network), {}, rng))


CROPS = Kind(_inputs, _outputs, _run, _cases)
