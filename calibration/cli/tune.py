"""`a2d tune`: accuracy against time on your data, as a curve, and the defaults of choice in the bundle's profile."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...engines.cpu import this_cpu
from ...engines.errors import RequestError
from ...runtime.bundle.files import MANIFEST, sha256_of
from ...runtime.bundle.profile import PROFILE, Profile, write_profile
from ...runtime.cli.arguments import (
    Parser,
    add_bundle,
    add_options,
    add_placement,
    guarded,
    options_from,
    placement_from,
    worded,
)
from ...runtime.decode.options import plan
from ...runtime.load import load_placed
from ...runtime.model import Model
from ..collect import samples
from ..tune.choice import chosen, lines, to_json
from ..tune.page import Page
from ..tune.sweep import Curve, Point, settings, swept
from .data_flags import add_data_flags

__all__ = ["main"]

INTERRUPTED = 130


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status: 130 where it was interrupted, with the curve so far."""
    return guarded("a2d tune", lambda: _tune(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser = Parser(
        prog="a2d tune",
        description="Decode samples under several steps and thresholds, draw accuracy against time, and write the "
        f"fastest setting that is as accurate as the best into the bundle's {PROFILE}, which is used from then on "
        "wherever nobody asks otherwise. A sample is right where its answer is its truth; without truths, where it is "
        "the answer of one token a step.",
        epilog="Ctrl-C ends it with the curve so far, and writes no profile. Exit status: 0 done; 1 the machine "
        "failed; 2 bad input; 130 interrupted.",
    )
    add_bundle(parser)
    add_data_flags(parser)
    parser.add_argument(
        "--try-steps",
        type=_numbers(int),
        default=(),
        metavar="N,...",
        help="steps to try, as 1,2,4; default: the block size, halved down to 1",
    )
    parser.add_argument(
        "--try-thresholds",
        type=_numbers(float),
        default=(),
        metavar="P,...",
        help="thresholds to try, as 0.7,0.9; default: six from 0.5 to 0.99",
    )
    parser.add_argument(
        "--within", type=float, default=0.0, metavar="SHARE", help="accuracy that may be given up for speed (0)"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write the curve as a page (.html) or as JSON")
    parser.add_argument("--dry-run", action="store_true", help="draw the curve, and write no profile")
    parser.add_argument("--reset", action="store_true", help="remove the profile: the bundle's own defaults hold again")
    parser.add_argument("--threads", type=int, help="threads of one operator; default: all physical cores")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_placement(parser)
    add_options(parser)
    return parser


def _tune(arguments: argparse.Namespace) -> int:
    if arguments.reset:
        return _reset(arguments)
    if not 0 <= arguments.within <= 1:
        raise RequestError(f"--within: got {arguments.within}, expected 0 to 1")
    for name in ("steps", "threshold", "budget"):
        if getattr(arguments, name) is not None:
            raise RequestError(
                f"--{name}: this is what is chosen here; name what to try with --try-steps, --try-thresholds"
            )
    model, options = load_placed(arguments.bundle, placement_from(arguments)), options_from(arguments)
    made = plan(model.manifest.decode, options)
    tried = settings(made.block, arguments.try_steps, arguments.try_thresholds)
    data = _data(arguments, model, options.seed)
    curve = swept(model, data, options, tried, arguments.json)
    if not curve.samples:
        raise KeyboardInterrupt
    taken = chosen(curve, arguments.within)
    profile = _profile(model, curve, taken, data, str(arguments.data or "built-in samples"))
    _show(arguments, model, curve, taken, profile)
    if curve.interrupted:
        return INTERRUPTED
    if not arguments.dry_run:
        path = write_profile(model.bundle.path, profile)
        if not arguments.json:
            print(f"{path}: {taken.setting.name}, used from now on where nobody asks otherwise; --reset removes it")
    return 0


def _show(arguments: argparse.Namespace, model: Model, curve: Curve, taken: Point, profile: Profile) -> None:
    found = {"bundle": model.manifest.name, "engine": model.engine("backbone").describe, **to_json(curve, taken)}
    title = f"{model.manifest.name} {model.placement.precision}: accuracy against time"
    origin = f"{curve.samples} samples of {profile.data}, {profile.made}, {found['engine']}"
    if arguments.json:
        print(json.dumps(found))
    else:
        cut = ", interrupted: the samples so far, and no profile" if curve.interrupted else ""
        print("\n".join([f"{title} ({origin}{cut})", *lines(curve, taken)]))
        if curve.left_out:
            print(f"{len(curve.left_out)} samples do not fit the context and were left out")
    if arguments.report is not None:
        page = arguments.report.suffix.lower() != ".json"
        text = Page(title, curve, taken, (origin,)).html() if page else json.dumps(found, indent=1) + "\n"
        arguments.report.write_text(text, encoding="utf-8")


def _profile(model: Model, curve: Curve, taken: Point, data: samples.Data, name: str) -> Profile:
    """The profile of the setting that is taken."""
    return Profile(
        manifest=sha256_of(model.bundle.path / MANIFEST),
        steps=taken.setting.steps,
        threshold=taken.setting.threshold,
        right=curve.measure,
        accuracy=taken.accuracy,
        best_accuracy=max(point.accuracy for point in curve.points),
        seconds=taken.median,
        slowest_seconds=curve.points[0].median,
        samples=curve.samples,
        data=Path(name).name,
        digest=data.digest,
        precision=model.placement.precision,
        machine=this_cpu().name,
        made=time.strftime("%Y-%m-%d"),
    )


def _reset(arguments: argparse.Namespace) -> int:
    path: Path = arguments.bundle / PROFILE
    there = path.is_file()
    path.unlink(missing_ok=True)
    print(f"{path}: {'removed' if there else 'there was none'}")
    return 0


def _data(arguments: argparse.Namespace, model: Model, seed: int) -> samples.Data:
    data = samples.chosen(model, arguments.data, arguments.prompt, arguments.samples, seed)
    for note in data.notes:
        if not arguments.json:
            print(worded(note))
    return replace(data, notes=())


def _numbers(kind: type[Any]) -> Callable[[str], tuple[Any, ...]]:
    """Function that reads `1,2,4`."""

    def numbers(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers by comma, as 1,2,4") from error

    return numbers
