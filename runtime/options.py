"""What a caller may choose for one generation, and how it meets the contract's defaults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TypedDict, Unpack

from ..engines.errors import ContractError, RequestError
from .contract import MAX_BLOCK, DecodeContract, check_choice
from .record import Violations, bounds, check

__all__ = ["COMMITS", "DECODES", "RULES", "OptionFields", "Options", "Plan", "plan"]

RULES = {
    "confidence": "the most confident tokens by count, and all above the threshold",
    "entropy": "the surest tokens while their summed entropy stays within a bound",
    "sequential": "from left to right by count",
}
DECODES = {
    "diffusion": "block after block is denoised",
    "speculative": "a block is drafted at once and verified causally: the tokens are those of one token per forward",
}
COMMITS = {
    "merged": "a finished block is cached by the next block's first forward, where the model allows it",
    "separate": "a finished block is cached by a forward of its own: the slow reference",
}


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
    """Summed entropy in nats that one step may accept, for rule `entropy`."""
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
    """`replace_above` is resolved in them."""
    block: int
    sub_block: int
    steps: int
    threshold: float | None
    temperature: float
    merged: bool
    """Commits ride with the next block's first forward: asked for, and exact for this model."""
    speculative: bool = False


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
    steps = default if options.steps is None else options.steps
    sub = min(options.sub_block_size or contract.sub_block_size or block, block)
    lines = [] if options.decode == "diffusion" else list(_not_speculative(contract, options))
    above = contract.replace_above if options.replace_above is None else options.replace_above
    options = replace(options, replace_above=above)
    if options.block_cache and options.revises:
        lines.append("block_cache: it runs one sub-block, and revising (replace_above, remask_below) wants all rows")
    if contract.mask_token_id is None and block > 1:
        lines.append(f"block_size: got {block}, expected 1: this bundle has no mask token, it decodes token by token")
    if steps > block:
        lines.append(f"steps: got {steps}, expected 1 to the block size {block}: every step settles at least one token")
    if options.threshold is not None and options.rule != "confidence":
        lines.append(f"threshold: got {options.threshold}, but rule {options.rule!r} has none; use rule 'confidence'")
    if lines:
        raise RequestError("\n".join(lines))
    temperature = contract.temperature if options.temperature is None else options.temperature
    merged = options.commit == "merged" and contract.opening == "masked"
    threshold = threshold if options.rule == "confidence" else None
    return Plan(options, block, sub, steps, threshold, temperature, merged, options.decode == "speculative")


def _not_speculative(contract: DecodeContract, options: Options) -> Iterator[str]:
    """What speaks against self-speculative decoding."""
    if contract.context_mask != "token_causal" or contract.shift == "none":
        yield (
            f"decode: got 'speculative' for a model with context_mask {contract.context_mask!r} and shift "
            f"{contract.shift!r}, expected 'token_causal' and a shift: another one does not decode token by token"
        )
    drafting = ("steps", "threshold", "rule", "remask_below", "replace_above", "sub_block_size", "block_cache")
    given = [name for name in drafting if getattr(options, name) != getattr(Options, name)]
    if given:
        yield f"{', '.join(given)}: a block is drafted in one step when decoding is speculative; leave them out"


def _check(options: Options) -> None:
    try:
        check(options)
        check_choice("rule", options.rule, RULES)
        check_choice("commit", options.commit, COMMITS)
        check_choice("decode", options.decode, DECODES)
    except (Violations, ContractError) as error:
        raise RequestError(str(error)) from error
