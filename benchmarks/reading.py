"""Readings of slates to their stop token: what each part of one costs, and the same answers one token a forward.

    python benchmarks/reading.py BUNDLE [--precision int8] [--frames DIR] [--count 9] [--rounds 5] [--threads 1]
                                 [--against llama.cpp] [--against onnxruntime-genai]

Every frame is read by a2d in blocks, by its own rule; then every other way decodes as many tokens as that reading has
up to its stop token: a2d's own graphs one token a forward, and other engines (`a2d bench --against`), which see no
pictures and have as many random tokens for a prompt. All take turns, frame by frame. Tokens a second count what comes
behind the forward that reads the prompt, and the time behind it, on every side: a2d's first forward settles several
tokens, theirs one. `answer` is the prompt as well, without the picture. A CPU second is the processor's, which on one
thread says what a machine gives that nobody else uses.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

import a2d
from a2d.engines.cpu import this_cpu
from a2d.export.peers.engines import ENGINES
from a2d.runtime.decode.contract import autoregressive
from a2d.runtime.decode.options import Options
from a2d.runtime.decode.session import Session
from a2d.runtime.inputs.images import load_image
from a2d.runtime.inputs.patches import prepare
from a2d.runtime.measure.bench import endless, random_prompt, timed
from a2d.runtime.model import KEPT_IMAGES, Model

FRAMES = Path(__file__).resolve().parent.parent / "examples" / "slate" / "frames"
GRAPHS = ("vision", "backbone", "denoise")
BLOCKS = "a2d, blocks"
PARTS = ("picture", "tower", "prompt", "blocks' forwards", "denoise graph", "Python", "all")


@dataclass(frozen=True)
class Taken:
    """Seconds of one decode, by the clock and by the processor."""

    tokens: int
    first: int
    """Tokens that the forward settled which read the prompt."""
    clock: float
    """Seconds behind that forward."""
    busy: float
    whole: float
    """Seconds of the answer, that forward included."""
    whole_busy: float


class Metered:
    """An engine, and the processor's seconds in it by the number of its runs."""

    def __init__(self, engine: Any) -> None:
        self._engine, self.spent = engine, list[float]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(self, *given: Any, **more: Any) -> Any:
        """See `Engine.run`."""
        began = process_time()
        made = self._engine.run(*given, **more)
        self.spent.append(process_time() - began)
        return made


def decoded(session: Session, prompt: Any, options: Options) -> tuple[Taken, int]:
    """One decode by a2d; and the tokens of its answer up to the stop token."""
    run = timed(session, prompt, options)
    stops = [place for place, token in enumerate(run.result.tokens) if token in session.contract.stop_token_ids]
    tokens = stops[0] + 1 if stops else len(run.result.tokens)
    first = min(int((~run.steps[0].masked).sum()), tokens)
    sums = sum(run.seconds[1:]), sum(run.cpu_seconds[1:]), sum(run.seconds), sum(run.cpu_seconds)
    return Taken(tokens, first, *sums), tokens


def parts_of(model: Model, meters: Mapping[str, Metered], file: Path) -> dict[str, float]:
    """The processor's seconds of one whole reading, from the file to the text."""
    for meter in meters.values():
        meter.spent.clear()
    began = process_time()
    prepare([load_image(file)], model.manifest.vision)
    picture = process_time() - began
    began = process_time()
    model.generate(images=[file])
    whole = process_time() - began
    tower, backbone, denoise = (meters[name].spent for name in GRAPHS)
    reading = len(backbone) - len(denoise) + 1  # the prompt's: all before the first denoise, and its own
    engines = sum(tower), sum(backbone[:reading]), sum(backbone[reading:]), sum(denoise)
    return dict(zip(PARTS, (picture, *engines, whole - picture - sum(engines), whole), strict=True))


