"""Decodes through the GPU engines of this machine: tokens against other systems' and the CPU's, time against the floor.

usage: gpu.py [--engine NAME --device NAME] [--precisions fp32,fp16] [--folder DIR] [--quick] [--json]

    golden    other samplers' own decodes (tests/data/golden), merged and separate commits: their tokens, their forwards
    slate     the slate reader on the repository's frames, by three rules: the CPU engine's tokens
    step      the 100M model: a plain denoising step, the time to read its weights once, Python's share, tokens/s

Tokens must be equal in fp32; in other precisions they are counted. Exit status: 0 all is as it must be, 1 something
differs or failed, 77 this machine has no GPU engine (the reasons are printed).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import a2d
from a2d.engines.errors import A2DError
from a2d.engines.probe.machine import Facts, facts
from a2d.engines.probe.usable import Verdict, verdicts
from a2d.engines.targets import TARGETS
from a2d.runtime.decode.options import Options
from a2d.runtime.measure.bench import Settings, measure

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
GOLDEN = REPOSITORY / "tests" / "data" / "golden"
SLATE = REPOSITORY / "examples" / "slate"

NO_GPU = 77
"""As automake's tests say it: neither passed nor failed."""

SAMPLERS = {"a2d-qwen3": ("left", "linear-round"), "tail-qwen3": ("tail", "base-remainder")}
"""Golden checkpoint to the alignment and the schedule of the sampler that decoded it."""

RULES: tuple[dict[str, Any], ...] = ({"steps": 4}, {"steps": 2}, {"steps": 8, "threshold": 0.9})


@dataclass(frozen=True)
class Runner:
    """An engine on a device."""

    engine: str
    device: str
    precisions: tuple[str, ...] = ()
    """That the machine can run on it; empty where nobody looked."""

    def load(self, bundle: Path, precision: str | None) -> a2d.Model:
        """The bundle on it; engines are built where they have to be."""
        return a2d.load(bundle, engine=self.engine, device=self.device, precision=precision, build="auto", threads=1)


CPU = Runner("onnxruntime", "cpu")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    engine: str
    precision: str
    what: str
    equal: int | None = None
    """Decodes whose tokens, and where they are told whose forwards, are the wanted ones."""
    of: int | None = None
    step_ms: float | None = None
    floor_ms: float | None = None
    floor_share: float | None = None
    python_share: float | None = None
    tokens_per_second: float | None = None
    failed: str | None = None
    """What went wrong instead."""

    @property
    def is_good(self) -> bool:
        """Nothing failed, and what is exact is equal."""
        return self.failed is None and (self.equal == self.of or self.precision != "fp32")


# -- which engines


def runners(here: Facts) -> tuple[list[Runner], list[Verdict]]:
    """What runs on the GPU here, and the verdicts on what does not."""
    on_gpu = [verdict for verdict in verdicts(here) if verdict.device == "cuda"]
    made = [Runner(verdict.engine, verdict.device, verdict.precisions) for verdict in on_gpu if verdict.runs]
    return made, [verdict for verdict in on_gpu if not verdict.runs]


def extras(here: Facts) -> int:
    """Print the extras to install for this machine's GPU. A TensorRT that is there, as on a Jetson, is not fetched."""
    if here.gpu is None or here.driver.fault is not None:
        print(f"gpu.py: no GPU to measure: {here.driver.fault or 'none found'}", file=sys.stderr)
        return NO_GPU
    libraries = {target.library for target in TARGETS.values() if here.sm in target.sms}
    present = here.packages.has("tensorrt") or here.packages.nvinfer is not None
    names = {"tensorrt_rtx": "rtx", "tensorrt": "build" if present else "tensorrt"}
    print(",".join(sorted(names[library] for library in libraries)) or "gpu")
    return 0


# -- what is decoded


def export(checkpoint: Path, bundle: Path, *flags: str) -> Path:
    """The bundle of a checkpoint, made once."""
    if not (bundle / "manifest.json").is_file():
        from a2d.export.cli import main as a2d_export  # noqa: PLC0415 - `--extras` is asked before there is a torch

        say(f"exporting {bundle.name}")
        with redirect_stdout(sys.stderr):  # the table, or the objects, are alone on stdout
            status = a2d_export([str(checkpoint), "-o", str(bundle), "--precision", "fp32", *flags])
        if status:
            raise A2DError(f"{checkpoint} was not exported")
    return bundle


def golden_bundle(folder: Path, name: str) -> Path:
    """The bundle of one golden checkpoint."""
    alignment, schedule = SAMPLERS[name]
    flags = f"--mask-token 127 --stop-token 2 --block-size 8 --alignment {alignment} --schedule {schedule}"
    return export(GOLDEN / name, folder / f"{name}.a2d", *flags.split())


def golden(runner: Runner, precision: str, folder: Path, quick: bool) -> Row:
    """Other samplers' decodes."""
    equal = of = 0
    for name in SAMPLERS:
        model = runner.load(golden_bundle(folder, name), precision)
        cases = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
        for case in cases[:: 10 if quick else 1]:
            for commit in ("merged", "separate"):
                of += 1
                equal += decoded_alike(model, case, commit)
    return Row(model.engine("backbone").describe, precision, "golden", equal, of)


