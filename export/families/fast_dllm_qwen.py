"""Fast-dLLM v2 (2509.26328): Qwen2.5 weights and mathematics, decoded in blocks whose commits yield a token.

Every block is filled sub-block by sub-block. The logits are shifted inside the block; its first token is what the
commit of the block before (or the prefill) predicts, so it is never a mask.
"""

from __future__ import annotations

from dataclasses import replace

from ..checkpoint.directory import Checkpoint
from . import qwen2
from .family import Family

__all__ = ["CONTRACT", "describe"]

CONTRACT = {
    "mask_token_id": 151665,  # |<MASK>|
    "stop_token_ids": [151645],
    "block_size": 32,
    "sub_block_size": 8,
    "prompt_alignment": "tail",
    "shift": "right_in_block",
    "opening": "predicted",
    "last_block": "cut",
    "threshold": 0.9,
}
"""The release's sampler, with the threshold of its model card."""


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    return replace(qwen2.describe(checkpoint), contract=CONTRACT)
