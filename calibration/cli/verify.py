"""`a2d verify`: what one precision of a bundle loses and gains against another. Needs no more than `a2d run` does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...engines.errors import RequestError
from ...runtime.cli.arguments import BAD_INPUT, Parser, add_bundle, add_options, guarded, options_from, worded
from ...runtime.deploy.build import source_of
from ...runtime.load import load
from ...runtime.model import Model
from ..collect import samples
from ..verify.compare import Report, verify
from ..verify.engine_diff import differing, worst
from ..verify.intervals import Rate
from ..verify.page import Page, sweep
from ..verify.verdict import judged, verdict
from .data_flags import add_data_flags

__all__ = ["main"]

SHOWN = 10
"""Values of a graph that are printed."""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status: 2 if a variant is refused."""
    return guarded("a2d verify", lambda: _verify(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser = Parser(
        prog="a2d verify",
        description="Compare one precision of a bundle with another, on samples; ends with a verdict.",
    )
    add_bundle(parser)
    parser.add_argument("--precision", help="precisions to check, by comma; default: all quantized ones")
    parser.add_argument("--against", default="fp32", metavar="NAME", help="precision to compare with (fp32)")
    add_data_flags(parser)
    parser.add_argument("--threads", type=int, default=1, help="threads of one operator (1)")
    parser.add_argument("--engine", metavar="NAME", help="run the variants by another engine: tensorrt_rtx, tensorrt")
    parser.add_argument("--engines", type=Path, metavar="DIR", help="built engines; default: engines in the bundle")
    parser.add_argument("--device", metavar="NAME", help="cuda, cuda:N")
    parser.add_argument(
        "--layers",
        action="store_true",
        help="also compare one step value by value (Polygraphy); --engine onnxruntime compares TensorRT's copy of a "
        "graph, which needs no GPU",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write a page, with quality against steps")
    parser.add_argument("--force", action="store_true", help="exit with 0 although a variant is refused")
    parser.add_argument("--json", action="store_true", help="one JSON object per precision")
    add_options(parser)
    return parser


def _verify(arguments: argparse.Namespace) -> int:
    options = options_from(arguments)
    options = options if arguments.max_tokens else replace(options, max_tokens=64)
    reference = load(arguments.bundle, precision=arguments.against, threads=arguments.threads, device="cpu")
    data = _data(arguments, reference, options.seed)
    reports: list[Report] = []
    sweeps: dict[str, dict[int, Rate]] = {}
    for name in _names(arguments, reference):
        if arguments.layers:
            _tell_layers(arguments, reference, name, data)
            if arguments.engine == "onnxruntime":
                continue
        variant = load(
            arguments.bundle,
            precision=name,
            threads=arguments.threads,
            engine=arguments.engine,
            engines=arguments.engines,
            device=arguments.device or (None if arguments.engine else "cpu"),
        )
        report = verify(reference, variant, data, options, arguments.json)
        reports.append(report)
        told = report.to_json() | {"verdict": judged(report)}
        print(json.dumps(told) if arguments.json else "\n".join(_lines(report)), flush=True)
        if arguments.report is not None:
            if not sweeps:
                sweeps[arguments.against] = sweep(reference, reference, data, options, arguments.json)
            sweeps[name] = sweep(reference, variant, data, options, arguments.json)
    if arguments.report is not None and reports:
        arguments.report.write_text(Page(reference.bundle, reports, sweeps).html(), encoding="utf-8")
    return _status(reports, arguments)


def _names(arguments: argparse.Namespace, reference: Model) -> list[str]:
    held = [name for name in reference.manifest.variants if name != arguments.against]
    names = [name.strip() for name in (arguments.precision or "").split(",") if name.strip()]
    if arguments.engine is not None:
        return names or ["fp16"]  # engines are built in precisions that the bundle need not hold
    names = names or held
    if not names:
        raise RequestError(
            f"{arguments.bundle} holds {arguments.against} alone, so there is nothing to hold against it; make another "
            f"precision: a2d calibrate {arguments.bundle} --precision int8 -o NEW"
        )
    for name in names:
        reference.bundle.variant(name)
        if name == arguments.against:
            raise RequestError(f"--precision {name} --against {name}: the same; name another one with --against")
    return names


def _tell_layers(arguments: argparse.Namespace, reference: Model, precision: str, data: samples.Data) -> None:
    """Print where one step differs, graph by graph, or a JSON object for each."""
    source, half = source_of(reference.bundle, precision)
    engine = arguments.engine or "onnxruntime"
    for graph, found in differing(reference.bundle, source, engine, half, data.samples[0]):
        rows = [(difference.name, difference.error) for difference in worst(found, SHOWN)]
        if arguments.json:
            print(json.dumps({"graph": graph, "engine": engine, "precision": precision, "values": rows}), flush=True)
            continue
        print(f"{graph} in {precision} by {engine}: {len(found)} values, the {len(rows)} that differ most, in order")
        for name, error in rows:
            print(f"  {name:<40}{error:10.2e}")


def _data(arguments: argparse.Namespace, model: Model, seed: int) -> samples.Data:
    data = samples.chosen(model, arguments.data, arguments.prompt, arguments.samples, seed)
    for note in data.notes:
        if not arguments.json:
            print(worded(note))
    return data


def _status(reports: list[Report], arguments: argparse.Namespace) -> int:
    """Say what it comes to, a line a precision; the exit status."""
    refused = [report for report in reports if report.faults]
    if not arguments.json:
        if arguments.report is not None and reports:
            print(f"written: {arguments.report}")
        if refused and not arguments.force:
            print("Take it nevertheless with --force; or calibrate with data like yours, or choose a wider precision.")
        for report in reports:
            print(worded(verdict(report)))
    return BAD_INPUT if refused and not arguments.force else 0


def _lines(report: Report) -> Iterator[str]:
    r = report
    yield f"{r.bundle}: {r.precision} against {r.against}, {r.n} samples, int8 as on {r.processor}"
    yield _share("tokens that agree", r.token_agreement, r.token_agreement_interval, r.tokens)
    yield _share("whole outputs that agree", r.output_agreement, r.output_agreement_interval, r.n)
    yield _share("steps that accept alike", r.accept_agreement, r.accept_agreement_interval, r.steps)
    yield f"  {'confidence drift':<26}{r.confidence_drift:8.4f} mean, {r.confidence_drift_max:.3f} at most"
    for name, rate in r.tokens_per_forward.items():
        yield f"  {f'tokens per forward, {name}':<26}{rate:8.2f}"
    yield f"  {'size of the weights':<26}{r.size_ratio:8.2f} of {r.against}"
    low, high = r.speed_ratio_interval
    yield f"  {'speed':<26}{r.speed_ratio:8.2f} times ({low:.2f} to {high:.2f})"
    for name, found in (r.truth or {}).items():
        yield _share(f"exactly the truth, {name}", found["exact"], found["interval"], found["n"])
    yield "  layers by error of their keys and values, worst first"
    for row in r.layers[:5]:
        yield f"    {row['layer']:<24}{row['error']:8.2%}"
    if r.left_out:
        yield f"  {len(r.left_out)} samples do not fit the context: {', '.join(r.left_out[:4])}"


def _share(what: str, share: float, interval: tuple[float, float], n: Any) -> str:
    return f"  {what:<26}{share:8.1%} ({interval[0]:.1%} to {interval[1]:.1%}; n = {n})"
