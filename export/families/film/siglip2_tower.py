"""SigLIP2 as Cosmos 3 Edge has it: sizes and tensors of a tower that sees a whole picture, and of its projector."""

from __future__ import annotations

from typing import Any

from ....engines.errors import CheckpointError
from ...checkpoint.pipeline import Pipeline
from ...checkpoint.sources import Source
from ...graphs.shapes import PackedShape
from ...graphs.siglip import block_sources, norm_sources
from ...graphs.vision import linear
from .family import prefix_of, require, size_of

__all__ = ["DEFAULTS", "describe"]

FIRST = "linear_fc1.weight"
"""Tensor of the projector, whose widths no config says."""

DEFAULTS: dict[str, Any] = {
    "min_pixels": 256 * 256, "max_pixels": 4096 * 4096, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "rescale_factor": 1 / 255, "resample": 3,
}  # fmt: skip
"""Settings of the image processor where no file says them."""


def describe(pipeline: Pipeline, part: str, out_hidden: int) -> tuple[PackedShape, dict[str, Source]]:
    """Sizes, and the tensors of each parameter. Raises CheckpointError for what is not supported."""
    found = pipeline.configs[part]
    config = found.get("vision_config", found)
    require(part, config, {"hidden_act": ("gelu_pytorch_tanh",)})
    tower = prefix_of(pipeline, part, "embeddings.patch_embedding.weight")
    projector = prefix_of(pipeline, part, FIRST)
    places = size_of(config, part, "num_patches", 256)
    shape = PackedShape(
        depth=size_of(config, part, "num_hidden_layers", 27),
        hidden=size_of(config, part, "hidden_size", 1152),
        heads=size_of(config, part, "num_attention_heads", 16),
        intermediate=size_of(config, part, "intermediate_size", 4304),
        patch=size_of(config, part, "patch_size", 16),
        channels=size_of(config, part, "num_channels", 3),
        side=round(places**0.5),
        merge=size_of(config, part, "spatial_merge_size", 2),
        projector=pipeline.entry(f"{projector}{FIRST}").shape[0],
        out_hidden=out_hidden,
        eps=float(config.get("layer_norm_eps", 1e-6)),
    )
    if shape.side**2 != places or shape.hidden % shape.heads:
        raise CheckpointError(
            f"{part}/config.json: num_patches = {places} and {shape.heads} heads over {shape.hidden} channels, "
            "expected a square number, and a multiple."
        )
    return shape, _sources(shape, tower, projector)


def _sources(s: PackedShape, tower: str, projector: str) -> dict[str, Source]:
    at, joined = f"{tower}embeddings.", s.merge**2 * s.hidden
    made = {
        **linear("embed", [f"{at}patch_embedding"], s.patch_values, s.hidden),
        "position": Source((f"{at}position_embedding.weight",), ((s.side**2, s.hidden),)),
        **norm_sources("last", f"{tower}post_layernorm", s.hidden),
        **norm_sources("norm", f"{projector}norm", s.hidden),
        **linear("first", [f"{projector}linear_fc1"], joined, s.projector),
        **linear("second", [f"{projector}linear_fc2"], s.projector, s.out_hidden),
    }
    for i in range(s.depth):
        made |= block_sources(s, f"blocks.{i}.", f"{tower}encoder.layers.{i}.")
    return {f"vision.{name}": source for name, source in made.items()}
