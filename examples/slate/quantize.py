"""What quantization costs the slate reader: every precision against fp32, and calibrations against each other.

    python examples/slate/quantize.py --frames 400

Exports the checkpoint, renders frames for calibration (set hard) and for reading (any sets; they share no frame), and
prints the tables of docs/quantization.md: whole slates read exactly, tokens that agree, steps that accept alike. Uses
a2d's public commands and their modules. About ten minutes on one core with 400 frames.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evaluate import warn_about_fonts
from recipe.sets import SETS, frames
from recipe.words import LONGEST, QUESTION

import a2d
from a2d.calibration.collect import samples
from a2d.calibration.job import Job, calibrate
from a2d.calibration.quantize.recipes import RECIPES, Recipe
from a2d.calibration.verify.compare import Report, verify
from a2d.export.job import Job as Export
from a2d.export.job import export

HERE = Path(__file__).parent
PRECISIONS = ("int8", "fp8", "int8-weight", "int4-weight")
CALIBRATED_ON = "hard"
CALIBRATIONS = {
    "all strata, mse": {},
    "all strata, percentile": {"merge": "percentile"},
    "all strata, absmax": {"merge": "absmax"},
    "prompt rows alone, mse": {"strata": "prefill"},
    "prompt rows alone, absmax": {"strata": "prefill", "merge": "absmax"},
}
"""Ways to calibrate."""

COMPARED = ("int8", "int4-int8", "int4")
"""Precisions in which calibrations are compared. All layers take part: none gets relief, and the tower stays high."""


def data_of(name: str, count: int, folder: Path) -> samples.Data:
    """Frames of a set, rendered once, as samples with their truth."""
    from PIL import Image  # noqa: PLC0415

    index = folder / f"{name}-{count}" / "data.jsonl"
    if not index.is_file():
        index.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        for number, sample in enumerate(frames(name, count)):
            file = f"{number:04}.png"
            Image.fromarray(sample.pixels).save(index.parent / file)
            rows.append({"prompt": QUESTION, "images": [file], "truth": sample.answer})
        index.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return samples.load(index, None, count, 0)


def quantized(source: Path, work: Path, recipe: Recipe, data: Path, **how: str) -> a2d.Model:
    """The bundle in one more precision, loaded."""
    path = work / "quantized.a2d"
    calibrate(Job(source, path, (recipe,), data=data, force=True, quiet=True, **how))
    return a2d.load(path, precision=recipe.name, threads=1)


def rows(reports: Iterator[tuple[str, Report]]) -> Iterator[str]:
    """Lines of a markdown table."""
    yield "| | exact, fp32 | exact | tokens agree | outputs agree | steps accept alike | drift | size | speed |"
    yield "|---" * 9 + "|"
    for name, r in reports:
        truth = r.truth or {}
        exact = [f"{100 * truth[p]['exact']:.1f}" if p in truth else "" for p in (r.against, r.precision)]
        low, high = r.token_agreement_interval
        agree = f"{100 * r.token_agreement:.1f} ({100 * low:.1f}-{100 * high:.1f})"
        ratios = f"{r.confidence_drift:.4f} | {r.size_ratio:.2f} | {r.speed_ratio:.2f}"
        outputs, steps = 100 * r.output_agreement, 100 * r.accept_agreement
        yield f"| {name} | {exact[0]} | {exact[1]} | {agree} | {outputs:.1f} | {steps:.1f} | {ratios} |"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE / "model", help="checkpoint of the A2D stage")
    parser.add_argument("--work", type=Path, default=Path("build/slate-quantization"), help="where bundles are written")
    parser.add_argument("--frames", type=int, default=400, help="per set, for the precisions; 0 is none")
    parser.add_argument(
        "--compared", type=int, default=100, help="frames of the first set, for the calibrations; 0 is none"
    )
    parser.add_argument("--samples", type=int, default=64, help="frames to calibrate on")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["medium"])
    parser.add_argument("--steps", type=int, default=4)
    chosen = parser.parse_args(arguments)
    chosen.work.mkdir(parents=True, exist_ok=True)
    warn_about_fonts()
    source = chosen.work / "fp32.a2d"
    export(Export(chosen.model, source, force=True, quiet=True))
    reference = a2d.load(source, threads=1)
    data_of(CALIBRATED_ON, chosen.samples, chosen.work)
    calibration = chosen.work / f"{CALIBRATED_ON}-{chosen.samples}"
    options = a2d.Options(steps=chosen.steps, max_tokens=LONGEST)
    for name in chosen.sets if chosen.frames else ():
        print(f"\n{name}, {chosen.frames} frames, {chosen.steps} steps\n")
        data = data_of(name, chosen.frames, chosen.work)
        models = ((p, quantized(source, chosen.work, RECIPES[p], calibration)) for p in PRECISIONS)
        for line in rows((p, verify(reference, model, data, options)) for p, model in models):
            print(line, flush=True)
    if chosen.compared:
        compare(source, reference, chosen, calibration, options)
    return 0


def compare(
    source: Path, reference: a2d.Model, chosen: argparse.Namespace, calibration: Path, options: a2d.Options
) -> None:
    """Calibrations against each other."""
    data = data_of(chosen.sets[0], chosen.compared, chosen.work)
    for name in COMPARED:
        print(f"\n{name}, {chosen.compared} frames, text layers alone, no relief\n")
        recipe = replace(RECIPES[name], high=("vision.*",), relief_share=0.0)
        models = ((how, quantized(source, chosen.work, recipe, calibration, **by)) for how, by in CALIBRATIONS.items())
        for line in rows((how, verify(reference, model, data, options)) for how, model in models):
            print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
