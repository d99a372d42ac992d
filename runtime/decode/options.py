"""Choices of a caller for one generation, resolved against the contract's defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import ContractError, RequestError
from ..schema import Violations, check, check_choice, described, setting, setting_of
from .contract import MAX_BLOCK, TOKENS, DecodeContract
from .duration import seconds_of
from .rules import RULES

__all__ = ["COMMITS", "DECODES", "OptionFields", "Options", "Plan", "plan", "with_fields"]

DECODES = {
    "diffusion": "block after block is denoised",
    "speculative": "a block is drafted at once and verified causally: the tokens are those of one token per forward",
}
COMMITS = {
    "merged": "a finished block is cached by the next block's first forward, where the model allows it",
    "separate": "a finished block is cached by a forward of its own: the slow reference",
}

DRAWN = ("tempered", "filtered")
"""Confidences of the distribution that a token was drawn from."""

BARRED = ("confidence", "prefix")
"""Rules that have a threshold."""

LAST_BLOCK = {"left": "cut", "tail": "whole"}
"""Alignment to how the last block ends where the contract does not say."""


def _inherited(name: str) -> Any:
    """A field that is None unless given, declared as the contract declares the field of this name, its default."""
    of = next(one for one in fields(DecodeContract) if one.name == name)
    declared = replace(setting_of(of), inherited=True, denoises=True)
    return field(default=None, metadata={**of.metadata, "setting": declared})


@dataclass(frozen=True)
class Options:
    """Choices for one generation; None leaves the choice to the bundle's decode contract."""

    max_tokens: int = field(default=256, metadata=setting("generated tokens at most", (1, 1 << 26)))
    block_size: int | None = field(default=None, metadata=setting("tokens per block", (1, MAX_BLOCK)))
    steps: int | None = field(
        default=None,
        metadata=setting(
            "forwards per block; together with a threshold, the most that a block takes", (1, MAX_BLOCK), denoises=True
        ),
    )
    threshold: float | None = field(
        default=None,
        metadata=setting("accept every token whose confidence is above this (0..1)", (0, 1), denoises=True),
    )
    rule: str = field(
        default="confidence", metadata=setting("tokens that a step accepts", choices=RULES.meanings, denoises=True)
    )
    entropy_bound: float = field(
        default=0.35,
        metadata=setting(
            "summed entropy in nats that a step may accept, for rules entropy and joint-entropy", (0, 1e6)
        ),
    )
    factor: float = field(
        default=1.0, metadata=setting("for rule factor: the larger, the more tokens a step accepts", (0, MAX_BLOCK))
    )
    confidence: str | None = _inherited("confidence")
    comparison: str | None = _inherited("comparison")
    fallback: str | None = _inherited("fallback")
    stop: str | None = _inherited("stop")
    stop_repeats: int | None = _inherited("stop_repeats")
    stop_texts: tuple[str, ...] = field(
        default=(), metadata=setting("texts before which the answer ends; looked for when a block is finished")
    )
    guidance: float = field(
        default=0.0,
        metadata=setting(
            "classifier-free guidance: logits u + (guidance + 1) (c - u), u those without the prompt; "
            "twice the forwards",
            (0, 1000),
            denoises=True,
        ),
    )
    guidance_keep: tuple[int, ...] = field(
        default=(), metadata=setting("token ids of the prompt that guidance does not take away", (0, TOKENS))
    )
    remask_below: float | None = field(
        default=None,
        metadata=setting(
            "mask an accepted token of the current block again, once, when its probability falls below this",
            (0, 1),
            denoises=True,
        ),
    )
    replace_above: float | None = _inherited("replace_above")
    revise_steps: int = field(
        default=16, metadata=setting("forwards for replacing after a block's last mask is gone", (0, MAX_BLOCK))
    )
    temperature: float | None = field(
        default=None, metadata=setting("0 takes the most probable token, more draws at random", (0, 100))
    )
    top_k: int = field(default=0, metadata=setting("draw among the k most probable tokens; 0 is all", (0, 1 << 26)))
    top_p: float = field(
        default=1.0, metadata=setting("draw among the fewest tokens with this much probability", (0, 1))
    )
    seed: int = field(default=0, metadata=setting("seed of the random numbers", (0, 2**64 - 1)))
    commit: str = field(default="merged", metadata=setting("how a finished block is cached", choices=COMMITS))
    sub_block_size: int | None = field(
        default=None,
        metadata=setting("denoise a block in parts of so many rows, from left to right", (1, MAX_BLOCK), denoises=True),
    )
    block_cache: bool = field(
        default=False,
        metadata=setting("run only the sub-block at hand: less work, and tokens may differ", denoises=True),
    )
    decode: str = field(default="diffusion", metadata=setting("how blocks are generated", choices=DECODES))
    budget: str | None = field(
        default=None,
        metadata=setting("time for the answer, as 200ms or 1.5s: fewer steps, and a cut where even these do not fit"),
    )

    @property
    def revises(self) -> bool:
        """Settled rows of the current block may change."""
        return self.remask_below is not None or self.replace_above is not None

    @cached_property
    def checked(self) -> Options:
        """These options, whose values are looked at once. Raises RequestError that lists what no contract allows."""
        try:
            check(self)
            for one in fields(self):
                table, got = setting_of(one).choices, getattr(self, one.name)
                if table is not None and got is not None:
                    check_choice(one.name, got, table)
        except (Violations, ContractError) as error:
            raise RequestError(str(error)) from error
        if "" in self.stop_texts:
            raise RequestError("stop_texts: got an empty text, before which every answer ends; leave it out")
        return self


