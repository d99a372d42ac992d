"""Sizes of a tiny decoder of random weights and of a tower, and its checkpoint. Needs torch: import it where needed."""

from __future__ import annotations

from pathlib import Path

from a2d.export.synthetic import Synthetic, checkpoint

TINY = Synthetic(
    layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, intermediate=96, vocab=160, max_context=128, tied=True
)

TINY_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_heads": 2,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 16,
    "out_hidden_size": 32,
    "fullatt_block_indexes": [1],
}
"""`vision_config` of a Qwen2.5-VL as small, with one block of each kind of attention."""


def tiny_checkpoint(path: Path) -> Path:
    """Write the checkpoint to a folder that is new."""
    return checkpoint(path, TINY)
