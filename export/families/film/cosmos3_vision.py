"""The vision tower of a Cosmos 3 checkpoint, of one of two kinds, and how a picture becomes what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....engines.errors import CheckpointError
from ....runtime.inputs.patches import VisionSpec
from ....runtime.schema import Violations, from_json
from ...checkpoint.json_files import read_json
from ...checkpoint.pipeline import Pipeline
from ...checkpoint.processor import image_processor
from ...checkpoint.sources import Source
from ...graphs.shapes import PackedShape
from . import qwen3_vl_tower, siglip2_tower

__all__ = ["PART", "describe_vision", "vision_spec"]

PART = "vision_encoder"

SIGLIP2 = "cosmos3_edge_vision"
"""`model_type` of Edge's tower. Releases give Qwen3-VL's several names, and transformers goes by none of them."""

DEFAULTS = {"siglip2": siglip2_tower.DEFAULTS, "qwen3_vl": qwen3_vl_tower.DEFAULTS}
"""Settings of an image processor where no file says them, by the way in which pictures are packed."""

TOKENS = {"image": "<|image_pad|>", "video": "<|video_pad|>", "vision_start": "<|vision_start|>"}
TOKENS |= {"vision_end": "<|vision_end|>"}
"""Tokens of a prompt with pictures, by the beginning of their keys in config.json."""


def describe_vision(pipeline: Pipeline, out_hidden: int) -> tuple[PackedShape, dict[str, Source]]:
    """Sizes, and the tensors of each parameter. Raises CheckpointError for what is not supported."""
    found = pipeline.configs[PART]
    kind = found.get("vision_config", found).get("model_type")
    describe = siglip2_tower.describe if kind == SIGLIP2 else qwen3_vl_tower.describe
    return describe(pipeline, PART, out_hidden)


def vision_spec(pipeline: Pipeline, shape: PackedShape, ids: Mapping[str, int]) -> VisionSpec:
    """Handling of pictures; `ids` are those of the tokenizer's added tokens. Raises CheckpointError."""
    given = image_processor(pipeline.path) or image_processor(pipeline.path / PART) or {}
    wanted = {"patch_size": shape.patch, "merge_size": shape.merge, "temporal_patch_size": shape.temporal}
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
    values: dict[str, Any] = {
        key: edges.get(key) or given.get(key) or default for key, default in DEFAULTS[shape.packing].items()
    }
    plain = {"window_size": shape.patch * shape.merge, "in_channels": shape.channels, "tokens_per_second": 1.0}
    packed = {"table": shape.side, "packing": shape.packing}
    try:
        return from_json(VisionSpec, {**values, **wanted, **plain, **tokens, **packed})
    except Violations as error:
        raise CheckpointError(f"preprocessor_config.json and config.json are impossible:\n{error}") from error
