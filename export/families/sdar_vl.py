"""SDAR-VL (JetAstra): SDAR's decoder behind LLaVA-OneVision's SigLIP tower and projector. Its `model_type` is sdar_v.

Reads the tensor names of its releases (`language_model.model.`) and those that newer transformers write
(`model.language_model.`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformers.models.qwen3.configuration_qwen3 import Qwen3Config

from ...engines.errors import CheckpointError
from ..checkpoint.directory import Checkpoint
from ..graphs import siglip
from .anyres import TEMPLATE, crop_spec, layers, siglip_config, unused
from .decoder import Traits, decoder_shape, decoder_sources, normalised, with_head
from .family import Family, Stock
from .text import TIED

__all__ = ["CONTRACT", "describe"]

CONTRACT = {
    "mask_token_id": 151669,  # <|MASK|>
    "block_size": 4,
    "prompt_alignment": "tail",
    "confidence": "tempered",
    "stop_repeats": 20,
}
"""Its generate.py."""

STOPS = (151645, 151643)  # <|im_end|>, <|endoftext|>
"""Stop tokens that generate.py is called with. text_config names the second alone, which does not end an answer."""


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    config = checkpoint.config
    text = normalised(Qwen3Config, config.get("text_config") or {})
    tied = bool(config.get("tie_word_embeddings", False))
    traits = Traits(qkv_bias=text.attention_bias, out_bias=text.attention_bias, qk_norm=True)
    shape = replace(decoder_shape(text, traits, features=True), tied=tied)
    _check(config)
    outer = "model." if "model.image_newline" in checkpoint else ""
    model = f"{outer}vision_tower.vision_model."
    names = siglip.SiglipNames(
        model if layers(checkpoint, model) else f"{outer}vision_tower.",
        f"{outer}multi_modal_projector.linear_1",
        f"{outer}multi_modal_projector.linear_2",
        f"{outer}image_newline",
    )
    decoder, head = (
        ("model.language_model.", "lm_head") if outer else ("language_model.model.", "language_model.lm_head")
    )
    shape, notes = with_head(shape, checkpoint, f"{decoder}embed_tokens.weight", f"{head}.weight")
    vision = siglip_config(config.get("vision_config") or {})
    layer = config.get("vision_feature_layer", -1)
    depth = vision["num_hidden_layers"] + 1 + layer if layer < 0 else layer
    tower = siglip.from_config(vision, depth, shape.hidden)
    visual = siglip.sources(tower, names)
    ignorable = (
        f"{TIED if shape.tied else Family.ignorable}|{unused(names.tower, depth, layers(checkpoint, names.tower))}"
    )
    return Family(
        name="sdar_v",
        shape=shape,
        sources=decoder_sources(shape, decoder, f"{head}.weight") | {f"vision.{name}": s for name, s in visual.items()},
        config=text,
        max_context=text.max_position_embeddings,
        contract=CONTRACT,
        told=_stops(text, shape.vocab),
        tower=tower,
        vision=crop_spec(
            tower,
            config.get("image_grid_pinpoints") or (),
            config.get("vision_aspect_ratio", "anyres_max_9"),
            (_token(config, "image", 151655), _token(config, "video", 151656)),
            shape.vocab,
            checkpoint.preprocessor or {},
        ),
        chat_template=TEMPLATE,
        ignorable=ignorable.replace("lm_head", head) if outer == "" else ignorable,
        stock=Stock(
            "LlavaOnevisionForConditionalGeneration", {"text_config": "qwen3", "vision_config": "siglip_vision_model"}
        ),
        notes=notes,
    )


def _stops(text: Any, vocab: int) -> dict[str, object]:
    """STOPS, where the vocabulary has them, and those of the config."""
    own = text.eos_token_id if isinstance(text.eos_token_id, list) else [text.eos_token_id]
    stops = [token for token in dict.fromkeys((*STOPS, *own)) if isinstance(token, int) and token < vocab]
    return {"stop_token_ids": stops} if stops else {}


def _token(config: Mapping[str, Any], kind: str, default: int) -> int:
    token = config.get(f"{kind}_token_index", config.get(f"{kind}_token_id", default))
    return token if isinstance(token, int) else -1


def _check(config: Mapping[str, Any]) -> None:
    """Refuse what LLaVA-OneVision's classes can do and SDAR-VL does not."""
    wanted = {
        "vision_feature_select_strategy": ("full", None),
        "projector_hidden_act": ("gelu", None),
        "multimodal_projector_bias": (True, None),
        "use_image_newline_parameter": (True, None),
    }
    lines = [f"{k} = {config[k]!r}, expected {v[0]!r}" for k, v in wanted.items() if config.get(k) not in v]
    if type(config.get("vision_feature_layer", -1)) is not int:
        lines.append(f"vision_feature_layer = {config['vision_feature_layer']!r}, expected one layer")
    if lines:
        raise CheckpointError("config.json asks for what a2d does not export:\n" + "\n".join(f"  {x}" for x in lines))
