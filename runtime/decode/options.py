"""What a caller may choose for one generation, and how it meets the contract's defaults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TypedDict, Unpack

import numpy as np

from ...engines.errors import ContractError, RequestError
from ..schema import Violations, bounds, check
from .contract import DEFAULTS, MAX_BLOCK, DecodeContract, check_choice

__all__ = ["COMMITS", "DECODES", "RULES", "OptionFields", "Options", "Plan", "plan"]

RULES = {
    "confidence": "the most confident tokens by count, and all above the threshold",
    "entropy": "the surest tokens while their summed entropy stays within a bound",
    "sequential": "from left to right by count",
    "joint-entropy": "as entropy, but the largest of the entropies does not count",
    "factor": "the most confident n tokens, n the largest whose n-th confidence is 1 - factor / (n + 1) or more",
    "prefix": "the leftmost tokens up to the first whose confidence does not pass the threshold",
}
DECODES = {
    "diffusion": "block after block is denoised",
    "speculative": "a block is drafted at once and verified causally: the tokens are those of one token per forward",
}
COMMITS = {
    "merged": "a finished block is cached by the next block's first forward, where the model allows it",
    "separate": "a finished block is cached by a forward of its own: the slow reference",
}


SHARED = ("replace_above", "stop_repeats", *DEFAULTS)
"""Options that the contract has a default for, by the same name."""

DRAWN = ("tempered", "filtered")
"""Confidences of the distribution that a token was drawn from."""

BARRED = ("confidence", "prefix")
"""Rules that have a threshold."""

UNPACED = ("top-1", "near-top")
"""Fallbacks that take no count."""


@dataclass(frozen=True)
class Options:
    """Choices for one generation; None leaves the choice to the bundle's decode contract."""

    max_tokens: int = field(default=256, metadata=bounds(1, 1 << 26))
    """Generated tokens at most."""
    block_size: int | None = field(default=None, metadata=bounds(1, MAX_BLOCK))
    steps: int | None = field(default=None, metadata=bounds(1, MAX_BLOCK))
    """Forwards per block. With a threshold it is the slowest pace; alone it is the pace."""
    threshold: float | None = field(default=None, metadata=bounds(0, 1))
    """Accept every token whose confidence is above this."""
    rule: str = "confidence"
    entropy_bound: float = field(default=0.35, metadata=bounds(0, 1e6))
    """Summed entropy in nats that one step may accept, for rules `entropy` and `joint-entropy`."""
    factor: float = field(default=1.0, metadata=bounds(0, MAX_BLOCK))
    """For rule `factor`: the larger, the more tokens a step accepts."""
    confidence: str | None = None
    """What rules and the threshold take for confidence."""
    comparison: str | None = None
    fallback: str | None = None
    """What is accepted besides what passes the threshold."""
    stop: str | None = None
    stop_repeats: int | None = field(default=None, metadata=bounds(2, MAX_BLOCK))
    """End when so many tokens at the end of the answer are equal."""
    guidance: float = field(default=0.0, metadata=bounds(0, 1000))
    """Classifier-free guidance: logits u + (guidance + 1) (c - u), u those without the prompt. Twice the forwards."""
    guidance_keep: tuple[int, ...] = field(default=(), metadata=bounds(0, 2**31))
    """Token ids of the prompt that guidance does not take away."""
    remask_below: float | None = field(default=None, metadata=bounds(0, 1))
    """Mask an accepted token of the current block again, once, when the model's belief in it falls below this."""
    replace_above: float | None = field(default=None, metadata=bounds(0, 1))
    """Replace an accepted token of the current block when the model believes in another above this."""
    revise_steps: int = field(default=16, metadata=bounds(0, MAX_BLOCK))
    """Forwards that may be spent on replacing after a block's last mask is gone."""
    temperature: float | None = field(default=None, metadata=bounds(0, 100))
    top_k: int = field(default=0, metadata=bounds(0, 1 << 26))
    """Sample among the k most probable tokens; 0 is all."""
    top_p: float = field(default=1.0, metadata=bounds(0, 1))
    """Sample among the fewest tokens that hold this much probability."""
    seed: int = field(default=0, metadata=bounds(0, 2**64 - 1))
    commit: str = "merged"
    sub_block_size: int | None = field(default=None, metadata=bounds(1, MAX_BLOCK))
    """Denoise a block in parts of so many rows, from left to right."""
    block_cache: bool = False
    """Run only the sub-block at hand where that can be done. An approximation: tokens may differ."""
    decode: str = "diffusion"

    @property
    def revises(self) -> bool:
        """Settled rows of the current block may change."""
        return self.remask_below is not None or self.replace_above is not None


class OptionFields(TypedDict, total=False):
    """The fields of Options as keywords."""

    max_tokens: int
    block_size: int | None
    steps: int | None
    threshold: float | None
    rule: str
    entropy_bound: float
    factor: float
    confidence: str | None
    comparison: str | None
    fallback: str | None
    stop: str | None
    stop_repeats: int | None
    guidance: float
    guidance_keep: tuple[int, ...]
    remask_below: float | None
    replace_above: float | None
    revise_steps: int
    temperature: float | None
    top_k: int
    top_p: float
    seed: int
    commit: str
    sub_block_size: int | None
    block_cache: bool
    decode: str


