"""`a2d plan`: how much memory a bundle will take on a target, whether it fits, and what to lower if not."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from ...engines.errors import RequestError
from ...engines.probe.machine import facts
from ...engines.targets import TARGETS, Target, require
from ..bundle.files import Bundle
from ..console.lines import size
from ..deploy.film_fit import FilmPlan, film_plan
from ..deploy.memory_fit import GIB, MemoryPlan, Question, planned
from ..deploy.towers_memory import TowersEstimate
from ..film.options import FilmOptions
from ..schema import to_json
from .arguments import Parser, add_bundle, compute_capabilities, frame_size, guarded, worded

__all__ = ["main"]

DOES_NOT_FIT = 1


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status: 0 it fits, 1 it does not, 2 bad input."""
    return guarded("a2d plan", lambda: _plan(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser = Parser(
        prog="a2d plan",
        description="Memory of a bundle on a target, before anything is built. Status 1 where it does not fit.",
        epilog="targets: " + "; ".join(f"{target.name}: {target.what}" for target in TARGETS.values()),
    )
    add_bundle(parser)
    parser.add_argument("--target", required=True, metavar="NAME", help="the kind of machine, from the table below")
    parser.add_argument(
        "--sm", type=compute_capabilities, default=(), metavar="LIST", help="compute capabilities, as 86,89,120"
    )
    parser.add_argument("--precision", metavar="NAME", help="default: the best that can be had of the bundle")
    parser.add_argument("--context", type=int, metavar="ROWS", help="longest conversation, or prompt of a film")
    parser.add_argument("--block-size", type=int, metavar="ROWS", help="largest block; default: the bundle's")
    parser.add_argument(
        "--sessions", type=int, metavar="N", help="conversations side by side, each with so much context (1)"
    )
    parser.add_argument("--sampling", action="store_true", help="count the graph that temperatures need as well")
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="memory of the device in GiB; default: this machine's if it is the target, else all sizes that are sold",
    )
    film = parser.add_argument_group("bundles that film")
    film.add_argument("--size", type=frame_size, metavar="HxW", help="pixels; default: the bundle's")
    film.add_argument("--frames", type=int, metavar="N", help="length of the clip; default: the bundle's")
    film.add_argument("--preset", metavar="NAME", help="a row of the bundle's table; a2d inspect prints it")
    film.add_argument("--window", type=int, metavar="N", help="latent frames that a block sees; 0 is all")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _plan(arguments: argparse.Namespace) -> int:
    bundle = Bundle.open(arguments.bundle)
    target = require(arguments.target, TARGETS[arguments.target].precisions[0] if arguments.target in TARGETS else "")
    if bundle.manifest.film is not None:
        return _film(bundle, target, arguments)
    made = planned(
        Question(bundle, target, _memories(arguments.memory, target), arguments.sampling),
        precision=arguments.precision,
        sms=arguments.sm,
        context=arguments.context,
        block=arguments.block_size,
        sessions=arguments.sessions,
    )
    print(json.dumps(found(bundle, made), indent=1) if arguments.json else "\n".join(lines(bundle, made)))
    return 0 if made.fits else DOES_NOT_FIT


def _film(bundle: Bundle, target: Target, arguments: argparse.Namespace) -> int:
    """The plan of a clip."""
    if arguments.sessions is not None:
        raise RequestError("--sessions: a bundle that films makes one clip at a time; leave it out")
    height, width = arguments.size or (None, None)
    options = FilmOptions(
        frames=arguments.frames, height=height, width=width, window=arguments.window, preset=arguments.preset
    )
    question = Question(bundle, target, _memories(arguments.memory, target))
    made = film_plan(question, options, arguments.precision, arguments.sm, arguments.context)
    print(json.dumps(_film_found(bundle, made), indent=1) if arguments.json else "\n".join(_film_lines(bundle, made)))
    return 0 if made.fits else DOES_NOT_FIT


def _film_found(bundle: Bundle, plan: FilmPlan) -> dict[str, Any]:
    """The plan of a clip as one JSON object."""
    e, c = plan.estimate, plan.clip
    parts = {f"{name}_bytes": value for name, value in to_json(e).items() if isinstance(value, int | dict)}
    return {
        **_asked(bundle, plan),
        "clip": {
            "frames": c.frames,
            "height": c.height,
            "width": c.width,
            "window": c.window.frames,
            "sink": c.window.sink,
            "preset": c.options.preset,
        },
        **{name: value for name, value in parts.items() if name not in ("fused_bytes", "apart_bytes")},
        "scores_counted": not e.fused,
        **{f"{name}_bytes": count for name, count in e.stages.items()},
        **({"resident_bytes": e.resident} if isinstance(e, TowersEstimate) else {}),
        "peak_bytes": e.peak,
        **_judged(plan),
    }


def _film_lines(bundle: Bundle, plan: FilmPlan) -> Iterator[str]:
    """The plan of a clip for people."""
    e, c = plan.estimate, plan.clip
    yield _title(bundle, plan)
    seen = "all" if c.window.frames is None else f"{c.window.frames} latent frames"
    steps = f"{len(c.first)} steps" if bundle.manifest.film and bundle.manifest.film.towers else f"a block sees {seen}"
    preset = f"preset {c.options.preset}: " if c.options.preset else ""
    yield f"{preset}{c.frames} frames of {c.height}x{c.width}; {steps}"
    yield from _table(e.rows(), plan)


def _memories(asked: float | None, target: Target) -> tuple[int, ...]:
    """Bytes of the memories to look at."""
    if asked is not None:
        if not 0 < asked < 1 << 20:
            raise RequestError(f"--memory: got {asked}, expected GB above 0")
        return (int(asked * GIB),)
    here = facts()
    if not target.sms:
        if here.memory_bytes is None:
            raise RequestError("this system does not tell how much memory it has: give --memory GB")
        return (here.memory_bytes,)
    jetson = here.jetson is not None
    if here.gpu is not None and here.sm in target.sms and jetson == target.unified:
        return ((here.memory_bytes if here.unified else None) or here.gpu.memory_bytes,)
    return tuple(size * GIB for size in target.memories)


def found(bundle: Bundle, plan: MemoryPlan) -> dict[str, Any]:
    """The plan as one JSON object."""
    e = plan.estimate
    return {
        **_asked(bundle, plan),
        "sizes": to_json(plan.sizes) | {"widest": plan.sizes.widest},
        "weights_bytes": sum(e.weights.values()),
        "weights_bytes_by_graph": e.weights,
        "cache_bytes": e.cache,
        "cache_bytes_per_1k_tokens": e.cache_per_1k,
        "activations_bytes": sum(e.activations.values()),
        "activations_bytes_by_graph": e.activations,
        "workspace_bytes": e.workspace,
        "process_bytes": e.process,
        "load_bytes": e.load,
        "total_bytes": e.total,
        "peak_bytes": e.peak,
        **_judged(plan),
    }


def lines(bundle: Bundle, plan: MemoryPlan) -> Iterator[str]:
    """The plan for people."""
    e, s = plan.estimate, plan.sizes
    yield _title(bundle, plan)
    many = f"{s.sessions} sessions of " if s.sessions > 1 else ""
    yield f"{many}{s.context} rows of context, blocks of {s.block}, {s.widest} rows in the widest forward"
    rows = [
        ("weights", sum(e.weights.values()), _shares(e.weights)),
        ("cache", e.cache, f"{size(e.cache_per_1k)} for 1000 tokens"),
        ("activations", sum(e.activations.values()), _shares(e.activations)),
        ("workspace", e.workspace, ""),
        ("process", e.process, "in the host's memory, not in the sums" if e.apart else ""),
        ("loading", e.load, "for a moment, in the host's memory" if e.apart else "for a moment, beside the weights"),
        ("in all", e.total, "while decoding, at the end of the context"),
        ("at most", e.peak, ""),
    ]
    yield from _table(rows, plan)


def _asked(bundle: Bundle, plan: MemoryPlan | FilmPlan) -> dict[str, Any]:
    """The beginning of every plan in JSON."""
    return {
        "bundle": bundle.manifest.name,
        "target": plan.target,
        "precision": plan.precision,
        "variant": plan.variant,
        "to_be_made": plan.to_be_made,
    }


def _judged(plan: MemoryPlan | FilmPlan) -> dict[str, Any]:
    """The end of every plan in JSON."""
    return {
        "memories": to_json(plan.memories),
        "fits": plan.fits,
        "lower": [worded(change) for change in plan.lower],
    }


def _title(bundle: Bundle, plan: MemoryPlan | FilmPlan) -> str:
    made = f", estimated from {plan.variant}: the bundle has no {plan.precision} yet" if plan.to_be_made else ""
    return f"{bundle.manifest.name}, {plan.precision} on {plan.target}{made}"


def _table(rows: list[tuple[str, int, str]], plan: MemoryPlan | FilmPlan) -> Iterator[str]:
    """Parts with their sizes, where they fit, and what would make them fit."""
    yield from (f"  {name:<12}{size(count):>10}  {note}".rstrip() for name, count, note in rows)
    yield from (_verdict(plan, fits) for fits in (True, False) if any(m.fits == fits for m in plan.memories))
    yield from (f"to make it fit: {worded(change)}" for change in plan.lower)


def _verdict(plan: MemoryPlan | FilmPlan, fits: bool) -> str:
    those = [memory for memory in plan.memories if memory.fits == fits]
    sizes = ", ".join(f"{memory.bytes / GIB:.4g}" for memory in those)
    share = those[0].usable_bytes / those[0].bytes
    return f"{'fits' if fits else 'does not fit'} in {sizes} GiB, planning with {share:.0%} of it"


def _shares(parts: dict[str, int]) -> str:
    return ", ".join(f"{name} {size(count)}" for name, count in parts.items())
