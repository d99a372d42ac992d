"""SDAR (JetAstra, 2510.06303): Qwen3 weights and mathematics, decoded in blocks.

The released config.json says neither mask nor block size: releases come with blocks of 4, 8, 16, 32 and 64.
"""

from __future__ import annotations

from dataclasses import replace

from ..checkpoint.directory import Checkpoint
from . import qwen3
from .family import Family

__all__ = ["CONTRACT", "NOTE", "describe"]

CONTRACT = {
    "mask_token_id": 151669,  # <|MASK|>
    "stop_token_ids": [151643, 151645],
    "block_size": 4,
    "prompt_alignment": "tail",
    "confidence": "filtered",
}
"""SDAR's generate.py with its published settings."""

NOTE = (
    "SDAR: where config.json has no block_size it is taken to be 4; a -b8, -b16, ... release wants "
    "the setting block_size"
)


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    return replace(qwen3.describe(checkpoint), contract=CONTRACT, notes=(NOTE,))
