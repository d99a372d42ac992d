"""`a2d calibrate`: a bundle to one with quantized precisions. Needs no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...engines.errors import BundleError
from ...engines.install import extra
from ...runtime.bundle.files import Bundle
from ...runtime.cli.arguments import Parser, add_bundle, add_options, guarded, options_from, teller
from ..exported import SHOTS
from ..quantize.recipes import known, recipes
from .data_flags import add_data_flags

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    interrupted = "interrupted; the same command goes on from what was recorded"
    return guarded("a2d calibrate", lambda: _calibrate(_parser().parse_args(argv)), interrupted)


def _parser() -> Parser:
    parser = Parser(
        prog="a2d calibrate",
        description="Quantize a bundle, with scales from its own decode loop on your data.",
        epilog=f"precisions:\n{known()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_bundle(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="bundle to write")
    parser.add_argument(
        "--precision", required=True, metavar="NAMES", help="precisions to make, by comma: int8, fp8, ..."
    )
    add_data_flags(parser)
    parser.add_argument("--merge", metavar="NAME", help="how strata become one scale; default: the recipe's")
    parser.add_argument(
        "--strata",
        metavar="NAME",
        default="all",
        help="rows that scales come from: all, or prefill, the prompt's rows alone (all)",
    )
    parser.add_argument("--target", metavar="NAME", default="cpu", help="target that must be able to run it (cpu)")
    parser.add_argument("--force", action="store_true", help="replace a bundle that exists")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    add_options(parser)
    return parser


def _calibrate(arguments: argparse.Namespace) -> int:
    if Bundle.open(arguments.bundle).manifest.film is not None:
        return _calibrate_film(arguments)
    chosen = recipes(arguments.precision)
    try:
        from ..job import Job, calibrate  # noqa: PLC0415 - a device verifies without onnx
    except ImportError as error:
        raise BundleError(f"calibrating needs more than running: {error}. {extra('calibrate')}") from error
    options = options_from(arguments)
    job = Job(
        bundle=arguments.bundle,
        output=arguments.output,
        recipes=chosen,
        data=arguments.data,
        prompt=arguments.prompt,
        samples=arguments.samples,
        seed=options.seed,
        options=options,
        capped=arguments.max_tokens is None,
        merge=arguments.merge,
        strata=arguments.strata,
        target=arguments.target,
        force=arguments.force,
        quiet=arguments.quiet,
    )
    calibrate(job, teller(arguments.quiet))
    return 0


def _calibrate_film(arguments: argparse.Namespace) -> int:
    """Calibrate a bundle that films; its samples are shots."""
    try:
        from ..film.job import FilmJob, calibrate_film  # noqa: PLC0415 - as above
    except ImportError as error:
        raise BundleError(f"calibrating needs more than running: {error}. {extra('calibrate')}") from error
    job = FilmJob(
        bundle=arguments.bundle,
        output=arguments.output,
        precisions=tuple(name.strip() for name in arguments.precision.split(",") if name.strip()),
        data=arguments.data,
        shots=min(arguments.samples, SHOTS),
        force=arguments.force,
        quiet=arguments.quiet,
    )
    calibrate_film(job, teller(arguments.quiet))
    return 0
