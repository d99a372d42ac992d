"""Qwen3 as a mixture of experts: softmax over all experts, no groups, no shared expert."""

from __future__ import annotations

from typing import Any

from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig

from ..checkpoint.directory import Checkpoint
from ..graphs.shapes import ExpertShape
from .decoder import Traits
from .family import Family
from .text import text_family

__all__ = ["describe"]


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    return text_family(
        checkpoint,
        Qwen3MoeConfig,
        lambda c: Traits(qkv_bias=c.attention_bias, out_bias=c.attention_bias, qk_norm=True),
        _experts,
    )


def _experts(config: Any) -> ExpertShape:
    plain = {i for i in range(config.num_hidden_layers) if (i + 1) % config.decoder_sparse_step}
    return ExpertShape(
        count=config.num_experts,
        active=config.num_experts_per_tok,
        intermediate=config.moe_intermediate_size,
        scores="softmax",
        normalised=config.norm_topk_prob,
        dense=tuple(sorted(plain | set(config.mlp_only_layers))),
    )
