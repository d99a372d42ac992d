"""Llama 2 and 3, and dLLM's A2D models made from them."""

from __future__ import annotations

from transformers.models.llama.configuration_llama import LlamaConfig

from ..checkpoint.directory import Checkpoint
from .decoder import Traits
from .family import Family
from .text import text_family

__all__ = ["describe"]


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    return text_family(
        checkpoint,
        LlamaConfig,
        lambda c: Traits(qkv_bias=c.attention_bias, out_bias=c.attention_bias, mlp_bias=c.mlp_bias),
    )
