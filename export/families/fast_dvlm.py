"""Fast-dVLM (2604.06832): Qwen2.5-VL's weights and mathematics, its context token-causal, its logits shifted by one.

The settled rows see what they would see in the autoregressive model, so the same weights decode that way as well, and
can verify what they draft (`runtime/decode/speculative.py`).
"""

from __future__ import annotations

from ..checkpoint.directory import Checkpoint
from . import qwen2_5_vl
from .family import Family

__all__ = ["CONTRACT", "describe"]

CONTRACT = {
    "mask_token_id": 151665,  # |<MASK>|
    "stop_token_ids": [151645],  # <|im_end|>
    "block_size": 32,
    "sub_block_size": 8,
    "prompt_alignment": "left",
    "context_mask": "token_causal",
    "shift": "right_prev_row",
    "opening": "predicted",
    "last_block": "cut",
    "positions": "mrope",
    "threshold": 0.9,
}
"""Blocks are counted from the answer's first token, as in training, and open with what the row before predicts."""


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    return qwen2_5_vl.described(checkpoint, qwen2_5_vl.names(checkpoint), CONTRACT)
