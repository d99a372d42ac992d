"""`a2d doctor`: what this machine is, and which engines and precisions it can use."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from ...engines.cpu import this_cpu
from ...engines.probe.machine import Facts, facts
from ...engines.probe.usable import Verdict, notes, verdicts
from ..console.lines import size
from ..dailies.ready import forms_here
from ..schema import to_json
from .arguments import Parser, guarded

__all__ = ["main"]

FILMED = ("fp8", "int8", "fp16", "fp32")
"""Precisions of bundles that film, as far as engines run them."""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status, which is 0 whatever is found."""
    parser = Parser(prog="a2d doctor", description="Say what this machine is and what it can run. Changes nothing.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return guarded("a2d doctor", lambda: _doctor(parser.parse_args(argv)))


def _doctor(arguments: argparse.Namespace) -> int:
    here = facts()
    print(json.dumps(found(here), indent=1) if arguments.json else "\n".join(lines(here)))
    return 0


def found(here: Facts) -> dict[str, Any]:
    """Everything as one JSON object."""
    driver = here.driver
    return {
        "a2d": here.packages.version("a2d"),
        "system": here.system,
        "arch": here.arch,
        "python": here.python,
        "processor": {
            "name": here.processor,
            "cores": here.cores,
            "features": list(here.features),
            "int8": this_cpu().name,
        },
        "memory": {"bytes": here.memory_bytes, "available_bytes": here.available_bytes, "unified": here.unified},
        "gpus": [to_json(adapter) for adapter in driver.adapters],
        "sm": here.sm,
        "driver": {"release": driver.release, "cuda": driver.cuda, "fault": driver.fault},
        "cuda_toolkit": here.packages.toolkit,
        "jetson": to_json(here.jetson),
        "libraries": [to_json(package) for package in here.packages.found],
        "engines": [to_json(verdict) for verdict in verdicts(here)],
        "films": {"engines": list(filming(here)), "forms": forms_here()},
        "notes": list(notes(here)),
    }


def filming(here: Facts) -> Iterator[str]:
    """Engines that run here, and what they film in. No engine takes keys and values in bf16."""
    for verdict in verdicts(here):
        precisions = [name for name in verdict.precisions if name in FILMED]
        if verdict.runs and precisions:
            yield f"{verdict.engine} on {verdict.device} ({', '.join(precisions)})"


def lines(here: Facts) -> Iterator[str]:
    """Everything as a table for people."""
    yield from (f"{name:<11}{value}" for name, value in _machine(here))
    yield ""
    yield f"{'engine':<14}{'on':<6}{'target':<13}{'version':<14}{'runs':<6}{'builds':<8}precisions"
    for verdict in verdicts(here):
        yield _row(verdict)
        yield from (f"    {reason}" for reason in verdict.why)
    yield ""
    yield f"{'films':<11}{'; '.join(filming(here)) or 'no engine runs here'}"
    yield f"{'':<11}writes {'; '.join(f'{form}: {how}' for form, how in forms_here().items())}"
    remarks = notes(here)
    if remarks:
        yield ""
        yield from (f"note: {remark}" for remark in remarks)
    yield ""
    yield "next: a2d demo, which measures decoding here; a2d plan BUNDLE says what a bundle takes elsewhere"


def _machine(here: Facts) -> Iterator[tuple[str, str]]:
    features = f"; {', '.join(here.features)}" if here.features else ""
    yield "machine", f"{here.system} {here.arch}, {here.processor}, {here.cores} cores{features}"
    kind = this_cpu()
    widened = f"; widened, so that nothing is lost: {kind.fastest} is faster" if kind.saturates else ""
    yield "int8", f"as on {kind.name}: {kind.reason}{widened}"
    if here.memory_bytes is not None:
        free = f", {size(here.available_bytes)} available" if here.available_bytes is not None else ""
        yield "memory", size(here.memory_bytes) + free + (", shared with the GPU" if here.unified else "")
    yield "python", here.python
    if here.jetson is not None:
        yield from _jetson(here)
    for gpu in here.driver.adapters:
        yield "gpu", f"{gpu.name}, sm{gpu.sm}, {size(gpu.memory_bytes)}"
    if not here.driver.adapters:
        yield "gpu", "none found"
    yield "driver", _driver(here)
    yield "libraries", ", ".join(f"{p.distribution} {p.version}" for p in here.packages.found) or "none"


def _jetson(here: Facts) -> Iterator[tuple[str, str]]:
    jetson = here.jetson
    assert jetson is not None
    yield "jetson", f"{jetson.model}; JetPack {jetson.jetpack or 'unknown'}, Jetson Linux {jetson.l4t or 'unknown'}"
    clocks = {True: "locked to the highest", False: "follow the load", None: "unknown"}[jetson.clocks_locked]
    yield "power", f"{jetson.power_mode or 'unknown'} of {', '.join(jetson.power_modes) or 'unknown'}; clocks {clocks}"


def _driver(here: Facts) -> str:
    driver, toolkit = here.driver, here.packages.toolkit
    parts = [driver.release or "", f"runs CUDA {driver.cuda}" if driver.cuda else ""]
    parts += [f"toolkit {toolkit}" if toolkit else "", driver.fault or ""]
    return "; ".join(part for part in parts if part) or "unknown"


def _row(verdict: Verdict) -> str:
    mark = {True: "yes", False: "no"}
    builds = "-" if verdict.engine == "onnxruntime" else mark[verdict.builds]
    emulated = f" ({', '.join(verdict.emulated)} emulated)" if verdict.emulated else ""
    start = f"{verdict.engine:<14}{verdict.device:<6}{verdict.target or '-':<13}{verdict.version or '-':<14}"
    start += f"{mark[verdict.runs]:<6}{builds:<8}"
    return f"{start}{', '.join(verdict.precisions)}{emulated}".rstrip()
