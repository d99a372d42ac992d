"""DiffusionVL on Qwen2.5 (2512.15713): a SigLIP2 tower and a projector before a text model, as in LLaVA-NeXT's code.

The tower and the projector stand among the other tensors, or in vision_tower.safetensors and projector.safetensors
beside them. config.json is Qwen2's with LLaVA's keys; what it says of the tower may be no more than a path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from transformers.models.qwen2.configuration_qwen2 import Qwen2Config

from ...engines.errors import CheckpointError
from ..checkpoint.directory import Checkpoint
from ..graphs import siglip
from .anyres import TEMPLATE, crop_spec, layers, siglip_config, unused
from .decoder import Traits, decoder_shape, decoder_sources, normalised, with_head
from .family import Family
from .text import TIED

__all__ = ["CONTRACT", "describe"]

CONTRACT = {
    "mask_token_id": 151671,
    "stop_token_ids": [151645],  # <|im_end|>
    "prompt_alignment": "tail",
}
"""Constants in the code of `generate_with_bd3lm`; the block size is config.json's `bd3lm_block_size`."""

SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "image_size": 384,
    "patch_size": 14,
}
"""siglip2-so400m-patch14-384, which LLaVA's code has in itself."""

IMAGE, VIDEO = 151655, 151656
"""<|image_pad|> and <|video_pad|> of Qwen2.5's tokenizer. LLaVA's own placeholder, -200, is no token."""


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    config = checkpoint.config
    text = normalised(Qwen2Config, config)
    shape, notes = with_head(decoder_shape(text, Traits(qkv_bias=True), features=True), checkpoint)
    names = _names(checkpoint)
    vision = siglip_config(config.get("vision_config") or SO400M)
    present = layers(checkpoint, names.tower)
    # LLaVA's tower is SigLIP's without its last layer, whether or not a checkpoint holds that.
    depth = min(present, vision["num_hidden_layers"] - 1)
    tower = siglip.from_config(vision, depth, shape.hidden)
    _check(config)
    visual = siglip.sources(tower, names)
    return Family(
        name="diffusionvl_qwen",
        shape=shape,
        sources=decoder_sources(shape) | {f"vision.{name}": s for name, s in visual.items()},
        config=text,
        max_context=text.max_position_embeddings,
        contract=CONTRACT,
        tower=tower,
        vision=crop_spec(
            tower,
            _grids(config.get("image_grid_pinpoints"), tower.crop),
            config.get("image_aspect_ratio"),
            (_token(config, "image", IMAGE), _token(config, "video", VIDEO)),
            shape.vocab,
            checkpoint.preprocessor or {},
        ),
        chat_template=TEMPLATE,
        ignorable=f"{TIED if shape.tied else Family.ignorable}|{unused(names.tower, depth, present)}",
        notes=(*notes, *_notes(config, depth)),
    )


def _names(checkpoint: Checkpoint) -> siglip.SiglipNames:
    apart = "vision_tower.safetensors:vision_model."
    tower = apart if layers(checkpoint, apart) else "model.vision_tower.vision_tower.vision_model."
    projector = "projector.safetensors:" if "projector.safetensors:0.weight" in checkpoint else "model.mm_projector."
    return siglip.SiglipNames(tower, f"{projector}0", f"{projector}2", "model.image_newline")


def _check(config: Mapping[str, Any]) -> None:
    wanted = {"mm_projector_type": "mlp2x_gelu", "mm_patch_merge_type": "spatial_unpad"}
    lines = [
        f"{key} = {config[key]!r}, expected {value!r}"
        for key, value in wanted.items()
        if config.get(key, value) != value
    ]
    if lines:
        raise CheckpointError("config.json asks for what a2d does not export:\n" + "\n".join(f"  {x}" for x in lines))


def _grids(pinpoints: object, crop: int) -> list[tuple[int, int]]:
    """LLaVA's sizes are (width, height) in pixels, or a text "(1x1),...,(6x6)" of crops."""
    if isinstance(pinpoints, list):
        return [(height, width) for width, height in pinpoints]
    ends = [int(n) for n in re.findall(r"\d+", str(pinpoints))]
    if len(ends) < len("wh") * 2:
        raise CheckpointError(f"image_grid_pinpoints = {pinpoints!r}, expected a list of sizes or '(1x1),...,(6x6)'.")
    widths, heights = range(ends[0], ends[-2] + 1), range(ends[1], ends[-1] + 1)
    return [(height * crop, width * crop) for width in widths for height in heights]


def _token(config: Mapping[str, Any], kind: str, default: int) -> int:
    """The placeholder that a config names, unless it is LLaVA's negative one."""
    given = config.get(f"{kind}_token_id", config.get(f"{kind}_token_index"))
    return given if isinstance(given, int) and given >= 0 else default


def _notes(config: Mapping[str, Any], depth: int) -> tuple[str, ...]:
    notes = [f"vision tower: {depth} layers are run, all but SigLIP's last, as in the code that trained it"]
    if not config.get("vision_config"):
        notes.append("vision tower: config.json does not describe it; siglip2-so400m-patch14-384 is taken, 16 heads")
    return tuple(notes)
