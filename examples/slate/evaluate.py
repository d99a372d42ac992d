"""Read the evaluation sets with a trained checkpoint, in every way that matters, through a2d itself.

    python examples/slate/evaluate.py --model build/slate-run/model --autoregressive build/slate-run/autoregressive

Each checkpoint is exported to a bundle and run by a2d's decode loop on frames given as arrays: the autoregressive stage
one token a forward, the A2D stage at 8, 4, 2 and 1 steps per block and at thresholds. Prints markdown: whole slates and
fields read exactly, with 95 % Wilson intervals, tokens per forward and decoding time; `--json` keeps the numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from recipe.fields import FIELDS
from recipe.fonts import BUILT_IN, HELD_OUT_PRINT, PACKAGES, PRINT, have
from recipe.frame import Sample
from recipe.score import SURE, Tally
from recipe.sets import FOREIGN, SETS, Seen, chosen_frames
from recipe.words import LONGEST, QUESTION, STOP

import a2d
from a2d.export.job import Job, export
from a2d.runtime.footage.reader import Reader
from a2d.runtime.footage.slate import MIN_CONFIDENCE
from a2d.runtime.inputs.windows import WINDOWS

HERE = Path(__file__).parent
STEPS = (8, 4, 2, 1)
THRESHOLDS = (0.7, 0.8, 0.9, 0.95)
SEVERAL = "A2D, several looks"
"""The way of `a2d run`: above 0.9, and again where it is unsure."""
AUTOREGRESSIVE = "autoregressive stage"
FIELDS_OF = "A2D, above 0.9"
"""The way whose fields are told one by one."""


@dataclass(frozen=True)
class Way:
    """One way to read a frame."""

    name: str
    model: a2d.Model
    options: a2d.Options
    looks: int = 1
    """As many looks at most."""


@dataclass(frozen=True)
class Bundles:
    """The two exported checkpoints, and how they are run."""

    model: Path
    autoregressive: Path | None
    threads: int
    names: tuple[str, ...] = ()
    """Beginnings of the names of the ways that are compared; none for all."""


def ways(bundles: Bundles) -> tuple[Way, ...]:
    """All ways that are compared."""
    model = a2d.load(bundles.model, threads=bundles.threads)
    found = [Way(f"A2D, {s} steps", model, a2d.Options(steps=s, max_tokens=LONGEST)) for s in STEPS]
    found += [Way(f"A2D, above {t}", model, a2d.Options(threshold=t, max_tokens=LONGEST)) for t in THRESHOLDS]
    found.append(Way(SEVERAL, model, a2d.Options(threshold=0.9, max_tokens=LONGEST), len(WINDOWS)))
    if bundles.autoregressive is not None:
        slow = a2d.load(bundles.autoregressive, threads=bundles.threads)
        found.insert(0, Way(AUTOREGRESSIVE, slow, a2d.Options(max_tokens=LONGEST)))
    return tuple(way for way in found if not bundles.names or way.name.startswith(bundles.names))


def read(way: Way, sample: Sample | Seen, tally: Tally) -> None:
    """One frame in one way. The image is encoded before the clock starts: that part is the same in every way."""
    prompt = way.model.prompt(QUESTION, [sample.pixels])
    result = way.model.session().generate(prompt, way.options)
    useful = result.tokens.index(STOP) + 1 if STOP in result.tokens else len(result.tokens)
    if way.looks == 1:
        sure = math.prod(result.confidence[:useful])
        tally.add(sample.answer, result.text, useful, result.forwards, result.seconds, sure)
        return
    began = time.perf_counter()
    shown = Reader(way.model, None, way.options).still(result, sample.pixels, way.looks, MIN_CONFIDENCE)
    seconds = result.seconds + time.perf_counter() - began  # the further looks are encoded within it
    # Tokens and forwards are those of the first look.
    tally.add(sample.answer, shown.text, useful, result.forwards, seconds, shown.confidence)


def measure(bundles: Bundles, names: list[str], count: int, workers: int) -> dict[str, dict[str, Tally]]:
    """Set by set, what each way read."""
    # A fork of a process that runs an engine's threads may hang.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        found = {name: pool.submit(measure_set, bundles, name, count) for name in names}
        return {name: tallies.result() for name, tallies in found.items()}


def measure_set(bundles: Bundles, name: str, count: int) -> dict[str, Tally]:
    """What each way read of one set; all ways read a frame before the next one, so that they meet the same machine."""
    every = ways(bundles)
    tallies = {way.name: Tally() for way in every}
    started = time.monotonic()
    for number, sample in enumerate(chosen_frames(name, count), 1):
        for way in every:
            read(way, sample, tallies[way.name])
        if number % 100 == 0 or number == count:
            left = (time.monotonic() - started) * (count - number) / number
            print(f"{name}: {number} of {count}, {left:.0f} s left", file=sys.stderr, flush=True)
    return tallies


def _has_slates(name: str) -> bool:
    return not name.endswith("no slate")


def table(results: Mapping[str, Mapping[str, Tally]]) -> str:
    """Whole slates by way and set, with what each way costs."""
    every = list(next(iter(results.values())))
    lines = [f"| whole slate exact, % | {' | '.join(results)} | tokens per forward | ms | speed |"]
    lines.append("|---" * (len(results) + 4) + "|")
    # One token a forward with the same weights is what a speed-up is measured against.
    reference = f"A2D, {STEPS[0]} steps"
    slow = _milliseconds(results, reference if reference in every else every[0])
    for way in every:
        tallies = [results[name][way] for name in results]
        rate = sum(t.tokens for t in tallies) / max(sum(t.forwards for t in tallies), 1)
        spent = _milliseconds(results, way)
        cells = " | ".join(t.cell() for t in tallies)
        lines.append(f"| {way} | {cells} | {rate:.2f} | {spent:.1f} | {slow / max(spent, 1e-9):.2f}x |")
    return "\n".join(lines)


def field_table(results: Mapping[str, Mapping[str, Tally]], way: str) -> str:
    """Fields by set, in one way of reading."""
    lines = [f"| {way}: exact, % | {' | '.join(FIELDS)} | characters |", "|---" * (len(FIELDS) + 2) + "|"]
    for name, tallies in results.items():
        if _has_slates(name):
            tally = tallies[way]
            shares = " | ".join(f"{100 * tally.fields[f] / max(tally.frames, 1):.1f}" for f in FIELDS)
            lines.append(f"| {name} | {shares} | {100 * tally.characters_right / max(tally.characters, 1):.1f} |")
    return "\n".join(lines)


def sure_table(results: Mapping[str, Mapping[str, Tally]], way: str) -> str:
    """How many readings of each class of confidence are right, over all sets."""
    lines = [f"| {way}: confidence from | readings | right, % |", "|---|---|---|"]
    for low in SURE:
        count, right = (sum(tallies[way].sure[low][i] for tallies in results.values()) for i in (0, 1))
        lines.append(f"| {low} | {count} | {100 * right / max(count, 1):.1f} |")
    return "\n".join(lines)


def _milliseconds(results: Mapping[str, Mapping[str, Tally]], way: str) -> float:
    tallies = [tallies[way] for tallies in results.values()]
    return 1000 * sum(t.seconds for t in tallies) / max(sum(t.frames for t in tallies), 1)


def _exported(checkpoint: Path, work: Path) -> Path:
    bundle = work / f"{checkpoint.name}.a2d"
    export(Job(checkpoint, bundle, force=True, quiet=True))
    return bundle


def warn_about_fonts() -> None:
    """Say so where typefaces are missing, since the sets are others then."""
    short = [len(names) - len(have(names)) for names in (PRINT, HELD_OUT_PRINT)]
    if any(short) or have(PRINT) == (BUILT_IN,):
        message = (
            f"warning: {sum(short)} typefaces are missing, so these are not the sets; install {' '.join(PACKAGES)}"
        )
        print(message, file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE / "model", help="checkpoint of the A2D stage")
    parser.add_argument("--autoregressive", type=Path, help="checkpoint of the autoregressive stage")
    parser.add_argument("--work", type=Path, default=Path("build/slate-evaluation"), help="where bundles are written")
    parser.add_argument("--frames", type=int, default=500, help="per set")
    parser.add_argument(
        "--sets", nargs="+", default=list(SETS), help=f"of {', '.join((*SETS, *FOREIGN))}, or FOLDER:LEVEL"
    )
    parser.add_argument("--ways", nargs="+", help="beginnings of the names of the ways to read; else all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes, each reading a set at a time")
    parser.add_argument("--json", type=Path, help="also write all numbers here")
    chosen = parser.parse_args(arguments)
    chosen.work.mkdir(parents=True, exist_ok=True)
    warn_about_fonts()
    try:
        slow = None if chosen.autoregressive is None else _exported(chosen.autoregressive, chosen.work)
        bundles = Bundles(_exported(chosen.model, chosen.work), slow, chosen.threads, tuple(chosen.ways or ()))
    except a2d.A2DError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results = measure(bundles, chosen.sets, chosen.frames, chosen.workers)
    told = [way for way in next(iter(results.values())) if way in (FIELDS_OF, SEVERAL, AUTOREGRESSIVE)]
    print("\n\n".join([table(results), *(each(results, way) for way in told for each in (field_table, sure_table))]))
    if chosen.json:
        facts = {n: {w: t.facts(_has_slates(n)) for w, t in ts.items()} for n, ts in results.items()}
        chosen.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
