"""A conversation on a terminal: a line of the user's, an answer that fills in, until the input ends.

One session holds all of it, so that what stands in its cache is not run again. Knows lines; not how they are read or
drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...engines.errors import ContextFullError
from ..decode.options import Options
from ..decode.session import Generation
from ..model import Model

__all__ = ["LEAVE", "Ask", "Show", "talk"]

LEAVE = ("/bye", "/quit", "/exit")
"""Lines that end a conversation, as the end of the input does."""

Ask = Callable[[], str | None]
"""Gives the next line; None at the end of the input."""
Show = Callable[[Generation], None]
"""Takes all steps of an answer and shows them."""


def talk(model: Model, options: Options, turn: dict[str, Any], ask: Ask, show: Show) -> int:
    """Answer line after line; returns how many were answered. `turn`: keywords of `Model.prompt`.

    A bundle without a chat template answers each line by itself. Where a conversation has filled the context, it begins
    anew with the last line.
    """
    session, spoken, answered = model.session(), list[dict[str, Any]](), 0
    template = model.manifest.text.chat_template is not None
    while (line := ask()) is not None and line.strip() not in LEAVE:
        if not line.strip():
            continue
        spoken = [*spoken, {"role": "user", "content": line}] if template else []
        try:
            generation = session.stream(model.prompt(spoken or line, **turn), options)
        except ContextFullError:
            if len(spoken) < 2:
                raise
            spoken = spoken[-1:]
            generation = session.stream(model.prompt(spoken, **turn), options)
        show(generation)
        spoken += [{"role": "assistant", "content": generation.result.text}] if template else []
        answered += 1
    return answered
