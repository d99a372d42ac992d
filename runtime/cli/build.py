"""`a2d build`: engines of a bundle for TensorRT or TensorRT-RTX, ahead of time where the library allows it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ...engines.targets import TARGETS
from ...engines.tensorrt.sidecar import Card
from ..deploy.build import BuildJob, build, summary
from ..deploy.engine_set import EngineSet
from .arguments import Parser, add_bundle, compute_capabilities, frame_size, guarded, teller

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    return guarded("a2d build", lambda: _build(_parser().parse_args(argv)), "interrupted; nothing half built was left")


def _parser() -> Parser:
    rows = "\n".join(f"  {t.name:<12} {t.what}" for t in TARGETS.values() if t.sms)
    parser = Parser(
        prog="a2d build",
        description="Build a bundle's engines. A set that is there and fits is not built again.",
        epilog=f"targets:\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_bundle(parser)
    parser.add_argument("--target", required=True, metavar="NAME", help="the kind of machine, from the table below")
    parser.add_argument(
        "--sm", type=compute_capabilities, default=(), metavar="LIST", help="compute capabilities, as 86,89,120"
    )
    parser.add_argument(
        "--precision", default="auto", metavar="NAME", help="fp16, int8, fp8 or fp32; auto: the best for each GPU"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: engines in the bundle")
    parser.add_argument("--context", type=int, metavar="ROWS", help="longest conversation; default: up to 8192")
    parser.add_argument("--block-size", type=int, metavar="ROWS", help="largest block; default: the bundle's")
    parser.add_argument(
        "--size", type=frame_size, metavar="HxW", help="height and width of clips, for a bundle that films"
    )
    parser.add_argument("--force", action="store_true", help="build although a set that fits is there")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="one JSON object per engine")
    return parser


def _build(arguments: argparse.Namespace) -> int:
    job = BuildJob(
        bundle=arguments.bundle,
        target=arguments.target,
        sms=arguments.sm,
        precision=arguments.precision,
        output=arguments.output,
        context=arguments.context,
        block_size=arguments.block_size,
        size=arguments.size,
        force=arguments.force,
        quiet=arguments.quiet or arguments.json,
    )
    say = teller(job.quiet)
    for built, cards in build(job, say):
        for line in summary(built, cards):
            say(line)
        for graph, card in cards.items() if arguments.json else ():
            print(json.dumps(_facts(built, graph, card)), flush=True)
    return 0


def _facts(built: EngineSet, graph: str, card: Card) -> dict[str, Any]:
    return {
        "graph": graph,
        "path": str(built.file(graph)),
        "library": card.library,
        "version": card.version,
        "sm": list(card.sms),
        "precision": built.record.precision,
        "bytes": built.record.files[f"{graph}.engine"].bytes,
        "seconds": round(card.seconds, 3),
        "layers": card.layers,
        "products": card.products,
    }