def ways(model: Model, threads: int, names: list[str], stack: ExitStack) -> dict[str, Callable[[Any, int], Taken]]:
    """Ways to decode so many tokens behind a prompt, one token a forward."""
    single = autoregressive(model.manifest.decode)
    found: dict[str, Callable[[Any, int], Taken]] = {
        "a2d, one token a forward": lambda prompt, count: decoded(
            endless(model, single), prompt, Options(max_tokens=count)
        )[0]
    }

    def theirs(rival: Any, form: str, prompt: Any, count: int) -> Taken:
        run = rival.decode(form, random_prompt(model, len(prompt)).rows.tokens, count)
        whole, busy = run.seconds + run.first_seconds, run.cpu_seconds + run.first_cpu_seconds
        return Taken(count, 1, run.seconds, run.cpu_seconds, whole, busy)

    for name in names:
        rival = stack.enter_context(ENGINES[name](model.bundle, threads))
        for form in rival.forms:
            found[f"{rival.name}, {form}"] = lambda prompt, count, r=rival, f=form: theirs(r, f, prompt, count)
    return found


def beside(model: Model, files: list[Path], rounds: int, others: Mapping[str, Callable[[Any, int], Taken]]) -> None:
    """Print the table of ways."""
    taken: dict[str, list[Taken]] = defaultdict(list)
    prompts = [model.prompt(images=[file]) for file in files]
    for turn in range(-1, rounds):  # the first warms up
        for prompt in prompts:
            own, count = decoded(model.session(), prompt, Options())
            made = {BLOCKS: own} | {name: way(prompt, count) for name, way in others.items()}
            for name, one in made.items() if turn >= 0 else ():
                taken[name].append(one)
    print(f"\n{len(files)} frames, {rounds} rounds, {np.mean([one.tokens for one in taken[BLOCKS]]):.1f} tokens\n")
    print(
        "| | tokens/s | a CPU second | blocks over it | by CPU seconds | answer, CPU ms | blocks over it |\n|---|"
        + 6 * "---|"
    )
    own = taken[BLOCKS]
    for name, each in taken.items():
        pace, busy = ([(t.tokens - t.first) / getattr(t, kind) for t in each] for kind in ("clock", "busy"))
        mine, mine_busy = ([(t.tokens - t.first) / getattr(t, kind) for t in own] for kind in ("clock", "busy"))
        ratios = [np.median(np.divide(a, b)) for a, b in ((mine, pace), (mine_busy, busy))]
        whole = np.median([t.whole_busy for t in each]) * 1e3
        answer = np.median([a.whole_busy / b.whole_busy for a, b in zip(each, own, strict=True)])
        cells = f"{np.median(pace):.0f} | {np.median(busy):.0f} | {ratios[0]:.2f} | {ratios[1]:.2f}"
        print(f"| {name} | {cells} | {whole:.1f} | {answer:.2f} |", flush=True)


def split(model: Model, files: list[Path], rounds: int) -> None:
    """Print the table of parts."""
    engines = model._engines
    meters = {name: Metered(model.engine(name)) for name in GRAPHS}
    engines.update(meters)
    found = [parts_of(model, meters, file) for _ in range(rounds + 1) for file in files][len(files) :]
    engines.update({name: meter._engine for name, meter in meters.items()})
    print("\n| CPU ms | " + " | ".join(PARTS) + " |\n|---|" + len(PARTS) * "---|")
    for word, least in (("median", np.median), ("least", np.min)):
        print(f"| {word} | " + " | ".join(f"{1e3 * least([one[part] for one in found]):.2f}" for part in PARTS) + " |")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--frames", type=Path, default=FRAMES)
    parser.add_argument("--count", type=int, default=KEPT_IMAGES + 1, help="more than a model remembers pictures of")
    for name, default in (("rounds", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--against", action="append", default=[], choices=[*ENGINES])
    asked = parser.parse_args()
    files = [
        file for file in sorted(asked.frames.iterdir()) if file.suffix in (".png", ".jpg") and "no-" not in file.name
    ]
    files = files[: asked.count]
    model = a2d.load(asked.bundle, precision=asked.precision, threads=asked.threads)
    print(f"{this_cpu().name}, {asked.precision}, {asked.threads} thread(s)")
    split(model, files, asked.rounds)
    with ExitStack() as stack:
        beside(model, files, asked.rounds, ways(model, asked.threads, asked.against, stack))


if __name__ == "__main__":
    main()
