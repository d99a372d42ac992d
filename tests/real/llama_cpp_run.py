"""llama.cpp on a GGUF file: greedy tokens of prompts, and its pace. Run by a Python that has llama-cpp-python.

usage: llama_cpp_run.py MODEL.gguf JOB.json [--plain]

JOB.json: {"threads": N, "prompts": [[ids], ...], "tokens": N, "timed": [ids], "rounds": N}. Prints one JSON object.
`--plain` keeps weights as they are in the file, where the repacked ones (AMX) crash, as in some virtual machines.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp


def opened(model: str, threads: int, plain: bool) -> Any:
    if plain:
        default = llama_cpp.llama_model_default_params

        def unpacked() -> Any:
            chosen = default()
            chosen.use_extra_bufts = False
            return chosen

        llama_cpp.llama_cpp.llama_model_default_params = unpacked
    return llama_cpp.Llama(model, n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False)


def greedy(model: Any, prompt: list[int], count: int, stop: int | None) -> tuple[list[int], float, float]:
    """Tokens, seconds to the first one, and seconds from there to the last."""
    model.reset()
    start, first, made = time.perf_counter(), 0.0, []
    for token in model.generate(prompt, temp=0.0, top_k=1, repeat_penalty=1.0, reset=True):
        if not made:
            first = time.perf_counter()
        made.append(int(token))
        if token == stop or len(made) == count:
            break
    return made, first - start, time.perf_counter() - first


def main() -> None:
    source, given = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    model = opened(source, given["threads"], "--plain" in sys.argv)
    answers = [greedy(model, prompt, given["tokens"], model.token_eos())[0] for prompt in given["prompts"]]
    rounds = [greedy(model, given["timed"], given["tokens"] + 1, None) for _ in range(given["rounds"])]
    pace = [(len(made) - 1) / seconds for made, _, seconds in rounds]
    said = {
        "answers": answers,
        "pace": pace,
        "first": [first for _, first, _ in rounds],
        "version": llama_cpp.__version__,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
