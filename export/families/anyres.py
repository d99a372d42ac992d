"""The common part of families whose pictures are cut in crops for a SigLIP tower (LLaVA-OneVision, 2408.03326)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from transformers.models.siglip.configuration_siglip import SiglipVisionConfig

from ...engines.errors import CheckpointError
from ...runtime.inputs.patches import VisionSpec
from ...runtime.schema import Violations, from_json
from ..checkpoint.directory import Checkpoint
from ..graphs.shapes import SiglipShape
from .decoder import normalised

__all__ = ["TEMPLATE", "crop_spec", "layers", "siglip_config", "unused"]

TEMPLATE = (
    "{%- for message in messages %}"
    "{%- if loop.first and message.role != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{%- endif %}"
    "{{ '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{ message.content }}"
    "{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' or 'image' in part or 'image_url' in part %}{{ '<|image_pad|>\\n' }}"
    "{%- elif 'text' in part %}{{ part.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{ '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""ChatML with Qwen's system prompt, a line for each picture; for checkpoints whose template knows no pictures."""

_FILTER = 3  # bicubic


def siglip_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A `vision_config` with SigLIP's defaults for what it leaves out. Raises CheckpointError if it is not one."""
    made: dict[str, Any] = normalised(SiglipVisionConfig, config).to_dict()
    return made


def layers(checkpoint: Checkpoint, tower: str) -> int:
    """Layers of the tower that the checkpoint holds."""
    found = {
        int(m[1]) for name in checkpoint.files if (m := re.match(rf"{re.escape(tower)}encoder\.layers\.(\d+)\.", name))
    }
    return max(found, default=-1) + 1


def unused(tower: str, depth: int, present: int) -> str:
    """Regular expression of a tower's tensors that no feature takes: its last norm, its pooling, layers not run."""
    beyond = "|".join(rf"encoder\.layers\.{i}" for i in range(depth, present))
    parts = "|".join(filter(None, [r"post_layernorm", r"head", r"embeddings\.position_ids", beyond]))
    return rf"{re.escape(tower)}({parts})(\..*)?"


def crop_spec(
    tower: SiglipShape,
    grids: Sequence[Any],
    aspect: object,
    tokens: tuple[int, int],
    vocab: int,
    given: Mapping[str, Any],
) -> VisionSpec:
    """Describe how pictures are cut and normalised.

    `grids` are sizes (height, width); `aspect` is the config's `anyres_max_N`; `tokens` stand for an image and a video,
    in the vocabulary of `vocab`; `given` is preprocessor_config.json. Raises CheckpointError for what the runtime does
    not do.
    """
    most = re.fullmatch(r"anyres_max_(\d+)", str(aspect))
    if most is None:
        raise CheckpointError(
            f"config.json has pictures cut by {aspect!r}, expected anyres_max_N: no other way is known."
        )
    size = given.get("size") or {}
    wanted = {"do_resize": True, "do_rescale": True, "do_normalize": True}
    lines = [f"  {k} = {given[k]!r}, expected {v!r}" for k, v in wanted.items() if given.get(k) not in (None, v)]
    if not {size.get(side, tower.crop) for side in ("height", "width")} <= {tower.crop}:
        lines.append(f"  size = {size!r}, expected the tower's {tower.crop} x {tower.crop}")
    if not all(0 <= token < vocab for token in tokens):
        raise CheckpointError(
            f"config.json: images and videos are tokens {list(tokens)}, expected ids in the vocabulary of {vocab}; "
            "say image_token_id and video_token_id"
        )
    if lines:
        raise CheckpointError("preprocessor_config.json does not fit config.json:\n" + "\n".join(lines))
    values = {
        "patch_size": tower.patch,
        "merge_size": 1,
        "temporal_patch_size": 1,
        "window_size": tower.crop,
        "in_channels": tower.channels,
        "min_pixels": tower.crop**2,  # what the graph takes at a time
        "max_pixels": tower.crop**2,
        "image_mean": given.get("image_mean") or [0.5, 0.5, 0.5],
        "image_std": given.get("image_std") or [0.5, 0.5, 0.5],
        "rescale_factor": given.get("rescale_factor") or 1 / 255,
        "resample": _FILTER,
        "image_token_id": tokens[0],
        "video_token_id": tokens[1],
        "vision_start_token_id": None,
        "vision_end_token_id": None,
        "tokens_per_second": 1.0,
        "crops": {"size": tower.crop, "grids": [list(grid) for grid in grids], "most": int(most[1])},
    }
    try:
        return from_json(VisionSpec, values)
    except Violations as error:
        raise CheckpointError(f"preprocessor_config.json and config.json are impossible:\n{error}") from error
