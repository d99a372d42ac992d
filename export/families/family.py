"""A checkpoint as its family module describes it: shapes, sources of its weights, and facts about its decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...runtime.inputs.patches import VisionSpec
from ..checkpoint.sources import Source
from ..graphs.shapes import DecoderShape, SiglipShape, VisionShape

__all__ = ["Family", "Stock"]


@dataclass(frozen=True)
class Stock:
    """transformers' class that computes what a family does, where its model_type is none of transformers' own."""

    name: str
    parts: Mapping[str, str] = field(default_factory=dict)
    """model_type of each part of config.json that a release gives another name."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Regular expressions of tensor names, and what transformers calls them."""


@dataclass(frozen=True)
class Family:
    """One checkpoint as its family sees it."""

    name: str
    """The model_type."""
    shape: DecoderShape
    sources: Mapping[str, Source]
    """Graph parameter to checkpoint tensors: `embedding`, `layers.{i}.{param}`, `norm`, `lm_head`, `vision.{param}`."""
    config: Any
    """The decoder's config as transformers' class, which also names its model class."""
    max_context: int
    """Rows that positions were made for (max_position_embeddings)."""
    contract: Mapping[str, object] = field(default_factory=dict)
    """Fields of the decode contract that hold for the whole family."""
    told: Mapping[str, object] = field(default_factory=dict)
    """Fields that the family's own code is told at every call: before config.json, which says something else."""
    tower: VisionShape | SiglipShape | None = None
    vision: VisionSpec | None = None
    chat_template: str | None = None
    """For checkpoints that bring none."""
    ignorable: str = r"(.*\.)?rotary_emb\.inv_freq"
    """Regular expression of tensor names that may be there and are not used."""
    stock: Stock | None = None
    """None where transformers has no such class."""
    notes: tuple[str, ...] = ()
    """Decisions that people should see."""

    @property
    def aliases(self) -> Mapping[str, str]:
        """Parameters that are stored under another's name."""
        return {"lm_head": "embedding"} if self.shape.tied else {}
