"""The verdict on a quantized variant, in one line, whatever was found. Knows reports; computes nothing anew."""

from __future__ import annotations

from ..quantize.recipes import RECIPES
from .compare import Report

__all__ = ["GOOD", "NONE", "OPEN", "REFUSED", "judged", "verdict"]

GOOD, OPEN, REFUSED, NONE = "good", "open", "refused", "none"

BAR = 0.97
"""Share of tokens that must agree, for a precision that no recipe makes: fp16, bf16."""


def judged(report: Report) -> str:
    """One of the four, for a program."""
    if report.wordless == report.n:
        return NONE
    if report.faults:
        return REFUSED
    return GOOD if report.token_agreement_interval[0] >= bar(report) else OPEN


def bar(report: Report) -> float:
    """Share of tokens that the report's precision is to reach."""
    recipe = RECIPES.get(report.precision)
    return BAR if recipe is None else recipe.bar


def verdict(report: Report) -> str:
    """One line for people: what to do with the variant, and why."""
    r, (low, high) = report, report.token_agreement_interval
    agree = f"{r.token_agreement:.1%} of {r.tokens} tokens agree ({low:.1%} to {high:.1%}; {bar(r):.0%} is the bar)"
    rest = f"{r.size_ratio:.2f} of the size, {r.speed_ratio:.2f} times the speed"
    sentences = {
        GOOD: f"{r.precision} can stand in for {r.against}: {agree}; {rest}",
        OPEN: f"open for {r.precision}: {agree}; {rest}. More samples would decide it, the setting samples",
        REFUSED: f"{r.precision} is refused: {'; '.join(r.faults)}",
        NONE: f"none for {r.precision}: the model says nothing on these {r.n} samples; give yours, the setting data",
    }
    return f"verdict: {sentences[judged(r)]}"
