"""SDAR (2510.06303) as a mixture of experts: Qwen3-MoE weights and mathematics, decoded as the dense ones are."""

from __future__ import annotations

from dataclasses import replace

from ..checkpoint.directory import Checkpoint
from . import qwen3_moe
from .family import Family
from .sdar import CONTRACT, NOTE

__all__ = ["describe"]


def describe(checkpoint: Checkpoint) -> Family:
    """See `families.describe`."""
    return replace(qwen3_moe.describe(checkpoint), contract=CONTRACT, notes=(NOTE,))
