"""a2d's own events of an answer: each block while it is denoised, with tokens, masks and confidence. Plain JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...decode.block import Step
from ..request.refusal import refusal_of
from ..work.ticket import Begun, Ended, Event, Failed, Stepped
from .answers import own_facts

__all__ = ["BlockEvents"]


class BlockEvents:
    """Names and contents of the events of one answer."""

    def __init__(self, detokenize: Callable[[Sequence[int]], str], stops: Sequence[int]) -> None:
        """`detokenize` gives the text of tokens, `stops` are the tokens that no text has."""
        self._detokenize, self._stops = detokenize, stops

    def of(self, event: Event) -> tuple[str, dict[str, Any]]:
        """Name and content of an event."""
        if isinstance(event, Begun):
            return "answer.begin", {"prompt_tokens": event.prompt_tokens}
        if isinstance(event, Stepped):
            final = event.step.final
            return ("block.commit" if final else "block.delta"), self._step(event.step) | {"text": event.text}
        if isinstance(event, Ended):
            return "answer.end", {"text": event.text, **own_facts(event)}
        assert isinstance(event, Failed)
        return "error", refusal_of(event.error).body

    def _step(self, step: Step) -> dict[str, Any]:
        """The block without the prompt's rows; a masked row has null as its token and its piece."""
        rows = slice(step.prompt, None)
        tokens, masked = step.tokens[rows].tolist(), step.masked[rows].tolist()
        shown = [None if hidden else token for token, hidden in zip(tokens, masked, strict=True)]
        return {
            "block": step.block,
            "step": step.index,
            "tokens": shown,
            "pieces": [None if token is None else self._piece(token) for token in shown],
            "masked": masked,
            "accepted": [int(row) - step.prompt for row in step.accepted if row >= step.prompt],
            "confidence": [round(float(p), 4) if np.isfinite(p) else None for p in step.confidence[rows]],
        }

    def _piece(self, token: int) -> str:
        return "" if token in self._stops else self._detokenize([token])
