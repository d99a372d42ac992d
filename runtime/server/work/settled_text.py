"""The text of an answer as it may be sent: what is sent once stays, and ends before the first stop string.

Knows strings alone, neither tokens nor blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["SettledText"]

BROKEN = "\ufffd"
"""Character of bytes that form none, as a text ends with where the rest of a character is not there yet."""


class SettledText:
    """A growing text, from which each piece is taken once."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stops)
        self._text = ""
        self._taken = 0
        self.stopped = False
        """A stop string has come; nothing that follows belongs to the answer."""

    @property
    def whole(self) -> str:
        """The answer so far, up to a stop string."""
        return self._text

    def grown(self, text: str, last: bool = False) -> str:
        """The piece of `text`, which is all of the answer so far, that is new and sure to stay. `last`: it is whole."""
        if self.stopped:
            return ""
        ends = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        self.stopped = bool(ends)
        self._text = text[: min(ends)] if ends else text
        sure = len(self._text) if last or self.stopped else self._sure(self._text)
        piece = self._text[self._taken : sure]
        self._taken = max(self._taken, sure)
        return piece

    def _sure(self, text: str) -> int:
        """Characters of a text that stay whatever follows: no half character, no beginning of a stop string."""
        whole = text.rstrip(BROKEN)
        held = (n for stop in self._stops for n in range(1, len(stop)) if whole.endswith(stop[:n]))
        return len(whole) - max(held, default=0)
