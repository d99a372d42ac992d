"""`a2d log`: footage to a log of its shots, with what a bundle reads on each: slates, or captions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeAlias

from ...engines.errors import RequestError
from ..bundle.names import located
from ..console.lines import one_line
from ..footage.clip import Clip
from ..footage.files import RAW, empty_folders
from ..footage.sampling import CAPTIONS, SLATES, Sampling
from ..footage.shots import DETECTORS
from ..footage.slate import MIN_CONFIDENCE
from ..footage.writers import WRITERS
from ..log import LogJob, Outcome, Reads, here, log
from ..schema import Violations, check
from .arguments import BAD_INPUT, Parser, add_options, guarded, options_from, teller

__all__ = ["main"]

SlateReader: TypeAlias = Callable[[bool], Path | None]
"""Function that gives the bundle of the built-in slate reader, quietly or not; None where it cannot be made."""

NAMED = 12
"""Names that a line lists at most."""

INTERRUPTED = "interrupted. What has been read is kept: the same command goes on from there"


def main(argv: list[str], slate: SlateReader = lambda _: None) -> int:
    """Run the command; returns the exit status. `slate` gives the bundle that reads where none is named."""
    return guarded("a2d log", lambda: _run(_parser().parse_args(argv), slate), INTERRUPTED)


def _parser() -> Parser:
    parser = Parser(
        prog="a2d log",
        usage="a2d log FOOTAGE... -o OUT [--bundle BUNDLE] [--prompt TEXT] [...]",
        description="Find the shots of clips, read frames of each with a bundle, and write the log as "
        + ", ".join(f"OUT{suffix}" for suffix in WRITERS)
        + ". Without --prompt it looks for slates. The footage is opened for reading only. A second run "
        "reads what is new; OUT.state remembers the rest.",
        epilog="Exit status: 0 done; 1 the machine failed; 2 bad input, or a clip could not be read (the others were); "
        "130 interrupted.",
    )
    parser.add_argument("footage", nargs="+", type=Path, metavar="FOOTAGE", help="clips, and folders with clips")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT", help="name of the files to write, without an ending"
    )
    parser.add_argument("--bundle", type=located, help="bundle that reads; default: the built-in slate reader")
    parser.add_argument("--prompt", help="ask this of every frame, for a caption of each shot")
    parser.add_argument("--precision", help="one that the bundle holds; default: the best for this machine")
    parser.add_argument("--threads", type=int, help="threads of one operator; default: all physical cores")
    parser.add_argument(
        "--on",
        metavar="WHERE",
        help="read the clips on a Ray cluster: ray for the one that runs here (or RAY_ADDRESS), or ray://HEAD; "
        "footage and bundle lie at the same paths on its nodes",
    )
    parser.add_argument("--decoders", type=int, default=2, help="clips that are decoded at the same time (2)")
    parser.add_argument(
        "--together", type=int, default=1, metavar="N", help="with --prompt, frames that are read side by side (1)"
    )
    parser.add_argument("--again", action="store_true", help="read all clips again, known ones too")
    parser.add_argument("--force", action="store_true", help="replace files that a2d log has not written")
    parser.add_argument("--quiet", action="store_true", help="print no line for each clip, and no progress")
    parser.add_argument(
        "--min-confidence",
        type=float,
        metavar="P",
        help="a scene or take read less surely names no shot, and what is unsure is marked ? "
        f"({MIN_CONFIDENCE} for slates, 0 with --prompt)",
    )
    looking = parser.add_argument_group("shots and frames", "defaults in brackets: for slates, and with --prompt")
    ways = "; ".join(f"{name}: {what}" for name, what in DETECTORS.meanings.items())
    looking.add_argument("--detector", choices=list(DETECTORS), help=f"how shots are found. {ways} (adaptive)")
    looking.add_argument("--shortest", type=float, metavar="SECONDS", help="shortest length of a shot (0.3)")
    looking.add_argument("--frames", dest="per_shot", type=int, metavar="N", help="frames read of each shot (3, 1)")
    looking.add_argument(
        "--looks",
        type=int,
        metavar="N",
        help="looks at a frame with an unsure slate: all of it, then windows and parts (5, 1)",
    )
    looking.add_argument(
        "--head",
        type=float,
        metavar="SECONDS",
        help="length of a clip's beginning in which more frames are read (12, 0)",
    )
    looking.add_argument("--tail", type=float, metavar="SECONDS", help="the same for its end (12, 0)")
    looking.add_argument("--every", type=float, metavar="SECONDS", help="distance of frames in --head and --tail (0.5)")
    add_options(parser)
    return parser


def _run(arguments: argparse.Namespace, slate: SlateReader) -> int:
    if arguments.decoders < 1:
        raise RequestError(f"--decoders: got {arguments.decoders}, expected at least 1")
    job = LogJob(
        sources=arguments.footage,
        target=arguments.out,
        bundle=arguments.bundle or _built_in(slate(arguments.quiet)),
        sampling=_sampling(arguments),
        prompt=arguments.prompt,
        options=options_from(arguments),
        least=_least(arguments),
        precision=arguments.precision,
        threads=arguments.threads,
        decoders=arguments.decoders,
        together=arguments.together,
        force=arguments.force,
        again=arguments.again,
        quiet=arguments.quiet,
    )
    return _tell(job, log(job, teller(arguments.quiet), _reads(arguments.on)), arguments.quiet)


def _reads(on: str | None) -> Reads:
    """The machines that read the clips. Raises RequestError where they cannot be had."""
    if on is None:
        return here
    from ..farm.clips import many_machines  # noqa: PLC0415 - one machine loads nothing of a farm
    from ..farm.pool import connect  # noqa: PLC0415

    connect(on)
    return many_machines()


def _least(arguments: argparse.Namespace) -> float:
    least: float | None = arguments.min_confidence
    if least is None:
        return MIN_CONFIDENCE if arguments.prompt is None else 0.0
    if not 0 <= least <= 1:
        raise RequestError(f"--min-confidence: got {least}, expected 0 to 1")
    return least


def _sampling(arguments: argparse.Namespace) -> Sampling:
    start = SLATES if arguments.prompt is None else CAPTIONS
    chosen = {f.name: v for f in fields(Sampling) if (v := getattr(arguments, f.name)) is not None}
    try:
        check(sampling := replace(start, **chosen))
    except Violations as error:
        raise RequestError(f"how footage is looked at:\n{error}") from error
    return sampling


def _built_in(path: Path | None) -> Path:
    """The bundle of the built-in slate reader. Raises RequestError where it cannot be had."""
    if path is None:
        raise RequestError(
            "no --bundle, and the built-in slate reader is not on this machine: a wheel holds it; export it where "
            "a2d's source and torch are (make build/slate.a2d) and name it: --bundle slate.a2d"
        )
    return path


def _passed_over(clips: Sequence[Clip]) -> Iterator[str]:
    """A line for each kind of files that are no clips, with their names."""
    raw = [clip for clip in clips if Path(clip.file).suffix.lower() in RAW]
    sound = [clip for clip in clips if clip not in raw]
    for found, what in ((sound, "hold sound alone"), (raw, "are camera raw, which is not read: make proxies")):
        if found:
            names = ", ".join(one_line(Path(clip.file).name) for clip in found[:NAMED])
            more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
            yield f"{len(found)} files {what}: {names}{more}"


def _tell(job: LogJob, outcome: Outcome, quiet: bool) -> int:
    say, totals = teller(quiet), outcome.totals
    bad = f", {len(totals.faults)} not readable" if totals.faults else ""
    counted = f"{totals.shots} shots, {totals.slates} slates{totals.doubts}"
    say(f"{totals.clips} clips, {outcome.read} of them new{bad}: {counted}")
    say(
        "\n".join(map(one_line, map(str, outcome.changed))) or f"nothing has changed in {one_line(str(job.file('.*')))}"
    )
    for folder in empty_folders(job.sources):
        print(f"a2d log: {one_line(str(folder))}: no footage in it", file=sys.stderr)
    for line in _passed_over(totals.passed_over):
        print(f"a2d log: {line}", file=sys.stderr)
    for clip in totals.faults:
        print(f"a2d log: {clip.fault}", file=sys.stderr)
    if not totals.faults:
        return 0 if totals.clips else BAD_INPUT
    print(f"a2d log: {len(totals.faults)} of {totals.clips} clips could not be read", file=sys.stderr)
    return BAD_INPUT
