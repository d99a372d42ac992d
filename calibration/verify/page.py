"""report.html: verification as a page of its own. Layers by error, strata side by side, quality against steps.

One file without scripts or links, for light and dark screens. Knows reports and a bundle's calibration.json; computes
nothing but positions.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...runtime.bundle.files import Bundle
from ...runtime.console.progress import Progress
from ...runtime.decode.options import Options
from ...runtime.model import Model
from ..collect.samples import Data
from .compare import Report
from .intervals import Rate

__all__ = ["Page", "sweep"]

SWEPT = 24
"""Samples that are decoded at each number of steps."""

SHOWN = 24
"""Layers of a table."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --soft: #6b6b70; --line: #d8d8dc; --fill: #2f6fde; --paper: #fff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eaeaec; --soft: #9a9aa2; --line: #3a3a40; --fill: #6ea0ff; --paper: #151517 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 3rem auto;
  max-width: 60rem; padding: 0 1.5rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin-top: 2.5rem }
p, caption { color: var(--soft) } caption { text-align: left; padding-bottom: .4rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
td, th { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; font-weight: 400 }
td:first-child, th:first-child { text-align: left } th { color: var(--soft); font-size: .85rem }
.bar { display: inline-block; height: .6rem; background: var(--fill); border-radius: 2px; vertical-align: middle }
.wide { overflow-x: auto } .refused { color: #c0392b }
""".strip()


def sweep(reference: Model, variant: Model, data: Data, options: Options, quiet: bool) -> dict[int, Rate]:
    """Tokens that agree with the reference at full steps, by steps per block: what fewer steps and fewer bits cost."""
    block = options.block_size or variant.manifest.decode.block_size
    numbers = sorted({max(1, block >> shift) for shift in range(8)})
    some = data.samples[:SWEPT]
    found = {number: Rate() for number in numbers}
    with Progress("quality against steps", len(some), "samples", quiet) as progress:
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
    """What the page shows."""

    bundle: Bundle
    reports: Sequence[Report]
    sweeps: Mapping[str, Mapping[int, Rate]]

    def html(self) -> str:
        """The whole page."""
        title = f"{self.bundle.manifest.name}: {', '.join(r.precision for r in self.reports)}"
        parts = [f"<h1>{_text(title)}</h1>", "<p>What quantization lost and gained, with 95 % intervals.</p>"]
        parts += [_table(*self._summary()), _table(*self._steps())]
        for name, recipe in self._recipes().items():
            parts += [f"<h2>{_text(name)}</h2>", f"<p>{_text(recipe['what'])}</p>"]
            parts += [_table(*_by_error(recipe)), _table(*_by_stratum(recipe))]
        body = "\n".join(parts)
        head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(title)}</title>'
        styled = f'<html lang="en"><head>{head}<style>\n{STYLE}\n</style></head>'
        return f"<!doctype html>\n{styled}\n<body>\n{body}\n</body></html>\n"

    def _recipes(self) -> dict[str, Any]:
        name = "calibration.json"
        if name not in self.bundle.manifest.files:
            return {}
        known = json.loads(self.bundle.file(name).read_text(encoding="utf-8"))["recipes"]
        return {r.precision: known[r.precision] for r in self.reports if r.precision in known}

    def _summary(self) -> tuple[str, list[str], list[list[str]]]:
        heads = ["precision", "tokens agree", "outputs agree", "accept alike", "confidence drift"]
        heads += ["tokens per forward", "size", "speed", "exactly the truth", ""]
        return "Against the reference", heads, [list(_row(report)) for report in self.reports]

    def _steps(self) -> tuple[str, list[str], list[list[str]]]:
        numbers = sorted({number for rates in self.sweeps.values() for number in rates}, reverse=True)
        rows = [
            [name, *(_share(rates[n].share, rates[n].interval) if n in rates else "" for n in numbers)]
            for name, rates in self.sweeps.items()
        ]
        heads = ["precision", *(f"{n} step{'s' * (n > 1)}" for n in numbers)]
        return "Quality against steps: tokens that agree with the reference at one token a step", heads, rows


def _row(report: Report) -> Iterator[str]:
    r = report
    yield r.precision
    yield _share(r.token_agreement, r.token_agreement_interval)
    yield _share(r.output_agreement, r.output_agreement_interval)
    yield _share(r.accept_agreement, r.accept_agreement_interval)
    yield f"{r.confidence_drift:.4f}"
    yield " / ".join(f"{rate:.2f}" for rate in r.tokens_per_forward.values())
    yield f"{r.size_ratio:.2f}"
    yield f"{r.speed_ratio:.2f}"
    yield " / ".join(f"{100 * t['exact']:.1f} %" for t in (r.truth or {}).values())
    yield '<span class="refused">refused</span>' if r.faults else ""


def _by_error(recipe: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    layers = recipe["layers"][:SHOWN]
    most = max((layer["error"] for layer in layers), default=0.0) or 1.0
    rows = [[_text(y["layer"]), _text(y["form"]), f"{100 * y['error']:.2f} %", _bar(y["error"] / most)] for y in layers]
    return "Layers by expected error of their output", ["layer", "form", "error", ""], rows


def _by_stratum(recipe: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    layers = [layer for layer in recipe["layers"] if layer["asked"]][:SHOWN]
    strata = sorted({stratum for layer in layers for stratum in layer["asked"]})
    rows = [
        [_text(y["layer"]), _number(y["limit"]), *(_number(y["asked"].get(stratum)) for stratum in strata)]
        for y in layers
    ]
    caption = f"Strata side by side: the largest magnitude kept ({recipe['merge']}), and what each alone would ask for"
    return caption, ["layer", "kept", *map(_text, strata)], rows


def _table(caption: str, heads: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    shown = f"<caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead>"
    return f'<div class="wide"><table>{shown}\n<tbody>\n{body}\n</tbody></table></div>'


def _share(share: float, interval: tuple[float, float]) -> str:
    return f"{100 * share:.1f} % <small>({100 * interval[0]:.1f} to {100 * interval[1]:.1f})</small>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _bar(share: float) -> str:
    return f'<span class="bar" style="width: {12 * share:.2f}rem"></span>'


def _text(text: str) -> str:
    return html.escape(str(text))
