"""Qwen3-VL's vision tower, which Cosmos 3 Nano and Super have: its sizes and tensors.

Beside the last layer's, some layers before it give features as well (DeepStack, 2406.04334).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....engines.errors import CheckpointError
from ...checkpoint.pipeline import Pipeline
from ...checkpoint.sources import Source
from ...graphs.shapes import PackedShape
from ...graphs.siglip import norm_sources
from ...graphs.vision import linear
from .family import prefix_of, require, size_of

__all__ = ["DEFAULTS", "describe"]

DEFAULTS: dict[str, Any] = {
    "min_pixels": 56 * 56, "max_pixels": 28 * 28 * 1280, "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711], "rescale_factor": 1 / 255, "resample": 3,
}  # fmt: skip
"""Settings of the image processor where no file says them: those of transformers' class for it."""

EPS = 1e-6
"""Summand under the root of all norms; transformers fixes it in code."""


def describe(pipeline: Pipeline, part: str, out_hidden: int) -> tuple[PackedShape, dict[str, Source]]:
    """Sizes, and the tensors of each parameter. Raises CheckpointError for what is not supported."""
    found = pipeline.configs[part]
    config = found.get("vision_config", found)
    require(part, config, {"hidden_act": ("gelu_pytorch_tanh",), "out_hidden_size": (out_hidden,)})
    hidden, merge = size_of(config, part, "hidden_size", 1152), size_of(config, part, "spatial_merge_size", 2)
    places, deep = size_of(config, part, "num_position_embeddings", 2304), _deep(config)
    shape = PackedShape(
        depth=size_of(config, part, "depth", 27),
        hidden=hidden,
        heads=size_of(config, part, "num_heads", 16),
        intermediate=size_of(config, part, "intermediate_size", 4304),
        patch=size_of(config, part, "patch_size", 16),
        channels=size_of(config, part, "in_channels", 3),
        side=round(places**0.5),
        merge=merge,
        projector=hidden * merge**2,
        out_hidden=out_hidden,
        eps=EPS,
        packing="qwen3_vl",
        temporal=size_of(config, part, "temporal_patch_size", 2),
        last_norm=False,
        rope_theta=_theta(config, part),
        deep=tuple(sorted(deep)),
    )
    if shape.side**2 != places or shape.hidden % (4 * shape.heads):
        raise CheckpointError(
            f"{part}/config.json: num_position_embeddings = {places} and {shape.heads} heads over {shape.hidden} "
            "channels, expected a square number, and a multiple of four times as many."
        )
    if len(set(deep)) != len(deep) or any(layer not in range(shape.depth) for layer in deep):
        raise CheckpointError(
            f"{part}/config.json: deepstack_visual_indexes = {deep}, expected different layers of {shape.depth}."
        )
    return shape, _sources(shape, prefix_of(pipeline, part, "patch_embed.proj.weight"), deep)


def _deep(config: Mapping[str, Any]) -> list[int]:
    """Layers that give features, in the order of their tensors."""
    found = config.get("deepstack_visual_indexes", [8, 16, 24])
    return list(found) if isinstance(found, list) and all(type(layer) is int for layer in found) else [-1]


def _theta(config: Mapping[str, Any], part: str) -> float:
    rope = config.get("rope_parameters") or {}
    require(part, rope, {"rope_type": ("axial", "default")})
    return float(rope.get("rope_theta", 10000.0))


def _sources(s: PackedShape, at: str, deep: list[int]) -> dict[str, Source]:
    kernel, flat = (s.hidden, s.channels, s.temporal, s.patch, s.patch), (s.hidden, s.patch_values)
    made = {
        "embed.weight": Source((f"{at}patch_embed.proj.weight",), (kernel,), True, flat),
        "embed.bias": Source((f"{at}patch_embed.proj.bias",), ((s.hidden,),)),
        "position": Source((f"{at}pos_embed.weight",), ((s.side**2, s.hidden),)),
        **_projector(s, "", f"{at}merger.", s.hidden),
    }
    for i in range(s.depth):
        made |= _block(s, f"blocks.{i}.", f"{at}blocks.{i}.")
    for i, layer in enumerate(s.deep):
        made |= _projector(s, f"deep.{i}.", f"{at}deepstack_merger_list.{deep.index(layer)}.", s.projector)
    return {f"vision.{name}": source for name, source in made.items()}


def _block(s: PackedShape, ours: str, theirs: str) -> dict[str, Source]:
    return {
        **norm_sources(f"{ours}norm1", f"{theirs}norm1", s.hidden),
        **linear(f"{ours}attention", [f"{theirs}attn.qkv"], s.hidden, 3 * s.hidden),
        **linear(f"{ours}out", [f"{theirs}attn.proj"], s.hidden, s.hidden),
        **norm_sources(f"{ours}norm2", f"{theirs}norm2", s.hidden),
        **linear(f"{ours}fc1", [f"{theirs}mlp.linear_fc1"], s.hidden, s.intermediate),
        **linear(f"{ours}fc2", [f"{theirs}mlp.linear_fc2"], s.intermediate, s.hidden),
    }


def _projector(s: PackedShape, ours: str, theirs: str, normed: int) -> dict[str, Source]:
    return {
        **norm_sources(f"{ours}norm", f"{theirs}norm", normed),
        **linear(f"{ours}first", [f"{theirs}linear_fc1"], s.projector, s.projector),
        **linear(f"{ours}second", [f"{theirs}linear_fc2"], s.projector, s.out_hidden),
    }
