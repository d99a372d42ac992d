"""Answers and the question as token rows. Knows the tokenizer and the prompt's form, nothing of frames or networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .fields import LONGEST_VALUE, NO_SLATE
from .grid import Grid

__all__ = ["LONGEST", "MASK", "QUESTION", "STOP", "Words"]

QUESTION = "read the slate"
STOP, MASK, IMAGE = 299, 304, 302
LONGEST = 48
"""Rows of the longest answer, its stop token included, in whole blocks of 8."""

BEFORE = "<|im_start|>user\n<|vision_start|>"
AFTER = f"<|vision_end|>{QUESTION}<|im_end|>\n<|im_start|>assistant\n"


class Words:
    """The tokenizer of a checkpoint."""

    def __init__(self, checkpoint: Path, grid: Grid) -> None:
        self._tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        before, after = self._ids(BEFORE), self._ids(AFTER)
        self._grid = grid
        self.prompt = np.array([*before, *[IMAGE] * grid.tokens, *after], np.int64)
        """Rows of the question, the image's among them."""
        self.image = slice(len(before), len(before) + grid.tokens)
        """The image's rows of the prompt."""

    def rows(self, answers: Sequence[str]) -> NDArray[np.int64]:
        """Answers `[N, LONGEST]`, filled with stop tokens: a block with a stop token holds nothing else behind it.

        Raises ValueError for an answer that is too long.
        """
        rows = np.full((len(answers), LONGEST), STOP, np.int64)
        for row, answer in zip(rows, answers, strict=True):
            ids = self._ids(answer)
            if len(ids) >= LONGEST:
                raise ValueError(f"{answer!r} has {len(ids)} tokens, expected under {LONGEST}; raise LONGEST")
            row[: len(ids)] = ids
        return rows

    def values(self, answers: Sequence[str]) -> NDArray[np.int64]:
        """For each row of `rows`, the character of a value that it holds, counted over all fields; -1 for the rest.

        Field f's character i is `f * LONGEST_VALUE + i`, as in `Sample.sources`.
        """
        found = np.full((len(answers), LONGEST), -1, np.int64)
        for row, answer in zip(found, answers, strict=True):
            if answer != NO_SLATE:
                at = dict(_characters(answer))
                spans = self._tokenizer.encode(answer, add_special_tokens=False).offsets
                row[: len(spans)] = [at.get(start, -1) for start, _ in spans]
        return found

    def positions(self, answer_rows: int) -> NDArray[np.int64]:
        """mrope positions `[3, rows]` of the prompt and of an answer behind it."""
        at, end = self.image.start, len(self.prompt)
        grid = self._grid
        rows, columns = np.divmod(np.arange(grid.tokens), grid.columns)
        behind = at + max(grid.rows, grid.columns) + np.arange(end - self.image.stop + answer_rows)
        axes = (np.zeros(grid.tokens, np.int64), rows, columns)
        return np.stack([np.concatenate([np.arange(at), at + axis, behind]) for axis in axes])

    def text(self, tokens: Sequence[int]) -> str:
        """The text before the first stop token."""
        ids = list(tokens)
        return str(self._tokenizer.decode(ids[: ids.index(STOP)] if STOP in ids else ids))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


def _characters(answer: str) -> Iterator[tuple[int, int]]:
    """Where in an answer each character of a value stands, and its number among all of them."""
    at = 0
    for number, word in enumerate(answer.split(" ")):
        if number % 2:
            yield from ((at + i, number // 2 * LONGEST_VALUE + i) for i in range(len(word)))
        at += len(word) + 1
