"""Frames to what a model reads on them, one after the other in one session. Knows a bundle's question, no footage."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..decode.options import Options
from ..decode.session import TextResult, until
from ..inputs.images import ImageSource, load_image
from ..inputs.windows import WINDOWS, windowed
from ..model import Model
from .clip import Look, Shot
from .slate import Token, caption, in_part, look, still, unsure, vote

__all__ = ["Reader"]


@dataclass(frozen=True)
class Reader:
    """A model and what it is asked."""

    model: Model
    prompt: str | None
    """None asks the bundle's own question."""
    options: Options
    together: int = 1
    """Frames that are read side by side."""

    def judge(self, start: float, end: float, looks: Sequence[Look]) -> Shot:
        """A shot from its frames' readings: a bundle's own question is answered with slates, others with captions."""
        return (vote if self.prompt is None else caption)(start, end, looks)

    def looks(self, frames: Iterable[tuple[float, NDArray[np.uint8]]]) -> Iterator[Look]:
        """Read frames, each with its moment in seconds, no faster than they are taken.

        Raises RequestError or NumericsError for what a frame is to blame for.
        """
        moments: deque[float] = deque()

        def pictures() -> Iterator[NDArray[np.uint8]]:
            for moment, picture in frames:
                moments.append(moment)
                yield picture

        read = self.model.each(pictures(), self.prompt, strict=True, options=self.options, together=self.together)
        for reading in read:  # in the frames' order
            assert reading.result is not None  # strict
            yield look(moments.popleft(), reading.result.text, self._tokens(reading.result))

    def still(self, first: TextResult, picture: ImageSource, looks: int, least: float) -> Shot:
        """A still, whose first reading may be unsure: its windows are read until every field is as sure as `least`.

        `looks` is how many may be taken, the first one among them; `picture` is opened if there is another one.
        Raises as `looks`.
        """
        taken, whole = [self.read(first)], cache(lambda: load_image(picture))

        def windows() -> Iterator[tuple[float, NDArray[np.uint8]]]:
            for number in range(1, looks):
                if not unsure(taken, least):
                    return
                yield 0.0, windowed(whole(), number)

        for one in self.looks(windows()):  # a window is asked for when the last one has been read
            taken.append(in_part(one) if WINDOWS[len(taken)].part else one)
        return still(taken)

    def read(self, result: TextResult) -> Look:
        """One result as a reading of a still."""
        return look(0.0, result.text, self._tokens(result))

    def _tokens(self, result: TextResult) -> list[Token]:
        """The place of each token in the text: the text grows by what a token adds, whatever its bytes are."""
        tokens = until(list(result.tokens), self.model.words.decode.stop_token_ids)
        ends = [len(self.model.detokenize(tokens[: count + 1])) for count in range(len(tokens))]
        return list(zip([0, *ends], ends, result.confidence, strict=False))
