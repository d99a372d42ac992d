"""A family that is a decoder and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..checkpoint.directory import Checkpoint
from ..graphs.shapes import ExpertShape
from .decoder import A2D_CONTRACT, EMBEDDING, Traits, decoder_shape, decoder_sources, normalised, with_head
from .family import Family, Stock

__all__ = ["text_family"]

TIED = r"lm_head\.weight|(.*\.)?rotary_emb\.inv_freq"
"""Some writers store a tied output projection once more."""


def text_family(
    checkpoint: Checkpoint,
    kind: type,
    traits: Callable[[Any], Traits],
    experts: Callable[[Any], ExpertShape | None] = lambda _: None,
    embedding: str = EMBEDDING,
) -> Family:
    """Describe a checkpoint whose config is transformers' class `kind`, and its traits and experts read off that."""
    config = normalised(kind, checkpoint.config)
    shape, notes = with_head(decoder_shape(config, traits(config), experts=experts(config)), checkpoint, embedding)
    name = str(checkpoint.config["model_type"])
    return Family(
        name=name,
        shape=shape,
        sources=decoder_sources(shape),
        config=config,
        max_context=config.max_position_embeddings,
        contract=A2D_CONTRACT if name.startswith("a2d-") else {},
        ignorable=TIED if shape.tied else Family.ignorable,
        stock=Stock(kind.__name__.replace("Config", "ForCausalLM")),
        notes=notes,
    )
