"""Qwen2 and Qwen2.5, and dLLM's A2D models made from them: biases on query, key and value."""

from __future__ import annotations

from transformers.models.qwen2.configuration_qwen2 import Qwen2Config

from ..checkpoint.directory import Checkpoint
from .decoder import Traits
from .family import Family
from .text import text_family

__all__ = ["describe"]


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    return text_family(checkpoint, Qwen2Config, lambda _: Traits(qkv_bias=True))