def decoded_alike(model: a2d.Model, case: dict[str, Any], commit: str) -> bool:
    """Whether a golden case gives its tokens in its number of forwards."""
    made = model.generate(
        case["prompt"],
        block_size=case["block_size"],
        steps=case["steps"],
        threshold=case["threshold"],
        max_tokens=case["max_new_tokens"],
        commit=commit,
    )
    return list(made.tokens) == case["tokens"] and made.forwards == case[f"forwards_{commit}"]


def slate(runner: Runner, precision: str, folder: Path, quick: bool) -> Row:
    """The slate reader, against the CPU engine in fp32."""
    bundle = export(SLATE / "model", folder / "slate.a2d")
    frames = sorted((SLATE / "frames").glob("*.png"))[: 2 if quick else None]
    model, reference = runner.load(bundle, precision), CPU.load(bundle, "fp32")

    def read(by: a2d.Model) -> list[tuple[int, ...]]:
        return [by.generate(images=[frame], max_tokens=40, **rule).tokens for frame in frames for rule in RULES]

    pairs = list(zip(read(model), read(reference), strict=True))
    return Row(model.engine("backbone").describe, precision, "slate", sum(a == b for a, b in pairs), len(pairs))


def step(runner: Runner, precision: str, folder: Path, quick: bool) -> Row:
    """The 100M model, or with `quick` a golden one."""
    if quick:
        bundle = golden_bundle(folder, "a2d-qwen3")
    elif not ((bundle := folder / "100m.a2d") / "manifest.json").is_file():
        from a2d.export.synthetic import bundle_100m  # noqa: PLC0415 - as above

        say("making the 100M model")
        with redirect_stdout(sys.stderr):
            bundle_100m(bundle, "fp32")
    model = runner.load(bundle, precision)
    made = measure(model, Settings(32 if quick else 512, 1 if quick else 5, Options(max_tokens=16 if quick else 128)))
    return Row(
        model.engine("backbone").describe,
        precision,
        "step",
        step_ms=made.step_ms,
        floor_ms=made.floor_ms,
        floor_share=made.floor_share,
        python_share=made.python_share,
        tokens_per_second=made.tokens_per_second,
    )


MEASURED: dict[str, Callable[[Runner, str, Path, bool], Row]] = {"golden": golden, "slate": slate, "step": step}


def rows(runner: Runner, precision: str, folder: Path, quick: bool) -> Iterator[Row]:
    """Every measurement; one that fails is a row as well."""
    for what, measured in MEASURED.items():
        say(f"{runner.engine} on {runner.device}, {precision}: {what}")
        try:
            yield measured(runner, precision, folder, quick)
        except A2DError as error:
            yield Row(f"{runner.engine} on {runner.device}", precision, what, failed=str(error).splitlines()[0])


# -- the table


HEAD = ("engine", "precision", "what", "equal", "step ms", "floor ms", "of floor", "Python", "tokens/s")


def cells(row: Row) -> list[str]:
    """A row as texts."""
    if row.failed is not None:
        return [row.engine, row.precision, row.what, f"failed: {row.failed}"]
    equal = "" if row.of is None else f"{row.equal}/{row.of}"
    numbers = [(row.step_ms, ".3f"), (row.floor_ms, ".3f"), (row.floor_share, ".0%"), (row.python_share, ".0%")]
    shown = ["" if value is None else format(value, form) for value, form in (*numbers, (row.tokens_per_second, ".0f"))]
    return [row.engine, row.precision, row.what, equal, *shown]


def table(made: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join([*cells(row), *[""] * (len(HEAD) - len(cells(row)))]) + " |" for row in made]
    return "\n".join(lines)


def say(text: str) -> None:
    """A line about what is going on."""
    print(f"gpu.py: {text}", file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="gpu.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", help="this one alone, usable or not")
    parser.add_argument("--device", default="cuda", help="for --engine")
    parser.add_argument("--precisions", default="fp32,fp16", help="default: fp32, whose tokens must be equal, and fp16")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "gpu" / "bundles", help="of the bundles")
    parser.add_argument("--quick", action="store_true", help="a few decodes of small bundles: does it run at all")
    parser.add_argument("--extras", action="store_true", help="print the extras to install for this GPU, and stop")
    parser.add_argument("--json", action="store_true", help="print one JSON object per row instead of the table")
    arguments = parser.parse_args(argv)
    here = facts()
    if arguments.extras:
        return extras(here)
    chosen, refused = ([Runner(arguments.engine, arguments.device)], []) if arguments.engine else runners(here)
    for verdict in refused:
        print(f"gpu.py: {verdict.engine} is not used: {'; '.join(verdict.why)}", file=sys.stderr)
    if not chosen:
        return NO_GPU
    arguments.folder.mkdir(parents=True, exist_ok=True)
    made = [
        row
        for runner in chosen
        for precision in arguments.precisions.split(",")
        if not runner.precisions or precision in runner.precisions
        for row in rows(runner, precision, arguments.folder, arguments.quick)
    ]
    print("\n".join(json.dumps(asdict(row)) for row in made) if arguments.json else table(made))
    return 0 if all(row.is_good for row in made) else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
