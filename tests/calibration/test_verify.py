"""Verification: what is counted, against a slow recount; what is refused; the page."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from calibration_helpers import OPTIONS

import a2d
from a2d.calibration.collect import samples
from a2d.calibration.quantize.recipes import RECIPES
from a2d.calibration.verify.compare import _faults, verify
from a2d.calibration.verify.follow import Drift, follow
from a2d.calibration.verify.intervals import Rate
from a2d.calibration.verify.page import FORMS, Page, sweep
from a2d.calibration.verify.verdict import GOOD, NONE, OPEN, REFUSED, bar, judged, verdict
from a2d.engines.errors import RequestError


@pytest.fixture(scope="module")
def models(quantized):
    return {name: a2d.load(quantized, precision=name, threads=1) for name in ("fp32", "int8", "int4")}


@pytest.fixture(scope="module")
def some(data):
    return samples.load(data, None, 64, 0)


@pytest.fixture(scope="module")
def report(models, some):
    return verify(models["fp32"], models["int4"], some, OPTIONS, quiet=True)


def test_a_variant_agrees_with_itself(models, some):
    found = verify(models["fp32"], models["fp32"], some, OPTIONS, quiet=True)
    assert found.token_agreement == found.output_agreement == found.accept_agreement == found.proposal_agreement == 1.0
    assert found.confidence_drift == 0.0 and found.size_ratio == 1.0
    assert all(row["error"] == 0 for row in found.layers)


def test_agreement_is_what_a_recount_finds(models, some, report):
    same = total = equal = 0
    for sample in some.samples:
        own, other = (models[n].generate(list(sample.tokens), options=OPTIONS).tokens for n in ("fp32", "int4"))
        stops = models["fp32"].manifest.decode.stop_token_ids
        own, other = (t[: next((i + 1 for i, x in enumerate(t) if x in stops), len(t))] for t in (own, other))
        same += sum(a == b for a, b in zip(own, other, strict=False))
        total += max(len(own), len(other))
        equal += own == other
    assert report.token_agreement == same / total and report.tokens == total
    assert report.output_agreement == equal / len(some.samples) and report.n == len(some.samples)


def test_lockstep_leads_by_the_reference_alone(models, some):
    """The led decode is the reference's own, token by token, whatever the follower would have done."""
    sample = some.samples[0]
    prompts = (sample.rows(models["fp32"]), sample.rows(models["int4"]))
    drift = Drift()
    follow(models["fp32"], models["int4"], prompts, OPTIONS, drift)
    result = models["fp32"].generate(list(sample.tokens), options=OPTIONS)
    assert drift.steps.count == result.steps
    assert 0 < drift.steps.share <= 1 and drift.largest > 0
    layers = dict(drift.layer_errors())
    assert set(layers) == {0, 1} and layers[1] > layers[0] > 0  # errors grow on their way


def test_figures_lie_in_their_intervals(report):
    for name in ("token_agreement", "output_agreement", "accept_agreement", "confidence_drift", "speed_ratio"):
        low, high = getattr(report, f"{name}_interval")
        assert low <= getattr(report, name) <= high
    assert set(report.tokens_per_forward) == {"fp32", "int4"} and report.size_ratio < 0.35
    assert json.loads(json.dumps(report.to_json()))["n"] == report.n


def test_truth_is_counted_for_both(models, some):
    read = models["fp32"].generate(list(some.samples[0].tokens), options=OPTIONS)
    told = samples.Data((replace(some.samples[0], truth=read.text), replace(some.samples[1], truth="?")), "x")
    found = verify(models["fp32"], models["int8"], told, OPTIONS, quiet=True).truth
    assert found is not None and found["fp32"]["n"] == 2 and found["fp32"]["exact"] == 0.5


def test_a_bar_is_missed_only_for_sure(report):
    sure = replace(report, precision="int8", token_agreement=0.5, token_agreement_interval=(0.4, 0.6))
    assert "50.0% of" in _faults(replace(sure, speed_ratio_interval=(1.0, 2.0)), "cpu")[0]
    unsure = replace(sure, token_agreement_interval=(0.4, RECIPES["int8"].bar + 0.01), speed_ratio_interval=(0.9, 1.1))
    assert _faults(unsure, "cpu") == []


