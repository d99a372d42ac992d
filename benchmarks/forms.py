"""A step's time in every form of weights, on each kind of processor that this machine can be taken for, in one run.

    python benchmarks/forms.py BUNDLE [--rows 1,8,16,32,128] [--past 512] [--room 32] [--threads 1] [--kinds AVX2,AMX]
                               [--only fp32,int8] [--rounds 9]

BUNDLE holds the precisions to compare: `a2d bench --synthetic 100m --keep build` makes one. A step is a forward of the
backbone over `rows` new and `past` cached rows and, but for a prefill of 128, the denoise graph over these rows. Forms
run in turn; the least of the rounds is kept, because whatever else a machine does only adds. Behind the cached rows is
the `room` that a cache has taken and nothing stands in, which a mask hides. "As before" is int8 without what `a2d` does
about denormals (`engines/denormals.py`): the step as it was. `error` is the hidden
rows' distance from fp32's, in shares of their size. The kinds are played as `tests/cpus/played.py` does it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from a2d.calibration.quantize.assign import Decision, Layer
from a2d.calibration.quantize.recipes import RECIPES
from a2d.calibration.quantize.variant import write_quantized
from a2d.calibration.source.smoothquant import Smoothed
from a2d.calibration.source.source import Source
from a2d.engines import onnxruntime
from a2d.engines.cpu import this_cpu
from a2d.engines.onnxruntime import load
from a2d.runtime.bundle.staging import Staging

ROOT = Path(__file__).resolve().parent.parent
PREFILL = 128
WIDENED, PLAIN = {"session.x64quantprecision": "1"}, {"session.x64quantprecision": "0"}
LEVEL = "session.qdq_matmulnbits_accuracy_level"


@dataclass(frozen=True)
class Form:
    """One way to run a variant."""

    name: str
    precision: str
    options: Mapping[str, str] = field(default_factory=dict)
    """Session options instead of those of the processor's kind."""
    before: bool = False
    """Run with denormals, as a2d once did."""


FORMS = (
    Form("fp32", "fp32"),
    Form("fp16, widened at every run", "fp16"),
    Form("int8, products as they are", "int8", PLAIN),
    Form("int8, widened where it has to be, as before", "int8", before=True),
    Form("int8, products widened", "int8", WIDENED),
    Form("int8-avx2, as it is", "int8-avx2"),
    Form("int8, inputs measured at every run", "dynamic", PLAIN),
    Form("int8-weight, products of bytes", "int8-weight", {LEVEL: "4"} | PLAIN),
    Form("int8-weight, products of floats", "int8-weight", {LEVEL: "1"} | PLAIN),
    Form("int4-weight, products of bytes", "int4-weight", {LEVEL: "4"} | PLAIN),
    Form("int4-weight, products of floats", "int4-weight", {LEVEL: "1"} | PLAIN),
)


def feeds_of(engine: Any, rows: int, past: int, like: Mapping[str, Any], room: int = 0) -> dict[str, Any]:
    """Random inputs of a graph: of `rows` rows behind `past` cached ones and `room`, with what `like` holds already."""
    random, made = np.random.default_rng(0), dict[str, Any]()
    sizes = {"rows": rows, "block": rows, "context": past + room, "keys": past + room + rows, "masks": 1}
    for name, port in engine.inputs.items():
        shape = [one if isinstance(one, int) else sizes[one] for one in port.shape]
        if name in like:
            made[name] = like[name]
        elif name in ("visible", "masked"):
            made[name] = np.ones(shape, np.bool_)
            made[name][..., past : past + room] = name == "masked"
        elif name == "allowed":
            made[name] = np.full(shape, 255, np.uint8)
        elif port.dtype == "int64":
            made[name] = np.zeros(shape, np.int64)
        else:
            made[name] = random.standard_normal(shape).astype(port.dtype)
    return made


class Runs:
    """Both graphs of one form."""

    def __init__(self, folder: Path, form: Form, threads: int) -> None:
        kind = replace(this_cpu(), options=form.options or this_cpu().options)
        self.form = form
        known = form.precision if form.precision != "dynamic" else "int8"
        graphs = [folder / f"{graph}.{form.precision}.onnx" for graph in ("backbone", "denoise")]
        self.backbone, self.denoise = (load(g, precision=known, threads=threads, cpu=kind) for g in graphs)

    def step(self, rows: int, past: int, room: int = 0) -> Any:
        """The hidden rows of a step, and its seconds."""
        before = patch.object(onnxruntime, "fesetenv", id)  # the state is never set
        with before if self.form.before else nullcontext():
            return self._step(rows, past, room)

    def _step(self, rows: int, past: int, room: int) -> Any:
        tokens = np.arange(10, 10 + rows)[None]
        known = {"tokens": tokens, "positions": past + np.arange(rows)[None]}
        asked = feeds_of(self.backbone, rows, past, known, room)
        started = time.perf_counter()
        hidden = self.backbone.run(asked, ["hidden"])["hidden"]
        if rows < PREFILL:
            like = {"hidden": hidden, "gather": 1 + np.arange(rows)[None], "tokens": tokens}
            self.denoise.run(feeds_of(self.denoise, rows, past, like), ["proposed", "confidence"])
        return hidden, time.perf_counter() - started


