"""The vision tower of Cosmos 3 Edge: its sizes and tensors, and how a picture becomes what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...engines.errors import CheckpointError
from ...runtime.inputs.patches import VisionSpec
from ...runtime.schema import Violations, from_json
from ..checkpoint.json_files import read_json
from ..checkpoint.pipeline import Pipeline
from ..checkpoint.processor import image_processor
from ..checkpoint.sources import Source
from ..graphs.shapes import PackedShape
from ..graphs.siglip import block_sources, norm_sources
from ..graphs.vision import linear
from .film_family import require, size_of

__all__ = ["PART", "describe_vision", "vision_spec"]

PART = "vision_encoder"

FIRST = "linear_fc1.weight"
"""Tensor of the projector, whose widths no config says."""

TOKENS = {"image": "<|image_pad|>", "video": "<|video_pad|>", "vision_start": "<|vision_start|>"}
TOKENS |= {"vision_end": "<|vision_end|>"}
"""Tokens of a prompt with pictures, by the beginning of their keys in config.json."""

DEFAULTS: dict[str, Any] = {
    "min_pixels": 256 * 256, "max_pixels": 4096 * 4096, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "rescale_factor": 1 / 255, "resample": 3,
}  # fmt: skip
"""Settings of the image processor where no file says them."""


def describe_vision(pipeline: Pipeline, out_hidden: int) -> tuple[PackedShape, dict[str, Source]]:
    """Sizes, and the tensors of each parameter. Raises CheckpointError for what is not supported."""
    found = pipeline.configs[PART]
    config = found.get("vision_config", found)
    require(PART, config, {"model_type": ("cosmos3_edge_vision",), "hidden_act": ("gelu_pytorch_tanh",)})
    tower, projector = _prefix(pipeline, "embeddings.patch_embedding.weight"), _prefix(pipeline, FIRST)
    places = size_of(config, PART, "num_patches", 256)
    shape = PackedShape(
        depth=size_of(config, PART, "num_hidden_layers", 27),
        hidden=size_of(config, PART, "hidden_size", 1152),
        heads=size_of(config, PART, "num_attention_heads", 16),
        intermediate=size_of(config, PART, "intermediate_size", 4304),
        patch=size_of(config, PART, "patch_size", 16),
        channels=size_of(config, PART, "num_channels", 3),
        side=round(places**0.5),
        merge=size_of(config, PART, "spatial_merge_size", 2),
        projector=pipeline.entry(f"{projector}{FIRST}").shape[0],
        out_hidden=out_hidden,
        eps=float(config.get("layer_norm_eps", 1e-6)),
    )
    if shape.side**2 != places or shape.hidden % shape.heads:
        raise CheckpointError(
            f"{PART}/config.json: num_patches = {places} and {shape.heads} heads over {shape.hidden} channels, "
            "expected a square number, and a multiple."
        )
    return shape, _sources(shape, tower, projector)


def _prefix(pipeline: Pipeline, ending: str) -> str:
    """Everything before `ending` in the one name of the part that ends so."""
    names = [name for name in pipeline.files if name.startswith(f"{PART}/") and name.endswith(ending)]
    if len(names) != 1:
        raise CheckpointError(f"{pipeline.path / PART}: {len(names)} tensors end in {ending}, expected one.")
    return names[0].removesuffix(ending)


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


def vision_spec(pipeline: Pipeline, shape: PackedShape, ids: Mapping[str, int]) -> VisionSpec:
    """Handling of pictures; `ids` are those of the tokenizer's added tokens. Raises CheckpointError."""
    given = image_processor(pipeline.path) or image_processor(pipeline.path / PART) or {}
    wanted = {"patch_size": shape.patch, "merge_size": shape.merge, "temporal_patch_size": 1}
    wrong = [
        f"  {key} = {given[key]!r}, expected {value!r}"
        for key, value in wanted.items()
        if given.get(key, value) != value
    ]
    if wrong:
        raise CheckpointError("preprocessor_config.json does not fit the tower:\n" + "\n".join(wrong))
    size, root = given.get("size") or {}, read_json(pipeline.path / "config.json") or {}
    tokens = {f"{name}_token_id": root.get(f"{name}_token_id", ids.get(text)) for name, text in TOKENS.items()}
    missing = [text for name, text in TOKENS.items() if tokens[f"{name}_token_id"] is None]
    if missing:
        raise CheckpointError(
            f"{pipeline.tokenizer}: lacks {', '.join(missing)}, which stand for pictures in a prompt."
        )
    edges = {"min_pixels": size.get("shortest_edge"), "max_pixels": size.get("longest_edge")}
    values = {key: edges.get(key) or given.get(key) or default for key, default in DEFAULTS.items()}
    plain = {"window_size": shape.patch * shape.merge, "in_channels": shape.channels, "tokens_per_second": 1.0}
    try:
        return from_json(VisionSpec, {**values, **wanted, **plain, **tokens, "table": shape.side})
    except Violations as error:
        raise CheckpointError(f"preprocessor_config.json and config.json are impossible:\n{error}") from error
