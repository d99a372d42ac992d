"""Sizes of a tiny decoder of random weights, and its checkpoint. Needs torch, so it is imported where it is used."""

from __future__ import annotations

from pathlib import Path

from a2d.export.synthetic import Synthetic, checkpoint

TINY = Synthetic(
    layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, intermediate=96, vocab=160, max_context=128, tied=True
)


def tiny_checkpoint(path: Path) -> Path:
    """Write the checkpoint to a folder that is new."""
    return checkpoint(path, TINY)