def with_dynamic(bundle: Path, scratch: Path) -> Path:
    """A folder with the bundle's graphs and those whose inputs are measured at every run, which no precision is."""
    for file in bundle.iterdir():
        if file.is_file():
            (scratch / file.name).hardlink_to(file)
    source = Source(bundle, {graph: f"{graph}.fp32.onnx" for graph in ("backbone", "denoise")})
    with Staging(scratch / "dynamic.a2d", True) as staging:
        layers = {name: Layer(name, "dynamic", None, {}, 0.0, {}) for name in source.tables}
        decision = Decision(replace(RECIPES["int8"], name="dynamic"), "mse", layers)
        write_quantized(decision.recipe, Smoothed(source, {}), staging, lambda _: decision, True)
        for file in staging.path.iterdir():
            file.rename(scratch / file.name)
    return scratch


def measured(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Least milliseconds of a step by form and rows, and errors, on the processor as it is."""
    rows, past, threads, rounds = [int(n) for n in asked.rows.split(",")], asked.past, int(asked.threads), asked.rounds
    wanted = asked.only.split(",") if asked.only else [form.precision for form in FORMS]
    there = [one for one in FORMS if one.precision in wanted and (folder / f"backbone.{one.precision}.onnx").is_file()]
    runs = {form.name: Runs(folder, form, threads) for form in there}
    best: dict[str, dict[str, float]] = {name: {} for name in runs}
    made = {name: run.step(8, past)[0] for name, run in runs.items()}
    size = float(np.sqrt(np.square(made["fp32"]).mean()))
    errors = {name: float(np.sqrt(np.square(x - made["fp32"]).mean())) / size for name, x in made.items()}
    for count in rows:
        held, room = (past, asked.room) if count < PREFILL else (0, 0)
        for _ in range(rounds):
            for name, run in runs.items():
                seconds = run.step(count, held, room)[1]
                best[name][str(count)] = min(seconds * 1e3, best[name].get(str(count), float("inf")))
    return {"kind": this_cpu().name, "threads": threads, "past": past, "ms": best, "errors": errors}


def table(found: dict[str, Any]) -> str:
    """One kind's rows; the fastest of each column is bold."""
    counts = list(found["ms"]["fp32"])
    least = {n: min(row[n] for row in found["ms"].values()) for n in counts}
    lines = [f"{found['kind']}, {found['threads']} thread(s), {found['past']} cached:", ""]
    lines += ["| form | " + " | ".join(f"T = {n}" for n in counts) + " | error |", "|---" * (len(counts) + 2) + "|"]
    for name, row in found["ms"].items():
        cells = [f"**{row[n]:.1f}**" if row[n] == least[n] else f"{row[n]:.1f}" for n in counts]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {found['errors'][name]:.3f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rows", default="1,8,16,32,128")
    parser.add_argument("--past", type=int, default=512)
    parser.add_argument("--room", type=int, default=32)
    parser.add_argument("--only", help="precisions by comma, fp32 among them")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--kinds", help="by comma; default: this processor, and those that it can be taken for")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--here", action="store_true", help="this process alone, as JSON")
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(measured(asked.bundle, asked)))
        return
    sys.path.insert(0, str(ROOT / "tests" / "cpus"))
    from played import PLAYED, as_kind  # type: ignore[import-not-found]  # noqa: PLC0415 - a folder of the tests

    kinds = asked.kinds.split(",") if asked.kinds else dict.fromkeys([this_cpu().name, *PLAYED])
    with tempfile.TemporaryDirectory(prefix="a2d-", dir=asked.bundle.resolve().parent) as scratch:
        folder = asked.bundle.resolve() if asked.only else with_dynamic(asked.bundle.resolve(), Path(scratch))
        for threads in asked.threads.split(","):
            for kind in kinds:
                command = as_kind(kind)
                if command is None or "qemu" in command[0]:  # an emulator's times say nothing
                    print(f"{kind}: nothing plays it here at full speed\n")
                    continue
                own = ["--here", "--rows", asked.rows, "--past", str(asked.past), "--threads", threads]
                own += ["--room", str(asked.room), "--rounds", str(asked.rounds)]
                own += ["--only", asked.only] if asked.only else []
                line = [*command, __file__, str(folder), *own]
                print(table(json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)))


if __name__ == "__main__":
    main()
