"""Qwen2.5-VL: a Qwen2 decoder with mrope positions, and a vision tower whose features take the place of tokens.

Reads the configs and tensor names of all releases: text fields at the top or under `text_config`, decoder under
`model.` or `model.language_model.`, tower under `visual.` or `model.visual.`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig

from ...engines.errors import CheckpointError
from ...runtime.inputs.patches import VisionSpec
from ...runtime.schema import Violations, from_json
from ..checkpoint.directory import Checkpoint
from ..graphs import vision
from ..graphs.shapes import VisionShape
from .decoder import Traits, decoder_shape, decoder_sources, normalised, with_head
from .family import Family, Stock
from .text import TIED

__all__ = ["CHAT_TEMPLATE", "Names", "describe", "described", "names"]

CHAT_TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{ message.content }}"
    "{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' or 'image' in part or 'image_url' in part %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif part.type == 'video' or 'video' in part %}{{ '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{%- elif 'text' in part %}{{ part.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{ '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""ChatML without a system prompt, for checkpoints that bring no template; pictures where the message has them."""

_PREPROCESSOR = {
    "min_pixels": 56 * 56,
    "max_pixels": 28 * 28 * 1280,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "rescale_factor": 1 / 255,
    "resample": 3,
}
"""Defaults of transformers' Qwen2-VL image processor, where preprocessor_config.json says nothing."""


PARTS = {"text_config": "qwen2_5_vl_text", "vision_config": "qwen2_5_vl_vision"}
"""model_type of the parts of config.json in transformers."""


@dataclass(frozen=True)
class Names:
    """Prefixes of tensor names in a checkpoint."""

    decoder: str
    tower: str
    merger: str | None = None
    """Prefix of the tower's last part; None is within the tower."""


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    return described(checkpoint, names(checkpoint), {"positions": "mrope"})


def described(checkpoint: Checkpoint, names: Names, contract: Mapping[str, object]) -> Family:
    """A checkpoint of this architecture, whatever decodes it."""
    config = normalised(Qwen2_5_VLConfig, checkpoint.config)
    text = config.text_config
    shape = replace(decoder_shape(text, Traits(qkv_bias=True), features=True), tied=bool(config.tie_word_embeddings))
    shape, notes = with_head(shape, checkpoint, f"{names.decoder}embed_tokens.weight")
    tower = vision.from_config(config.vision_config.to_dict())
    _check(shape.rope_axes is not None, tower.out_hidden, shape.hidden)
    visual = vision.sources(tower, names.tower, names.merger)
    return Family(
        name=str(checkpoint.config["model_type"]),
        shape=shape,
        sources=decoder_sources(shape, names.decoder) | {f"vision.{name}": s for name, s in visual.items()},
        config=text,
        max_context=text.max_position_embeddings,
        contract=contract,
        tower=tower,
        vision=_spec(config, tower, checkpoint.preprocessor or {}),
        chat_template=CHAT_TEMPLATE,
        ignorable=TIED if shape.tied else Family.ignorable,
        stock=Stock("Qwen2_5_VLForConditionalGeneration", PARTS, _renamed(names)),
        notes=(*notes, *_notes(checkpoint)),
    )


def _check(mrope: bool, features: int, hidden: int) -> None:
    if not mrope:
        raise CheckpointError("config.json has no mrope_section in its rotary parameters, expected Qwen2.5-VL's.")
    if features != hidden:
        raise CheckpointError(
            f"vision_config.out_hidden_size is {features}, expected the decoder's hidden size {hidden}."
        )


def names(checkpoint: Checkpoint) -> Names:
    """Find the prefixes of Qwen2.5-VL's own releases, old and new."""
    new = "model.language_model.embed_tokens.weight" in checkpoint
    tower = "model.visual." if "model.visual.patch_embed.proj.weight" in checkpoint else "visual."
    return Names("model.language_model." if new else "model.", tower)


def _renamed(names: Names) -> dict[str, str]:
    """Prefixes of a release's own to transformers'."""
    if names.merger is None and names.tower in ("visual.", "model.visual."):
        return {}  # transformers knows those
    tower = {f"^{re.escape(names.tower)}": "model.visual."}
    merger = {} if names.merger is None else {f"^{re.escape(names.merger)}": "model.visual.merger."}
    decoder = {rf"^{re.escape(names.decoder)}(embed_tokens|layers|norm)\b": r"model.language_model.\1"}
    return merger | tower | decoder


def _spec(config: Any, tower: VisionShape, given: Mapping[str, Any]) -> VisionSpec:
    _check_preprocessor(given, tower)
    size = _size(given)
    values = {key: given.get(key, default) for key, default in _PREPROCESSOR.items()}
    for name, edge in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")):
        values[name] = given.get(name) or size.get(edge) or size.get(name) or values[name]
    tokens = {name: getattr(config, name) for name in ("image_token_id", "video_token_id")}
    tokens |= {name: getattr(config, name, None) for name in ("vision_start_token_id", "vision_end_token_id")}
    sizes = {
        "patch_size": tower.patch,
        "merge_size": tower.merge,
        "temporal_patch_size": tower.temporal,
        "window_size": tower.window,
        "in_channels": tower.channels,
        "tokens_per_second": config.vision_config.tokens_per_second,
    }
    try:
        return from_json(VisionSpec, values | tokens | sizes)
    except Violations as error:
        raise CheckpointError(f"preprocessor_config.json and config.json are impossible:\n{error}") from error


_EDGES = {"shortest_edge", "longest_edge", "min_pixels", "max_pixels"}
"""Keys of `size` in an image processor: the fewest and the most pixels, by their old and new names."""


def _size(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """`size` of an image processor. Raises CheckpointError for one of another kind of processor."""
    size = given.get("size") or {}
    if isinstance(size, Mapping) and not {key for key, value in size.items() if value is not None} - _EDGES:
        return size
    raise CheckpointError(
        f"the image processor's size is {size!r}, expected the fewest and the most pixels: "
        '{"shortest_edge": ..., "longest_edge": ...}. Take preprocessor_config.json from the model\'s release.'
    )


def _check_preprocessor(given: Mapping[str, Any], tower: VisionShape) -> None:
    """Refuse a processor that does something else than the tower was built for, or than the runtime does."""
    wanted = {"patch_size": tower.patch, "merge_size": tower.merge, "temporal_patch_size": tower.temporal}
    wanted |= dict.fromkeys(("do_resize", "do_rescale", "do_normalize"), True)
    lines = [f"  {k} = {given[k]!r}, expected {v!r}" for k, v in wanted.items() if given.get(k, v) != v]
    if lines:
        raise CheckpointError("preprocessor_config.json does not fit config.json:\n" + "\n".join(lines))


def _notes(checkpoint: Checkpoint) -> tuple[str, ...]:
    notes = []
    if checkpoint.chat_template is None:
        notes.append("chat template: the checkpoint has none; ChatML without a system prompt is used")
    if checkpoint.preprocessor is None:
        notes.append("image preprocessing: no preprocessor_config.json or the like; the defaults of Qwen2-VL are used")
    return tuple(notes)
