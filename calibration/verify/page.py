"""report.html: verification as a page of its own. The verdict, layers by error, strata, quality against steps.

One file without scripts or links, for light and dark screens, in the form of the demo's page. Knows reports and a
bundle's calibration.json; computes nothing but positions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2

from ...runtime.bundle.files import Bundle
from ...runtime.console.lines import Progress
from ...runtime.decode.options import Options
from ...runtime.model import Model
from ..collect.row_kinds import VISION
from ..collect.samples import Data
from .compare import Report
from .intervals import Rate
from .verdict import judged, verdict

__all__ = ["Page", "sweep"]

SWEPT = 24
"""Samples that are decoded at each number of steps."""

SHOWN = 24
"""Layers of a table."""

FORMS = {
    "static": "weights and what is multiplied with them are quantized, by one scale found before",
    "dynamic": "weights are quantized, and what is multiplied with them by a scale found in each forward",
    "weights": "weights are quantized, what is multiplied with them stays in float",
    "relief": "a layer that erred too much: its weights in int8 in small groups, what is multiplied with them in float",
    "high": "left as it was",
}
"""Treatment of a layer, in words."""


def sweep(reference: Model, variant: Model, data: Data, options: Options, quiet: bool) -> dict[int, Rate]:
    """Tokens that agree with the reference at full steps, by steps per block: what fewer steps and fewer bits cost."""
    block = options.block_size or variant.manifest.decode.block_size
    numbers = sorted({max(1, block >> shift) for shift in range(8)})
    some = data.samples[:SWEPT]
    found = {number: Rate() for number in numbers}
    with Progress(f"quality against steps, {variant.placement.precision}", len(some), "samples", quiet) as progress:
        for sample in some:
            full = replace(options, steps=block, threshold=None)
            wanted = reference.session().generate(sample.rows(reference), full).tokens
            for number, rate in found.items():
                chosen = replace(options, steps=number, threshold=None)
                got = variant.session().generate(sample.rows(variant), chosen).tokens
                rate.add(sum(a == b for a, b in zip(got, wanted, strict=False)), max(len(got), len(wanted)))
            progress.add()
    return found


@dataclass(frozen=True)
class Page:
    """The page's content."""

    bundle: Bundle
    reports: Sequence[Report]
    sweeps: Mapping[str, Mapping[int, Rate]]
    """Results by precision, the reference's own among them."""

    def html(self) -> str:
        """The whole page."""
        environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        environment.filters |= {"percent": _percent, "number": _number}
        source = Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8")
        return environment.from_string(source).render(page=self, vision=VISION) + "\n"

    @cached_property
    def title(self) -> str:
        """The bundle and its precisions."""
        return f"{self.bundle.manifest.name}: {', '.join(r.precision for r in self.reports)}"

    @cached_property
    def verdicts(self) -> list[tuple[str, str]]:
        """(judgement, sentence) of each precision."""
        return [(judged(r), verdict(r).removeprefix("verdict: ")) for r in self.reports]

    @cached_property
    def steps(self) -> list[int]:
        """Numbers of steps that were tried, most first."""
        return sorted({number for rates in self.sweeps.values() for number in rates}, reverse=True)

    @cached_property
    def recipes(self) -> dict[str, Any]:
        """Calibration of each precision that has one: layers by error, and with strata of words and of pictures."""
        name = "calibration.json"
        if name not in self.bundle.manifest.files:
            return {}
        known = json.loads(self.bundle.file(name).read_text(encoding="utf-8"))["recipes"]
        return {r.precision: _prepared(known[r.precision]) for r in self.reports if r.precision in known}

    @cached_property
    def forms(self) -> dict[str, str]:
        """Words for what became of layers, of those that are shown."""
        shown = {layer["form"] for recipe in self.recipes.values() for layer in recipe["layers"]}
        return {name: what for name, what in FORMS.items() if name in shown}


def _prepared(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The worst layers, with bars; and the calibrated ones, those that see pictures alone apart from the rest."""
    layers = recipe["layers"][:SHOWN]
    most = max((layer["error"] for layer in layers), default=0.0) or 1.0
    asked = [layer for layer in recipe["layers"] if layer["asked"]]
    seeing = [layer for layer in asked if set(layer["asked"]) == {VISION}]
    tables = {"words": [layer for layer in asked if layer not in seeing][:SHOWN], "pictures": seeing[:SHOWN]}
    return {
        **recipe,
        "layers": [{**layer, "bar": 100 * layer["error"] / most} for layer in layers],
        "tables": {name: (_strata(some), some) for name, some in tables.items() if some},
    }


def _strata(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({stratum for layer in layers for stratum in layer["asked"]})


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
