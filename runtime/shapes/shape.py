"""Answers of a given shape, for the decode loop: a Form whose blocks never leave a language.

Text that is fixed is laid before a block is run. At each step the model is asked for the most probable token of every
set that the automaton distinguishes in a row, and the best string over all rows is proposed; whichever of its tokens a
rule accepts, the rest of the block can still be completed. Knows automata and blocks, not where languages come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError
from ..decode.block import Allowed, Block, Proposal
from ..decode.denoiser import Prediction
from ..decode.forward import Weigh
from ..decode.options import Plan
from ..decode.packed import accepted
from ..decode.sequence import Chooser
from .automaton import Automaton
from .best_string import Ways, advanced, best_string, forced, ways
from .sentence import Rendering

__all__ = ["Shape"]

LEAST = 1e-38
"""Probability that the logarithm of a token is taken of at least: one that underflows is improbable, not forbidden."""


@dataclass(frozen=True)
class Shape:
    """The form of an answer: the strings of an automaton."""

    automaton: Automaton
    rendering: Rendering | None = None
    """JSON that is made of what is written; None where the answer is that itself."""

    def text(self, written: str, whole: bool) -> str:
        """See `Form.text`."""
        if self.rendering is None:
            return written
        return self.rendering.json(written) if whole else ""

    def begin(self, plan: Plan, start: int, last: int) -> Chooser:
        """See `Form.begin`."""
        o, least = plan.options, int(min(self.automaton.left[state] for state in self.automaton.starts))
        lines = ["decode: got 'speculative', expected 'diffusion'"] if plan.speculative else []
        lines += ["replace_above, remask_below: settled rows of an answer of a given shape stay"] if o.revises else []
        if o.temperature:
            lines.append(
                f"temperature: got {o.temperature}, expected 0: the most probable string is taken, none is drawn"
            )
        if least > last - start:
            room = max(last - start, 0)
            lines.append(
                f"max_tokens: the shortest answer of this shape has {least} tokens, and {room} are wanted or fit"
            )
        if lines:
            raise RequestError("\n".join(lines))
        return _Shaped(self.automaton, plan, last)


class _Shaped:
    """One answer on its way through the automaton."""

    free = False

    def __init__(self, automaton: Automaton, plan: Plan, last: int) -> None:
        self._automaton, self._plan, self._last = automaton, plan, last
        self._states = automaton.starts
        self._count = 1
        self._ways: Ways = []
        self._wanted: list[tuple[int, int]] = []
        """Rows and numbers of sets that were asked for last."""

    def lay(self, block: Block) -> Block:
        """See `Chooser.lay`."""
        known = [forced(self._automaton, moves) for moves in self._possible(block)]
        rows = [row for row, token in enumerate(known) if token is not None]
        tokens = np.array([known[row] for row in rows], np.int64)
        return block.holding(np.array(rows, np.intp) + block.prompt, tokens)

    def ask(self, asked: Block, block: Block, count: int, at: tuple[int, int]) -> Weigh:
        """See `Chooser.ask`."""
        self._count, self._ways = count, self._possible(block)
        self._wanted = wanted = [
            (row, number)
            for row, moves in enumerate(self._ways)
            if asked.masked[row + block.prompt]
            for number in sorted(set(moves.values()))
        ]
        used = sorted({number for _, number in wanted})
        rows = np.array([row for row, _ in wanted], np.intp) + block.prompt
        by = np.searchsorted(used, [number for _, number in wanted]).astype(np.int64)
        return Weigh(asked, rows, Allowed(self._automaton.sets[used], by), at)

    def proposal(self, asked: Block, block: Block, answer: Prediction) -> Proposal:
        """See `Chooser.proposal`."""
        tokens: list[dict[int, int]] = [{} for _ in self._ways]
        belief: list[dict[int, float]] = [{} for _ in self._ways]
        entropy = np.zeros(len(block), np.float32)
        for i, (row, number) in enumerate(self._wanted):
            tokens[row][number], belief[row][number] = int(answer.tokens[i]), float(answer.confidence[i])
            entropy[row + block.prompt] = answer.entropy[i]
        logs = [{number: float(np.log(max(p, LEAST))) for number, p in sets.items()} for sets in belief]
        string = best_string(self._ways, tokens, logs)
        sure = [
            max((belief[row][number] for number, token in sets.items() if token == string[row]), default=0.0)
            for row, sets in enumerate(tokens)
        ]
        return self._proposed(asked, block, string, sure, entropy)

    def _proposed(
        self, asked: Block, block: Block, string: list[int | None], sure: list[float], entropy: NDArray[np.float32]
    ) -> Proposal:
        proposed, confidence = block.tokens.copy(), block.confidence.copy()
        for row, token in enumerate(string):
            at = row + block.prompt
            if asked.masked[at] and token is not None:
                alone = forced(self._automaton, self._ways[row]) is not None
                proposed[at], confidence[at] = token, 1.0 if alone else sure[row]
        settled = accepted(asked.masked, confidence, self._count, self._plan.bar)
        following = np.where(settled, proposed, block.tokens)
        return Proposal(proposed, confidence, entropy, block.confidence, following, asked.masked & ~settled)

    def settle(self, block: Block) -> None:
        """See `Chooser.settle`."""
        for token in block.generated:
            self._states = advanced(self._automaton, self._states, int(token))

    def _possible(self, block: Block) -> Ways:
        """The moves of the answer's rows, given those that hold a token."""
        held = [None if masked else int(token) for token, masked in zip(block.tokens, block.masked, strict=True)]
        return ways(self._automaton, self._states, held[block.prompt :], self._last - block.start - block.prompt)
