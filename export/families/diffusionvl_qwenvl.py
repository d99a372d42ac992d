"""DiffusionVL on Qwen2.5-VL (2512.15713): its weights and mathematics, decoded in blocks with plain positions.

A release holds the tower and the projector (Qwen2.5-VL's merger) among its other tensors. What the authors' conversion
script writes holds them in files of their own beside model.safetensors, with a vision_config.json.
"""

from __future__ import annotations

from ..checkpoint.directory import Checkpoint
from .family import Family
from .qwen2_5_vl import Names, described

__all__ = ["CONTRACT", "describe"]

CONTRACT = {
    "mask_token_id": 151671,
    "stop_token_ids": [151645],  # <|im_end|>
    "prompt_alignment": "tail",
    "positions": "arange_x3",
    "confidence": "filtered",
}
"""Constants in the code of `generate_with_bd3lm`; the block size is config.json's `bd3lm_block_size`."""

RELEASE = Names("model.", "model.vision_tower.vision_tower.", "model.mm_projector.merger.")
CONVERTED = Names("model.", "vision_tower.safetensors:", "projector.safetensors:")


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    apart = f"{CONVERTED.tower}patch_embed.proj.weight" in checkpoint
    return described(checkpoint, CONVERTED if apart else RELEASE, CONTRACT)
