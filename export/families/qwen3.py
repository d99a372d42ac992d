"""Qwen3 (dense), and dLLM's A2D models made from it: QK normalisation, no biases."""

from __future__ import annotations

from transformers.models.qwen3.configuration_qwen3 import Qwen3Config

from ..checkpoint.directory import Checkpoint
from .decoder import Traits
from .family import Family
from .text import text_family

__all__ = ["describe"]


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    return text_family(
        checkpoint, Qwen3Config, lambda c: Traits(qkv_bias=c.attention_bias, out_bias=c.attention_bias, qk_norm=True)
    )
