"""The block on a terminal, as a small emulation of one shows it after each step."""

from __future__ import annotations

import io
import os
import re
import unicodedata

import numpy as np
import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from a2d.runtime.cli import live_block as terminal
from a2d.runtime.cli.live_block import BlockView
from a2d.runtime.decode.block import Step

COLUMNS = 10


class Screen(io.StringIO):
    """A terminal of endless height: wraps late, as terminals do, and knows the codes that the view uses."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0

    def write(self, text: str) -> int:
        for piece in re.findall(r"\x1b\[\d*(?:;\d+)*[A-Za-z]|.", text, re.DOTALL):
            self._code(piece) if piece[0] == "\x1b" else self._char(piece)
        return len(text)

    def _code(self, code: str) -> None:
        if code[-1] == "A":
            self.row = max(0, self.row - int(code[2:-1]))
        elif code == "\x1b[J":
            self.rows[self.row] = self.rows[self.row][: self.column]
            del self.rows[self.row + 1 :]
        else:
            assert code[-1] == "m", code

    def _char(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._next_row()
        elif unicodedata.category(char) in ("Mn", "Cf"):
            self.rows[self.row][-1] += char
        else:
            assert char.isprintable(), repr(char)
            width = 2 if unicodedata.east_asian_width(char) in "WF" else 1
            if self.column + width > COLUMNS:
                self._next_row()
            del self.rows[self.row][self.column :]
            self.rows[self.row] += [char, ""][:width]
            self.column += width

    def _next_row(self) -> None:
        self.row, self.column = self.row + 1, 0
        self.rows += [[]] * (self.row + 1 - len(self.rows))
        self.rows[self.row] = list(self.rows[self.row])

    @property
    def text(self) -> str:
        return "\n".join("".join(row) for row in self.rows)


def laid_out(text: str) -> str:
    """What a fresh screen shows of `text`."""
    screen = Screen()
    screen.write(text)
    return screen.text


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(terminal.shutil, "get_terminal_size", lambda: os.terminal_size((COLUMNS, 24)))


WORDS = ["a", "bc", "def ", "\n", "x\ny", "\n\n", "0123456789", "", "e\u0301", "\u65e5\u672c", "\U0001f3ac", "  "]


def words(tokens) -> str:
    return "".join(WORDS[token] for token in tokens)


def step(tokens, masked, accepted=(), fixed=0) -> Step:
    masked = np.array(masked, bool)
    return Step(
        0, 0, np.array(tokens), masked, np.array(accepted, int), np.ones(len(tokens), np.float32), fixed,
        not masked.any(),
    )  # fmt: skip


@st.composite
def blocks(draw):
    """A few blocks, each as steps that settle its rows in some order."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.integers(1, 5))
        tokens = draw(st.lists(st.integers(0, len(WORDS) - 1), min_size=size, max_size=size))
        order = draw(st.permutations(range(size)))
        sizes = draw(st.lists(st.integers(1, size), min_size=1, max_size=size))
        ends = sorted({min(n, size) for n in np.cumsum(sizes).tolist()} | {size})
        made.append((tokens, [order[:end] for end in ends]))
    return made


@settings(max_examples=examples(100))
@given(blocks())
def test_the_screen_shows_the_text_after_every_step(blocks):
    screen = Screen()
    view = BlockView(screen, words)
    settled = ""
    for tokens, steps in blocks:
        for done in steps:
            view.show(step(tokens, [i not in done for i in range(len(tokens))], done))
            shown = "".join(WORDS[token] if i in done else "\u2591\u2591" for i, token in enumerate(tokens))
            assert screen.text == laid_out(settled + shown)
        settled += words(tokens)
    view.close()
    assert screen.text == laid_out(settled + "\n")


def test_rows_that_are_full_scroll_away_and_are_never_drawn_again():
    """A paragraph longer than the screen: nothing above the last row may be touched."""
    screen = Screen()
    view = BlockView(screen, words)
    highest = []
    for _ in range(30):
        before = screen.row
        view.show(step([6, 0], [True, False], [1]))
        view.show(step([6, 0], [False, False], [0]))
        highest.append(before)
        assert view._rows <= 2
    assert screen.text == laid_out(words([6, 0] * 30))
    assert highest[-1] > 24


def test_rows_of_the_prompt_are_not_drawn():
    screen = Screen()
    BlockView(screen, words).show(step([2, 1, 0], [False, False, True], fixed=1))
    assert screen.text == "bc\u2591\u2591"


def test_fresh_tokens_are_green_and_masks_dim():
    plain = io.StringIO()
    BlockView(plain, words).show(step([0, 1, 2], [False, False, True], [1]))
    assert f"a{terminal.PLAIN}{terminal.FRESH}bc{terminal.PLAIN}{terminal.DIM}__" in plain.getvalue()


def test_a_token_that_was_masked_again_is_not_fresh():
    plain = io.StringIO()
    BlockView(plain, words).show(step([0, 1], [False, True], [1]))
    assert terminal.FRESH not in plain.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_streams_that_are_not_utf_8_take_what_they_can(encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding)
    view = BlockView(stream, lambda tokens: "\u65e5x" * len(tokens))
    view.show(step([0, 1], [False, True], [0]))
    view.show(step([0, 1], [False, False], [1]))
    view.close()
    shown = raw.getvalue().decode(encoding)
    assert "____" not in shown and "__" in shown
    assert "?x?x" in shown


def test_what_a_model_writes_cannot_steer_the_terminal():
    screen = Screen()
    view = BlockView(screen, lambda tokens: "a\x1b[2Jb\rc\x07d\x9be\tf")
    view.show(step([0], [False], [0]))
    assert screen.text == laid_out("a\ufffd[2Jb\ufffdc\ufffdd\ufffde    f")