@dataclass(frozen=True)
class Plan:
    """Options and contract, resolved: what the loop reads."""

    options: Options
    """What both know and the caller left open is resolved in them: `SHARED`."""
    block: int
    sub_block: int
    steps: int
    threshold: float | None
    temperature: float
    merged: bool
    """Commits ride with the next block's first forward: asked for, and exact for this model."""
    speculative: bool = False

    @property
    def bar(self) -> float:
        """A confidence that is above this passes the threshold: 2, which none is, where there is no threshold."""
        if self.threshold is None:
            return 2.0
        least = np.float32(self.threshold)
        return float(np.nextafter(least, np.float32(-1)) if self.options.comparison == "at-least" else least)

    @property
    def fused(self) -> bool:
        """What is accepted is decided by the denoise graph."""
        o = self.options
        return (o.rule, o.confidence) == ("confidence", "raw") and o.fallback in ("count", "top-1")


def with_fields(options: Options | None, **chosen: Unpack[OptionFields]) -> Options:
    """`options` with some fields changed. Raises RequestError for an unknown field, listing the known ones."""
    known = [f.name for f in fields(Options)]
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise RequestError(f"unknown option {', '.join(unknown)}; the options are {', '.join(known)}")
    return replace(options or Options(), **chosen)


def plan(contract: DecodeContract, options: Options) -> Plan:
    """Resolve options against the contract. Raises RequestError that lists every option that does not fit."""
    _check(options)
    block = options.block_size or contract.block_size
    threshold = contract.threshold if options.threshold is None else options.threshold
    # A threshold alone asks for speed where the model is sure: at least one token per step, no other pace.
    default = block if options.threshold is not None else min(contract.steps or block, block)
    paced = (options.fallback or contract.fallback) not in UNPACED
    steps = (default if options.steps is None else options.steps) if paced else block
    sub = min(options.sub_block_size or contract.sub_block_size or block, block)
    lines = [] if options.decode == "diffusion" else list(_not_speculative(contract, options))
    lines += _contradictions(options, paced)
    temperature = contract.temperature if options.temperature is None else options.temperature
    defaults = {n: getattr(contract, n) for n in SHARED}
    if temperature == 0 and contract.confidence in DRAWN:
        defaults["confidence"] = "raw"  # what it is where nothing is drawn, without the cost of a distribution
    options = replace(options, **{n: value for n, value in defaults.items() if getattr(options, n) is None})
    if options.block_cache and options.revises:
        lines.append("block_cache: it runs one sub-block, and revising (replace_above, remask_below) wants all rows")
    if contract.mask_token_id is None and block > 1:
        lines.append(f"block_size: got {block}, expected 1: this bundle has no mask token, it decodes token by token")
    if steps > block:
        lines.append(f"steps: got {steps}, expected 1 to the block size {block}: every step settles at least one token")
    if lines:
        raise RequestError("\n".join(lines))
    merged = options.commit == "merged" and contract.opening == "masked"
    threshold = threshold if options.rule in BARRED else None
    return Plan(options, block, sub, steps, threshold, temperature, merged, options.decode == "speculative")


def _contradictions(options: Options, paced: bool) -> Iterator[str]:
    if options.threshold is not None and options.rule not in BARRED:
        yield f"threshold: got {options.threshold}, but rule {options.rule!r} has none; use rule {' or '.join(BARRED)}"
    if options.steps is not None and not paced:
        yield f"steps: got {options.steps}, but fallback {options.fallback!r} sets no pace; leave one of them out"
    if options.fallback is not None and options.rule != "confidence":
        yield f"fallback: got {options.fallback!r}, but rule {options.rule!r} has none; use rule 'confidence'"


def _not_speculative(contract: DecodeContract, options: Options) -> Iterator[str]:
    """What speaks against self-speculative decoding."""
    if contract.context_mask != "token_causal" or contract.shift == "none":
        yield (
            f"decode: got 'speculative' for a model with context_mask {contract.context_mask!r} and shift "
            f"{contract.shift!r}, expected 'token_causal' and a shift: another one does not decode token by token"
        )
    drafting = ["steps", "threshold", "rule", "remask_below", "replace_above", "sub_block_size", "block_cache"]
    drafting += [*DEFAULTS, "stop_repeats", "guidance"]
    given = [name for name in drafting if getattr(options, name) != getattr(Options, name)]
    if given:
        yield f"{', '.join(given)}: a block is drafted in one step when decoding is speculative; leave them out"


def _check(options: Options) -> None:
    try:
        check(options)
        check_choice("rule", options.rule, RULES)
        check_choice("commit", options.commit, COMMITS)
        check_choice("decode", options.decode, DECODES)
        for name, table in DEFAULTS.items():
            if (got := getattr(options, name)) is not None:
                check_choice(name, got, table)
    except (Violations, ContractError) as error:
        raise RequestError(str(error)) from error