described(Options)

UNCHOSEN = Options()
"""All choices left to the contract."""

INHERITED = tuple(one.name for one in fields(Options) if setting_of(one).inherited)
"""Fields that the contract decides where they are None."""

DENOISING = tuple(one.name for one in fields(Options) if setting_of(one).denoises)
"""Fields of denoising a block step by step."""


class OptionFields(TypedDict, total=False):
    """The fields of Options as keywords, written out because type checkers read no derived ones; a test compares."""

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
    stop_texts: tuple[str, ...]
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
    budget: str | None


@dataclass(frozen=True)
class Plan:
    """Options and contract, resolved: what the loop reads."""

    options: Options
    """The caller's choices, with the contract's in the place of None where a field is inherited."""
    block: int
    sub_block: int
    steps: int
    threshold: float | None
    """None where there is no threshold."""
    temperature: float
    confidence: str
    comparison: str
    fallback: str
    stop: str
    merged: bool
    """Commits ride with the next block's first forward: asked for, and exact for this model."""
    filler: int
    """Token id that a row holds while it is masked; any id where none is ever run."""
    cuts_last: bool
    """The last block ends where the wanted tokens end."""
    speculative: bool = False
    accept: Callable[..., NDArray[np.bool_]] | None = None
    """Accept rule in the place of that of the options, whatever the graph decides; None leaves it to them."""

    @cached_property
    def bar(self) -> float:
        """A confidence that is above this passes the threshold: 2, which none is, where there is no threshold."""
        if self.threshold is None:
            return 2.0
        least = np.float32(self.threshold)
        return float(np.nextafter(least, np.float32(-1)) if self.comparison == "at-least" else least)

    @cached_property
    def fused(self) -> bool:
        """True where the denoise graph decides which tokens are accepted."""
        return (self.options.rule, self.confidence) == ("confidence", "raw") and self.fallback in ("count", "top-1")


def with_fields(options: Options | None, **chosen: Unpack[OptionFields]) -> Options:
    """`options` with some fields changed. Raises RequestError for an unknown field, listing the known ones."""
    known = [f.name for f in fields(Options)]
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise RequestError(f"unknown option {', '.join(unknown)}; the options are {', '.join(known)}")
    if not isinstance(options, Options | None):
        raise RequestError(f"options: got {type(options).__name__}, expected Options(...), or options as keywords")
    options = options or UNCHOSEN
    return replace(options, **chosen) if chosen else options  # the same object is checked once


def plan(contract: DecodeContract, options: Options) -> Plan:
    """Resolve options against the contract. Raises RequestError that lists every option that does not fit."""
    options = options.checked
    block = options.block_size or contract.block_size
    # Steps or a threshold replace the contract's pair as a whole: steps alone are the pace, and a threshold alone asks
    # for speed where the model is sure, with one token per step at least.
    chosen = options if (options.steps, options.threshold) != (None, None) else contract
    threshold = chosen.threshold
    default = min(chosen.steps or block, block) if chosen is contract else chosen.steps or block
    paced = (options.fallback or contract.fallback) != "top-1"
    steps = default if paced else block
    sub = min(options.sub_block_size or contract.sub_block_size or block, block)
    lines = [] if options.decode == "diffusion" else list(_not_speculative(contract, options))
    lines += _contradictions(options, paced)
    temperature = contract.temperature if options.temperature is None else options.temperature
    defaults = {name: getattr(contract, name) for name in INHERITED}
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
    named = {n: str(getattr(options, n)) for n in ("confidence", "comparison", "fallback", "stop")}
    return Plan(
        options=options,
        block=block,
        sub_block=sub,
        steps=steps,
        threshold=threshold,
        temperature=temperature,
        merged=merged,
        filler=contract.mask_token_id or 0,
        cuts_last=(contract.last_block or LAST_BLOCK[contract.prompt_alignment]) == "cut",
        speculative=options.decode == "speculative",
        **named,  # type: ignore[arg-type]
    )


def _contradictions(options: Options, paced: bool) -> Iterator[str]:
    if options.threshold is not None and options.rule not in BARRED:
        yield f"threshold: got {options.threshold}, but rule {options.rule!r} has none; use rule {' or '.join(BARRED)}"
    if options.budget is not None:
        try:
            seconds_of(options.budget)
        except RequestError as error:
            yield str(error)
    if options.steps is not None and not paced:
        yield f"steps: got {options.steps}, but fallback {options.fallback!r} sets no pace; leave one of them out"
    if options.fallback is not None and options.rule != "confidence":
        yield f"fallback: got {options.fallback!r}, but rule {options.rule!r} has none; use rule 'confidence'"


def _not_speculative(contract: DecodeContract, options: Options) -> Iterator[str]:
    """Objections to self-speculative decoding, one line each."""
    if contract.context_mask != "token_causal" or contract.shift == "none":
        yield (
            f"decode: got 'speculative' for a model with context_mask {contract.context_mask!r} and shift "
            f"{contract.shift!r}, expected 'token_causal' and a shift: another one does not decode token by token"
        )
    given = [name for name in DENOISING if getattr(options, name) != getattr(Options, name)]
    if given:
        yield f"{', '.join(given)}: a block is drafted in one step when decoding is speculative; leave them out"
