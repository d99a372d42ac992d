"""The main job, visibly: export the built-in checkpoint, read slates that it has never seen, compare with the truth.

Run it with `make demo`. Prints every reading while its blocks fill in, then what each way of decoding cost, and writes
demo.html. It uses nothing but the public commands and API.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from page import Facts, Frame, Row, fields, render
from reading import Trace, trace
from safetensors import safe_open

import a2d
from a2d.export.cli import main as export
from a2d.runtime.cli.live_block import BlockView
from a2d.runtime.console.progress import Progress

HERE = Path(__file__).parent
THRESHOLD = 0.9
LONGEST = 64
"""Tokens of an answer at most: the longest has 40."""


@dataclass(frozen=True)
class Way:
    """One way to decode."""

    name: str
    options: a2d.Options


def ways(block: int, steps: int) -> dict[str, Way]:
    """What is compared, by key. One token a forward is the same weights with as many steps as a block has tokens."""
    found = {"slow": Way(f"one token a forward ({block} steps per block)", a2d.Options(steps=block))}
    found["fast"] = Way(f"{steps} steps per block", a2d.Options(steps=steps))
    more = [s for s in (block // 2, block // 4) if s and s != steps]
    found |= {str(s): Way(f"{s} steps per block", a2d.Options(steps=s)) for s in more}
    found["threshold"] = Way(f"all tokens above {THRESHOLD}", a2d.Options(threshold=THRESHOLD))
    return {
        key: Way(way.name, a2d.Options(**{**vars(way.options), "max_tokens": LONGEST})) for key, way in found.items()
    }


def show(model: a2d.Model, path: Path, way: Way, pace: float) -> None:
    """Read one frame; the masks fill in on a terminal, or a line a step where there is none."""
    live = sys.stdout.isatty()
    view = BlockView(sys.stdout, model.text) if live else None
    for step in model.stream(images=[path], options=way.options):
        if view is None:
            print(f"    block {step.block} step {step.index}  |{_line(model, step)}|")
        else:
            view.show(step)
            time.sleep(pace)  # a step takes a millisecond: too fast to watch
    if view is not None:
        view.close()


def _line(model: a2d.Model, step: a2d.Step) -> str:
    stops = model.manifest.decode.stop_token_ids
    shown = [
        "__" if hidden else "" if token in stops else model.detokenize([int(token)])
        for token, hidden in zip(step.tokens, step.masked, strict=True)
    ]
    return "".join(shown)


def measure(model: a2d.Model, paths: Sequence[Path], every: Mapping[str, Way], repeats: int) -> dict[str, list[Trace]]:
    """Each frame in each way, in turn, so that all ways meet the same machine; of the repeats, the median one."""
    prompts = [model.prompt(images=[path]) for path in paths]
    for way in every.values():
        trace(model, prompts[0], way.options, _unseen)  # buffers and caches are warm then
    made: dict[str, list[Trace]] = {key: [] for key in every}
    with Progress("measuring", len(paths) * repeats, "rounds", quiet=not sys.stderr.isatty()) as progress:
        for prompt in prompts:
            runs: dict[str, list[Trace]] = {key: [] for key in every}
            for _ in range(repeats):
                for key, way in every.items():
                    runs[key].append(trace(model, prompt, way.options, _unseen))
                progress.add()
            for key, some in runs.items():
                made[key].append(sorted(some, key=lambda run: run.seconds)[repeats // 2])
    return made


def _unseen(_: a2d.Step) -> None:
    pass


def whole_frame(model: a2d.Model, paths: Sequence[Path], way: Way) -> float:
    """Milliseconds for a frame from its file to its text, the median over the frames.

    `model` has seen none of them: it remembers the features of the last pictures. The first one, which meets cold
    buffers, does not count.
    """
    return 1000 * statistics.median([reading.seconds for reading in model.each(paths, options=way.options)][1:])


def row(way: Way, key: str, traces: Sequence[Trace], slow: Sequence[Trace], truths: Sequence[str]) -> Row:
    """One way over all frames."""
    spent = sum(t.seconds for t in traces)
    return Row(
        name=way.name,
        chosen=key == "fast",
        right=sum(t.text == truth for t, truth in zip(traces, truths, strict=True)),
        fields=sum(f.right for t, truth in zip(traces, truths, strict=True) for f in fields(truth, t.text)),
        rate=sum(t.useful for t in traces) / sum(t.forwards for t in traces),
        milliseconds=1000 * spent / len(traces),
        speed=sum(t.seconds for t in slow) / spent,
    )


def parameters(checkpoint: Path) -> int:
    """Numbers in a checkpoint's weights."""
    with safe_open(checkpoint / "model.safetensors", "np") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - it is no dict


