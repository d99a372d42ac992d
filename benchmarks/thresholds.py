"""One threshold against two, one for a block's first step and one for later ones, chosen on other frames: slate reader.

    python benchmarks/thresholds.py BUNDLE [--chosen 40] [--frames 120] [--precision fp32]

Reads frames of the set *hard* by every pair of thresholds, keeps for each quality (tokens that the same model reads
with one token per forward) the pair with the fewest forwards, and reads *medium* by it and by single thresholds.
Also says how many tokens of an answer a draft copied from the prompt would have had right.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

import a2d
from a2d.runtime.decode import loop
from a2d.runtime.decode.sequence import Prompt

ROOT = Path(__file__).resolve().parent.parent
BARS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass
class Bars:
    """The accept rule with a threshold for the first step of a block, where all of it is masked, and for later ones."""

    first: float = 0.9
    later: float = 0.9

    def __call__(self, block: Any, proposal: Any, *_: Any) -> Any:
        """See `rules.confidence`; one row at least."""
        bar = self.first if block.masked.all() else self.later
        C = np.where(block.masked, proposal.confidence, -np.inf)
        accepted = bar < C
        accepted[np.argmax(C)] = True
        return accepted & block.masked


@dataclass(frozen=True)
class Read:
    """One set read by one pair."""

    exact: float
    """Share of frames whose text is the truth."""
    right: float
    """Share of tokens that are the careful reading's."""
    per_forward: float
    """Tokens of all frames over their forwards."""


class Reader:
    """The model with its frames as prompts, so that pictures are looked at once."""

    def __init__(self, model: a2d.Model, samples: list[Any], question: str) -> None:
        self.model, self.truth = model, [sample.answer for sample in samples]
        self.prompts: list[Prompt] = [model.prompt(question, [sample.pixels]) for sample in samples]
        self.careful = [list(made.tokens) for made in self._all(Bars(2.0, 2.0))]

    def _all(self, rule: Bars) -> list[Any]:
        loop.RULES = {"confidence": rule}  # type: ignore[assignment]
        return [self.model.session().generate(p, threshold=0.9, max_tokens=64) for p in self.prompts]

    def read(self, rule: Bars) -> Read:
        """All frames by one rule."""
        made = self._all(rule)
        pairs = zip(made, self.careful, strict=True)
        same = [np.mean([a == b for a, b in zip(m.tokens, c, strict=False)]) for m, c in pairs]
        exact = np.mean([m.text.strip() == t.strip() for m, t in zip(made, self.truth, strict=True)])
        forwards = sum(m.forwards for m in made)
        return Read(float(exact), float(np.mean(same)), sum(len(m.tokens) for m in made) / forwards)


def copied(reader: Reader) -> float:
    """Share of an answer's tokens that the prompt has behind the two tokens before them."""
    hits = []
    for prompt, answer in zip(reader.prompts, reader.careful, strict=True):
        words = prompt.rows.tokens.tolist()
        following = dict(zip(pairwise(words), words[2:], strict=False))
        hits += [following.get((a, b)) == c for a, b, c in zip(answer, answer[1:], answer[2:], strict=False)]
    return float(np.mean(hits))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--chosen", type=int, default=40, help="frames that thresholds are chosen on")
    parser.add_argument("--frames", type=int, default=120, help="frames that they are measured on")
    parser.add_argument("--precision", default="fp32")
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT / "examples" / "slate"))
    from recipe.sets import frames  # type: ignore[import-not-found]  # noqa: PLC0415 - a folder of the examples
    from recipe.words import QUESTION  # type: ignore[import-not-found]  # noqa: PLC0415

    model = a2d.load(asked.bundle, precision=asked.precision, threads=1)
    chosen = Reader(model, [*frames("hard", asked.chosen)], QUESTION)
    found = {(a, b): chosen.read(Bars(a, b)) for a, b in product(BARS, BARS)}
    test = Reader(model, [*frames("medium", asked.frames)], QUESTION)
    print("| single | hard: right | tokens/forward | learned first, later | hard: right | tokens/forward "
          "| medium: right, exact, tokens/forward, single | the same, learned |\n" + "|---" * 8 + "|")  # fmt: skip
    for bar in BARS:
        one = found[bar, bar]
        pair = max((p for p, r in found.items() if r.right >= one.right), key=lambda p: found[p].per_forward)
        two, alone, learned = found[pair], test.read(Bars(bar, bar)), test.read(Bars(*pair))
        cells = [f"{100 * r.right:.1f}, {100 * r.exact:.1f}, {r.per_forward:.2f}" for r in (alone, learned)]
        print(f"| {bar} | {100 * one.right:.1f} | {one.per_forward:.2f} | {pair[0]}, {pair[1]} | {100 * two.right:.1f} "
              f"| {two.per_forward:.2f} | {cells[0]} | {cells[1]} |", flush=True)  # fmt: skip
    print(f"\ncopied from the prompt: {100 * copied(test):.1f} % of tokens")


if __name__ == "__main__":
    main()
