"""onnxruntime-genai on models of its own builder: its own graphs, cache and loop, one token per forward.

usage: run_genai.py JOB.json     (forms to folders, threads, ids that are never proposed; by export/peers/engines.py)

A free answer is made by the package's own greedy loop, which cannot forbid an id; where an answer is followed, Python
looks at the logits of every step, which takes up to twice the time. Run by a Python that has onnxruntime-genai.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as genai
from lines import answer


class Form:
    """One model folder, opened."""

    def __init__(self, folder: str, threads: int, forbidden: list[int]) -> None:
        config = genai.Config(folder)
        options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self.model, self.forbidden = genai.Model(config), forbidden

    def tokens(self, prompt: Sequence[int], following: Sequence[int | None]) -> Iterator[int]:
        """The preferred token behind the prompt and behind all but the last that follow, one per forward."""
        length = len(prompt) + len(following) + 1
        chosen = genai.GeneratorParams(self.model)
        chosen.set_search_options(max_length=length, min_length=length, do_sample=False)  # no end token before that
        generator = genai.Generator(self.model, chosen)
        if all(given is None for given in following):
            yield from self.free(generator, prompt, len(following))
            return
        token = self.run(generator, prompt)
        yield token
        for given in following[:-1]:
            token = self.run(generator, [token if given is None else given])
            yield token

    def free(self, generator: Any, prompt: Sequence[int], count: int) -> Iterator[int]:
        """So many tokens behind the prompt, by the package's own loop."""
        generator.append_tokens(np.array(prompt, np.int32))
        for _ in range(count):
            generator.generate_next_token()
            yield int(generator.get_next_tokens()[0])

    def run(self, generator: Any, tokens: Sequence[int]) -> int:
        """The most probable token behind `tokens`, which stay in the cache."""
        generator.append_tokens(np.array(tokens, np.int32))
        logits = generator.get_logits()[0, -1]
        logits[self.forbidden] = -np.inf
        return int(logits.argmax())


def main() -> None:
    """See the module."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    opened = {name: Form(folder, job["threads"], job["forbidden"]) for name, folder in job["models"].items()}
    answer(genai.__version__, opened, lambda form, prompt, following: opened[form].tokens(prompt, following))


if __name__ == "__main__":
    main()