def facts(
    model: a2d.Model, checkpoint: Path, frames: Sequence[Frame], steps: int, threads: int, frame_milliseconds: float
) -> Facts:
    """What the page says of the model and the machine."""
    manifest = model.manifest
    return Facts(
        slates=len(frames),
        fields=sum(len(frame.fields) for frame in frames),
        steps=steps,
        block=manifest.decode.block_size,
        frame_milliseconds=frame_milliseconds,
        parameters=parameters(checkpoint),
        bundle_bytes=sum(record.bytes for record in manifest.files.values()),
        engine=model.engine("backbone").describe,
        precision=model.placement.precision,
        threads=threads,
        version=a2d.__version__,
    )


def verdict(frame: Frame) -> str:
    """Read against truth, a line each, what differs, and what one token a forward would have cost."""
    wrong = [f"{f.name} {f.read or 'nothing'} for {f.truth}" for f in frame.fields if not f.right]
    said = "right" if frame.right else f"wrong: {', '.join(wrong) or 'as above'}"
    fast, slow = frame.fast, frame.slow
    cost = f"  {fast.forwards} forwards, {1000 * fast.seconds:.1f} ms; one token a forward: {slow.forwards} forwards, "
    cost += f"{1000 * slow.seconds:.1f} ms, {slow.seconds / fast.seconds:.2f} times as long"
    return f"  read   {frame.fast.text}\n  truth  {frame.truth}\n  {said}\n{cost}\n"


def table(rows: Sequence[Row], made: Facts) -> str:
    """The ways side by side."""
    lines = [f"{'':<38}{'slates':>8}{'fields':>9}{'tokens/forward':>16}{'ms':>8}{'speed':>8}"]
    for r in rows:
        right = f"{r.right}/{made.slates}", f"{r.fields}/{made.fields}"
        lines.append(f"{r.name:<38}{right[0]:>8}{right[1]:>9}{r.rate:>16.2f}{r.milliseconds:>8.1f}{r.speed:>7.2f}x")
    return "\n".join(lines)


def main(arguments: list[str] | None = None, clock: Callable[[], float] = time.monotonic) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=HERE / "model")
    parser.add_argument("--frames", type=Path, default=HERE / "frames", help="a folder with truth.json")
    parser.add_argument("--bundle", type=Path, default=Path("build/slate.a2d"))
    parser.add_argument("--page", type=Path, default=Path("demo.html"))
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5, help="of every measured decode; the median counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pace", type=float, default=0.04, help="seconds to wait after a step, on a terminal")
    chosen = parser.parse_args(arguments)
    started = clock()
    status = export([str(chosen.checkpoint), "-o", str(chosen.bundle), "--precision", "fp32", "--force"])
    if status:
        return status
    model = a2d.load(chosen.bundle, threads=chosen.threads)
    entries = json.loads((chosen.frames / "truth.json").read_text(encoding="utf-8"))
    paths, truths = [chosen.frames / e["file"] for e in entries], [e["truth"] for e in entries]
    every = ways(model.manifest.decode.block_size, chosen.steps)

    print(
        f"\n{len(paths)} frames of no training run, {every['fast'].name} of {model.manifest.decode.block_size} tokens\n"
    )
    made = measure(model, paths, every, chosen.repeats)
    frames = [
        Frame(path, entry["set"], entry["truth"], fast, slow)
        for path, entry, fast, slow in zip(paths, entries, made["fast"], made["slow"], strict=True)
    ]
    for number, frame in enumerate(frames):
        print(f"{frame.path.name}")
        if sys.stdout.isatty() or not number:
            show(model, frame.path, every["fast"], chosen.pace)
        print(verdict(frame))
    spent = whole_frame(a2d.load(chosen.bundle, threads=chosen.threads), paths, every["fast"])
    about = facts(model, chosen.checkpoint, frames, chosen.steps, chosen.threads, spent)
    rows = [row(way, key, made[key], made["slow"], truths) for key, way in every.items()]
    print(table(rows, about))
    print(
        f"\nThe same weights in every line; ms and speed are of decoding. A frame, file to text: {spent:.0f} ms.\n"
        f"Measured here, {about.engine}, {about.precision}, {about.threads} thread(s), medians of {chosen.repeats}."
    )
    write(chosen.page, render(frames, rows, about))
    print(f"\n{chosen.page.resolve()}   open it in a browser   ({clock() - started:.0f} s in all)")
    return 0


def write(path: Path, text: str) -> None:
    """The file, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
