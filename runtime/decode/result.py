"""The outcome of one generation as plain data, a type for each modality; that of pixels is in `film/result.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from .budget import Budgeted

__all__ = ["Result", "TextResult"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The reason of the end, counts and times: the part that every modality has."""

    modality: ClassVar[Literal["text", "pixels"]]
    """Kind of content that was generated, under the name that a2d.h has for it too."""

    stop_reason: str
    """`stop` (a stop token or text), `length` (all that was asked for), `repeats` (stop_repeats), `context` (full),
    `budget` (cut where the time was spent), `cancelled`, or `unfinished` while there are steps to take."""
    forwards: int
    """Forwards of the network, those that read a text's prompt included."""
    steps: int
    blocks: int
    seconds: float
    """Time spent generating; a slow consumer of a stream does not count."""
    first_block_seconds: float
    """Time until the first block was finished, in seconds."""


@dataclass(frozen=True, kw_only=True)
class TextResult(Result):
    """Tokens of an answer and their text."""

    modality = "text"

    tokens: tuple[int, ...]
    """Generated token ids, up to and including the block that holds a stop token."""
    text: str
    """Their text up to the stop token; empty where the bundle has no tokenizer."""
    written: str | None = None
    """Sentence that the tokens are, where `text` is an object made of it; None elsewhere."""
    prompt_tokens: int
    cached_tokens: int
    """Prompt rows that were in the cache already."""
    confidence: tuple[float, ...] = ()
    """For each of `tokens`, how sure the model was when it was settled: its probability, unless `Options.confidence`
    measures something else.
    """
    budget: Budgeted | None = None
    """The account of an answer in time: steps, and which tokens were accepted early; None without a budget."""
