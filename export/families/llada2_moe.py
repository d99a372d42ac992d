"""LLaDA2.0 and 2.1 (inclusionAI, 2602.08676): a mixture of experts that was trained to decode in blocks.

Experts in groups, scored by a sigmoid and chosen with a bias, beside one that every row goes through; the first layers
are plain; half of each head is turned. It is GLM-4.5's mathematics (transformers' Glm4Moe) under other names. 2.0 and
2.1 have the same config.json: that 2.1 also edits accepted tokens is said by nothing in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformers.models.glm4_moe.configuration_glm4_moe import Glm4MoeConfig

from ...engines.errors import CheckpointError
from ..checkpoint.directory import Checkpoint
from ..checkpoint.sources import Source
from ..graphs.shapes import ExpertShape
from .decoder import Traits
from .family import Family
from .text import text_family

__all__ = ["CONTRACT", "describe"]

CONTRACT = {
    "mask_token_id": 156895,
    "stop_token_ids": [156892],
    "block_size": 32,
    "prompt_alignment": "tail",
    "threshold": 0.95,
    "confidence": "filtered",
}
"""LLaDA2.0's generate with its published settings."""

NOTE = (
    "LLaDA2.1 edits accepted tokens, 2.0 does not, and nothing in the checkpoint says which it is: [replace_above=0.9]"
)

_RENAMED = {
    "num_experts": "n_routed_experts",
    "num_shared_experts": "n_shared_experts",
    "use_qkv_bias": "attention_bias",
}
"""Keys of config.json that Glm4MoeConfig has under another name."""

_TENSORS = {
    "model.embed_tokens.": "model.word_embeddings.",
    ".self_attn.o_proj.": ".attention.dense.",
    ".self_attn.q_norm.": ".attention.query_layernorm.",
    ".self_attn.k_norm.": ".attention.key_layernorm.",
    ".gate.e_score_correction_bias": ".gate.expert_bias",
}
"""Parts of tensor names, Glm4Moe's to LLaDA2's."""


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    given = checkpoint.config
    _require_known(given)
    family = text_family(
        replace(checkpoint, config=_as_glm(given)),
        Glm4MoeConfig,
        lambda c: Traits(qkv_bias=c.attention_bias, out_bias=bool(given.get("use_bias")), qk_norm=c.use_qk_norm),
        lambda c: _experts(c, bias=bool(given.get("moe_router_enable_expert_bias", True))),
        "model.word_embeddings.weight",
    )
    sources = {name: _named(source) for name, source in family.sources.items()}
    return replace(family, sources=sources, contract=CONTRACT, stock=None, notes=(*family.notes, NOTE))


def _require_known(config: Mapping[str, Any]) -> None:
    """Raise CheckpointError for what the releases do not do, and this file therefore does not either."""
    asked = {
        "score_function": (config.get("score_function", "sigmoid"), "sigmoid"),
        "norm_topk_prob": (config.get("norm_topk_prob", True), True),
        "norm_head": (config.get("norm_head", False), False),
        "use_sliding_window": (config.get("use_sliding_window", False), False),
    }
    lines = [f"  {key} = {got!r}, expected {expected!r}" for key, (got, expected) in asked.items() if got != expected]
    if lines:
        raise CheckpointError("config.json asks for what a2d does not export:\n" + "\n".join(lines))


def _as_glm(config: Mapping[str, Any]) -> dict[str, Any]:
    plain = {_RENAMED.get(key, key): value for key, value in config.items()}
    plain["num_key_value_heads"] = config.get("num_key_value_heads") or config.get("num_attention_heads")
    plain.setdefault("use_qk_norm", True)
    plain["n_shared_experts"] = config.get("num_shared_experts") or 0
    plain["num_mtp_layers"] = 0
    plain["norm_topk_prob"] = True  # as generate does, whatever the key says
    rope = dict(config.get("rope_scaling") or {"rope_type": "default"})
    rope["rope_theta"] = config.get("rope_theta", 10_000.0)
    rope["partial_rotary_factor"] = config.get("partial_rotary_factor", 0.5)
    return plain | {"rope_parameters": rope, "rope_scaling": None}


def _experts(config: Any, bias: bool) -> ExpertShape:
    return ExpertShape(
        count=config.n_routed_experts,
        active=config.num_experts_per_tok,
        intermediate=config.moe_intermediate_size,
        scores="sigmoid",
        normalised=config.num_experts_per_tok > 1,
        groups=config.n_group,
        active_groups=config.topk_group,
        scale=float(config.routed_scaling_factor),
        bias=bias,
        shared=config.moe_intermediate_size * (config.n_shared_experts or 0),
        dense=tuple(range(config.first_k_dense_replace)),
    )


def _named(source: Source) -> Source:
    """The same source under LLaDA2's names; query, key and value are one tensor there."""
    names = tuple(_translated(name) for name in source.names)
    layer, _, projection = names[0].partition(".self_attn.q_proj.")
    if not projection:
        return replace(source, names=names)
    whole = (sum(part[0] for part in source.shapes), *source.shapes[0][1:])
    return replace(source, names=(f"{layer}.attention.query_key_value.{projection}",), shapes=(whole,))


def _translated(name: str) -> str:
    for glm, llada in _TENSORS.items():
        name = name.replace(glm, llada)
    return name
