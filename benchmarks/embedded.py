"""The cost of liba2d's child process: the same generation in this process and through it, in turn, step by step.

usage: embedded.py BUNDLE [--library FILE] [--pairs N] [--prompt TEXT] [--threads N] [--json] [decoding options]

Both decode the same frame with the same options, one after the other. Whatever else a machine does can only make either
slower, and does so by far more than the bridge: so what is added is taken between the lower quartiles of the two, and
between their medians for comparison.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import a2d
from a2d.engines.errors import EngineError, RequestError
from a2d.runtime.cli.arguments import Parser, add_options, guarded, options_from
from a2d.runtime.console.lines import Progress
from a2d.runtime.decode.options import Options
from a2d.runtime.decode.session import Session
from a2d.runtime.model import Model

sys.path.insert(0, str(Path(__file__).parent))
from clibrary import Embedded, Library, of_the_wheel

__all__ = ["EmbeddedReport", "main", "measure_embedded"]

HEIGHT, WIDTH = 1080, 1920
LOWER = 0.25


@dataclass(frozen=True)
class EmbeddedReport:
    """Milliseconds; each pair is one generation in this process and the same one through the library."""

    pairs: int
    steps: int
    """Steps that were compared."""
    frame: str | None
    """Size of the frame that goes along, None where the bundle takes none."""
    step_ms: float
    """A step after the first in this process: lower quartile."""
    generation_ms: float
    """A generation in this process: lower quartile."""
    added_step_ms: float
    """What the child process adds to a step: between the lower quartiles."""
    added_step_median_ms: float
    """The same between the medians."""
    added_generation_ms: float
    """What it adds to a generation besides its steps, the frame included: between the lower quartiles."""
    added_generation_median_ms: float


@dataclass(frozen=True)
class _Times:
    """One generation: when it began, when each step was seen, when it was over."""

    began: float
    steps: tuple[float, ...]
    ended: float
    text: str

    @property
    def around(self) -> float:
        """Up to the end of the first step, and after the last one."""
        return (self.steps[0] - self.began) + (self.ended - self.steps[-1])

    @property
    def between(self) -> NDArray[np.float64]:
        """Each step after the first."""
        return np.diff(self.steps)


def measure_embedded(
    model: Model, library: Library, pairs: int, options: Options, prompt: str | None, quiet: bool
) -> EmbeddedReport:
    """Run `pairs` of generations after two that warm up. Raises RequestError where there is nothing to ask."""
    question = _question(model, prompt)
    session = model.session(exact=True)
    here, there = [], []
    with (
        Embedded(library, model.bundle.path, model.placement.threads or 0, model.placement.precision) as child,
        Progress("measuring", pairs + 2, "pairs", quiet=quiet) as progress,
    ):
        for number in range(pairs + 2):
            frame = _frame(number) if model.manifest.vision is not None else None
            here.append(_in_this_process(model, session, question, frame, options))
            there.append(_through_the_library(child, question, frame, options))
            progress.add()
    return _report(here[2:], there[2:], model.manifest.vision is not None)


def _question(model: Model, prompt: str | None) -> str:
    question = prompt or model.manifest.text.default_prompt
    if question is None or model.manifest.text.tokenizer is None:
        raise RequestError("a question is asked in words: give --prompt TEXT, and a bundle that has a tokenizer")
    return question


def _frame(number: int) -> NDArray[np.uint8]:
    """A frame that no cache knows: noise, another one each time."""
    return np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def _in_this_process(
    model: Model, session: Session, question: str, frame: NDArray[np.uint8] | None, options: Options
) -> _Times:
    began, seen = time.perf_counter(), []
    generation = session.stream(model.prompt(question, [] if frame is None else [frame]), options)
    for _ in generation:
        _ = generation.text  # a host is shown it at each step
        seen.append(time.perf_counter())
    text = generation.result.text
    return _Times(began, tuple(seen), time.perf_counter(), text)


def _through_the_library(child: Embedded, question: str, frame: NDArray[np.uint8] | None, options: Options) -> _Times:
    began, seen = time.perf_counter(), list[float]()
    text = child.generate(question, frame, _json(options), lambda: seen.append(time.perf_counter()))
    return _Times(began, tuple(seen), time.perf_counter(), text)


def _json(options: Options) -> str:
    """What is not as it is by default."""
    usual = Options()
    return json.dumps({name: value for name, value in asdict(options).items() if value != getattr(usual, name)})


def _report(here: list[_Times], there: list[_Times], vision: bool) -> EmbeddedReport:
    if any(a.text != b.text or len(a.steps) != len(b.steps) for a, b in zip(here, there, strict=True)):
        raise EngineError(
            "the worker wrote another text than this process: they cannot be compared. Is it another a2d?"
        )
    steps, steps_there = (np.concatenate([run.between for run in runs]) for runs in (here, there))
    around, around_there = (np.array([run.around for run in runs]) for runs in (here, there))
    if not len(steps):
        raise RequestError("each generation took one step: nothing to compare; give --steps 2 or more")
    return EmbeddedReport(
        pairs=len(here),
        steps=len(steps),
        frame=f"{WIDTH}x{HEIGHT}" if vision else None,
        step_ms=_ms(steps, LOWER),
        generation_ms=_ms(np.array([run.ended - run.began for run in here]), LOWER),
        added_step_ms=_ms(steps_there, LOWER) - _ms(steps, LOWER),
        added_step_median_ms=_ms(steps_there, 0.5) - _ms(steps, 0.5),
        added_generation_ms=_ms(around_there, LOWER) - _ms(around, LOWER),
        added_generation_median_ms=_ms(around_there, 0.5) - _ms(around, 0.5),
    )


def _ms(seconds: NDArray[np.float64], quantile: float) -> float:
    return 1e3 * float(np.quantile(seconds, quantile))


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    return guarded("embedded.py", lambda: _run(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser = Parser(prog="embedded.py", description="Measure what the child process of the C library adds.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--library", type=Path, metavar="FILE", help="liba2d; default: the wheel's own")
    parser.add_argument("--pairs", type=int, default=60, help="generations in either process; default 60")
    parser.add_argument("--prompt", metavar="TEXT", help="default: the bundle's own question")
    parser.add_argument("--threads", type=int, default=1, help="for both processes alike; default 1")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_options(parser)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    arguments.max_tokens = arguments.max_tokens or 64
    library, options = Library(arguments.library or of_the_wheel()), options_from(arguments)
    model = a2d.load(arguments.bundle, threads=arguments.threads)
    report = measure_embedded(model, library, arguments.pairs, options, arguments.prompt, not sys.stderr.isatty())
    print(json.dumps(asdict(report)) if arguments.json else "\n".join(_lines(report)))
    return 0


def _lines(report: EmbeddedReport) -> Iterator[str]:
    yield f"liba2d and its child process, {report.pairs} pairs, {report.steps} steps, frame {report.frame or 'none'}"
    for what, base, added, median in (
        ("step", report.step_ms, report.added_step_ms, report.added_step_median_ms),
        ("generation", report.generation_ms, report.added_generation_ms, report.added_generation_median_ms),
    ):
        yield f"  added to a {what:<12}  {added:10.3f} ms, {median:.3f} between medians; it takes {base:.2f} ms"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
