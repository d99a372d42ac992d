"""The outcome of one generation: plain data."""

from __future__ import annotations

from dataclasses import dataclass

from .budget import Budgeted

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """Tokens of an answer, why it ended, and what it took."""

    tokens: tuple[int, ...]
    """Generated token ids, up to and including the block that holds a stop token."""
    text: str
    """Their text up to the stop token; empty where the bundle has no tokenizer."""
    stop_reason: str
    """`stop` (a stop token or text), `length` (max_tokens), `repeats` (stop_repeats), `context` (full), `budget` (cut
    where the time was spent), `cancelled`, or `unfinished` while there are steps to take."""
    forwards: int
    """Forwards of the backbone, prefill included."""
    steps: int
    blocks: int
    prompt_tokens: int
    cached_tokens: int
    """Prompt rows that were in the cache already."""
    seconds: float
    """Time spent generating; a slow consumer of a stream does not count."""
    first_block_seconds: float
    confidence: tuple[float, ...] = ()
    """For each of `tokens`, how sure the model was when it was settled: its probability, unless `Options.confidence`
    measures something else.
    """
    budget: Budgeted | None = None
    """The account of an answer in time: steps, and which tokens were accepted early; None without a budget."""
