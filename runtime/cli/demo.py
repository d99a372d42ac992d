"""`a2d demo`: slates that the built-in reader has never seen, read while their blocks fill in, against the truth; and
three shots of a list, filmed by the built-in animatic.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...engines.cpu import this_cpu
from ...engines.errors import RequestError
from ...engines.paths import written_whole
from ...engines.probe.machine import processor
from ..bundle.files import Bundle
from ..bundle.names import FRAMES, SHOTS, located
from ..console.lines import size
from ..dailies.shot_list import shot_list
from ..demo.films import Filmed, curve, filmed
from ..demo.page import Facts, Frame, Row, by_set, render
from ..demo.ways import Way, entries, frames, measure, rows, several, ways
from ..load import load
from ..model import Model
from .arguments import Parser, guarded
from .live_block import BlockView

__all__ = ["main"]

THRESHOLD = 0.9
"""The way that is shown: as many whole slates are right as at one token a forward (examples/slate/README.md)."""

NEXT = """next: a2d run slate --image YOUR_FRAME.png     a frame of your own, the board filling the picture
      a2d film animatic --prompt "wide, dusk, two figures walk left, slow push in" -o shot.mp4
      a2d log YOUR_CLIPS -o shots              slates of footage, as files for editing systems
      a2d inspect slate                        what the bundle holds"""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    return guarded("a2d demo", lambda: _demo(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser = Parser(
        prog="a2d demo",
        description="Read slates with the built-in model, compare with the truth, measure several ways of decoding; "
        "film three shots of a list; and write all of it as a page.",
    )
    parser.add_argument("--bundle", type=located, default="slate", help="bundle that reads slates (slate, built-in)")
    parser.add_argument(
        "--frames",
        type=Path,
        default=FRAMES,
        metavar="DIR",
        help="folder of frames with truth.json (the built-in frames)",
    )
    parser.add_argument("--film", type=_filming, default="animatic", metavar="BUNDLE",
                        help="bundle that films (animatic, built-in); none leaves films out")  # fmt: skip
    parser.add_argument(
        "--shots", type=Path, default=SHOTS, metavar="FILE", help="list of shots to film (the built-in list)"
    )
    parser.add_argument(
        "--page", type=Path, default=Path("demo.html"), metavar="FILE", help="page to write (demo.html)"
    )
    parser.add_argument("--precision", metavar="NAME", help="one that the bundle holds; default: the best for a CPU")
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD, help=f"threshold of the decode that is shown ({THRESHOLD})"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="times that each decode is measured; the median counts (5)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of one operator (1)")
    parser.add_argument("--pace", type=float, default=0.04, help="seconds to wait after a step, on a terminal (0.04)")
    return parser


def _filming(name: str) -> Path | None:
    return None if name == "none" else Bundle.open(located(name)).path  # not after a minute of reading slates


def _demo(a: argparse.Namespace) -> int:
    if a.repeats < 1:
        raise RequestError(f"--repeats: got {a.repeats}, expected at least 1")
    started = time.monotonic()
    listed = entries(a.frames)
    if not listed:
        raise RequestError(f"{a.frames}: truth.json lists no frames")
    model = load(a.bundle, precision=a.precision, threads=a.threads)
    every = ways(model.manifest.decode.block_size, a.threshold)
    print(f"{len(listed)} frames that the model has not seen; {every['fast'].name} are accepted at once\n")
    quiet = not sys.stderr.isatty()
    paths = [entry.path for entry in listed]
    made = measure(model, paths, every, a.repeats, quiet)
    read = frames(listed, made, several(model, paths, every["fast"], quiet))
    for frame in read:
        _tell(model, frame, every["fast"], a.pace)
    compared = rows(load(a.bundle, precision=a.precision, threads=a.threads), listed, every, made)
    about = _facts(model, read)
    print(_sets(read))
    print("\n".join([*_table(compared, about), "", *_measured(about, a)]))
    films = [] if a.film is None else filmed(load(a.film, threads=a.threads), shot_list(a.shots), quiet)
    print("\n".join(_films(films)))
    a.page.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(a.page) as part:
        part.write_text(render(read, compared, about, films), encoding="utf-8")
    print(f"\n{a.page.resolve()}   open it in a browser   ({time.monotonic() - started:.0f} s in all)")
    print(NEXT)
    return 0


def _facts(model: Model, read: Sequence[Frame]) -> Facts:
    return Facts(
        slates=len(read),
        fields=sum(len(frame.fields) for frame in read),
        block=model.manifest.decode.block_size,
        weights_bytes=model.variant.weights_bytes,
        engine=model.engine("backbone").describe,
        processor=f"{processor()} ({this_cpu().name})",
        precision=model.placement.precision,
        threads=model.placement.threads or 1,
        producer=model.manifest.producer,
    )


def _tell(model: Model, frame: Frame, way: Way, pace: float) -> None:
    """A frame: its blocks filling in on a terminal, the reading against the truth, and what it took."""
    print(frame.path.name)
    if sys.stdout.isatty():
        view = BlockView(sys.stdout, model.text)
        for step in model.stream(images=[frame.path], options=way.options):
            view.show(step)
            time.sleep(pace)  # a step takes milliseconds: too fast to watch
        view.close()
    print("\n".join(_verdict(frame)), end="\n\n")


def _verdict(frame: Frame) -> Iterator[str]:
    wrong = [f"{f.name} {f.read or 'nothing'} for {f.truth}" for f in frame.fields if not f.right]
    fast, slow = frame.fast, frame.slow
    yield f"  read   {fast.text}"
    if not frame.right:
        yield f"  truth  {frame.truth}"
        count = f"{len(frame.fields) - len(wrong)} of {len(frame.fields)} fields right"
        yield f"  {count}; {', '.join(wrong) or 'not exact'}"
    if frame.looks > 1:
        yield f"  in {frame.looks} looks: {frame.voted}{', right' if frame.voted_right else ''}"
    yield (
        f"  {fast.forwards} forwards, {1000 * fast.seconds:.1f} ms; one token a forward: {slow.forwards} forwards, "
        f"{1000 * slow.seconds:.1f} ms, {slow.seconds / fast.seconds:.2f} times as long"
    )


def _sets(read: Sequence[Frame]) -> str:
    sets = by_set(read)
    once = ", ".join(f"{one.name} {one.right} of {one.frames}" for one in sets)
    again = ", ".join(f"{one.name} {one.voted} of {one.frames}" for one in sets)
    foreign = "\n(foreign frames are drawn by a program that training never uses)"
    told = foreign if any(one.name.startswith("foreign") for one in sets) else ""
    return f"whole slates right in one look: {once}\nin several looks, as a2d run takes them: {again}{told}\n"


def _table(compared: Sequence[Row], about: Facts) -> Iterator[str]:
    head = f"{'tokens/forward':>16}{'ms decode':>11}{'speed':>8}{'ms file to text':>17}"
    yield f"{'':<38}{'fields':>9}{'frames':>8}{head}"
    for r in compared:
        right = f"{r.fields}/{about.fields}", f"{r.right}/{about.slates}"
        numbers = f"{r.rate:>16.2f}{r.milliseconds:>11.1f}{r.speed:>7.2f}x{r.whole:>17.1f}"
        yield f"{r.name:<38}{right[0]:>9}{right[1]:>8}{numbers}"


def _measured(about: Facts, a: argparse.Namespace) -> Iterator[str]:
    yield "The same weights in every line. Speed is of decoding; file to text has the picture's part as well."
    yield (
        f"{about.processor}, {about.threads} thread(s), {about.engine}, {about.precision}, "
        f"{size(about.weights_bytes)} of weights, medians of {a.repeats}."
    )


def _films(films: Sequence[Filmed]) -> Iterator[str]:
    """Lines on each shot, and a table of what steps cost."""
    for film in films:
        take = film.shown
        cost = f"{take.steps} steps a block: {take.seconds:.2f} s, {take.forwards} forwards"
        yield f"\n{film.prompt}\n  {take.frames} frames in {cost}"
    if films:
        last = films[0].takes[-1].steps
        yield f"\n{'steps a block':<16}{'s a shot':>10}{f'from {last} steps':>16}"
    for point in curve(films):
        yield f"{point.steps:<16}{point.seconds:>10.2f}{point.distance:>12.1f}/255"