def test_slower_is_refused_but_not_where_it_is_emulated(report):
    slow = replace(report, token_agreement_interval=(0.99, 1.0), speed_ratio=0.5, speed_ratio_interval=(0.4, 0.6))
    assert "0.50 times the speed of fp32" in _faults(replace(slow, precision="int8"), "cpu")[0]
    assert _faults(replace(slow, precision="fp8"), "cpu") == []


def test_samples_that_do_not_fit(models):
    long = samples.Sample("long", tokens=tuple([5] * 500))
    short = samples.Sample("short", tokens=(5, 6))
    found = verify(models["fp32"], models["int8"], samples.Data((long, short), "x"), OPTIONS, quiet=True)
    assert found.n == 1 and found.left_out == ("long (500 rows)",)
    with pytest.raises(RequestError, match="none of the 1 samples fits"):
        verify(models["fp32"], models["int8"], samples.Data((long,), "x"), OPTIONS, quiet=True)


def test_the_page_is_whole_and_by_itself(models, some, report):
    two = samples.Data(some.samples[:2], "x")
    sweeps = {"int4": sweep(models["fp32"], models["int4"], two, OPTIONS, quiet=True)}
    page = Page(
        models["fp32"].bundle, [replace(report, bundle="<b>"), replace(report, precision="int8")], sweeps
    ).html()
    assert page.count("<html") == page.count("</html>") == 1 and "prefers-color-scheme: dark" in page
    for part in ("layers.1.down", "step 0, 4/4 masked, masked", "8 steps", "1 step", "refused"):
        assert part in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert list(sweeps["int4"]) == [1, 2, 4, 8] and isinstance(sweeps["int4"][8], Rate)


def test_a_page_needs_no_calibration(models, report):
    assert np.isfinite(len(Page(models["fp32"].bundle, [replace(report, precision="fp32")], {}).html()))


def judgement(report, **fields):
    fine = {"precision": "int8", "token_agreement": 0.99, "token_agreement_interval": (0.98, 1.0), "faults": ()}
    return replace(report, **fine | {"wordless": 0} | fields)


@pytest.mark.parametrize(
    ("fields", "expected", "word"),
    [
        ({}, GOOD, "int8 can stand in for fp32: 99.0% of"),
        ({"token_agreement_interval": (0.9, 1.0)}, OPEN, "More samples would decide it"),
        ({"faults": ("it is slow",)}, REFUSED, "int8 is refused: it is slow"),
        ({"precision": "fp16"}, GOOD, "97% is the bar"),
        ({"precision": "int4-weight", "token_agreement_interval": (0.93, 0.95)}, GOOD, "92% is the bar"),
    ],
)
def test_every_report_has_a_verdict_in_one_line(report, fields, expected, word):
    found = judgement(report, **fields)
    assert judged(found) == expected and word in verdict(found)
    assert verdict(found).startswith("verdict: ") and "\n" not in verdict(found) and 0 < bar(found) <= 1


def test_agreement_on_stop_tokens_alone_is_no_verdict(report):
    silent = judgement(report, wordless=report.n, token_agreement_interval=(0.99, 1.0))
    assert judged(silent) == NONE and "says nothing" in verdict(silent)
    assert judged(judgement(report, wordless=report.n - 1)) == GOOD


def test_wordless_samples_are_counted(models, some, report):
    stops = set(models["fp32"].manifest.decode.stop_token_ids)
    silent = 0
    for sample in some.samples:
        made = [models[n].generate(list(sample.tokens), options=OPTIONS).tokens for n in ("fp32", "int4")]
        ended = [next((t[: i + 1] for i, x in enumerate(t) if x in stops), t) for t in made]
        silent += not {x for t in ended for x in t} - stops
    assert report.wordless == silent


def test_the_page_says_the_verdict_the_terms_and_what_is_missing(models, report):
    page = Page(models["fp32"].bundle, [replace(report, precision="int8", truth=None)], {}).html()
    assert page.index('class="verdict') < page.index("Against the reference")
    assert "no truth in the data" in page and "Quality against steps" not in page
    assert FORMS["static"] in page and '<td class="bars"><span class="bar" style="width: 100.0%">' in page
    assert page.count("<table") == page.count("</table>")
