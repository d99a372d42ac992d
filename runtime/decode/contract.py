"""The decode contract: what a checkpoint expects of the loop that decodes it.

Data only. Many checkpoints do not say these things in config.json, so the exporter collects them and the manifest
keeps them. The contract does not know how the loop fulfils it; docs/decoding.md explains every field.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ...engines.errors import ContractError
from ..schema import bounds

__all__ = [
    "ALIGNMENTS",
    "AUTOREGRESSIVE",
    "COMPARISONS",
    "CONFIDENCES",
    "CONTEXT_MASKS",
    "CONTRACTS",
    "DEFAULTS",
    "FALLBACKS",
    "LAST_BLOCKS",
    "MAX_BLOCK",
    "OPENINGS",
    "POSITIONS",
    "SCHEDULES",
    "SHIFTS",
    "STOPS",
    "DecodeContract",
    "autoregressive",
    "check_choice",
]

MAX_BLOCK = 65_536

ALIGNMENTS = {
    "tail": "blocks are counted from position 0; the prompt's tail opens the first generated block",
    "left": "a block boundary at the prompt's end; the prompt's first block may be short",
}
CONTEXT_MASKS = {
    "block_causal": "a row sees its own block and all before it",
    "token_causal": "a settled row sees itself and what is before it; only the block being denoised sees all of itself",
    "causal_prompt": "the prompt is token-causal, generated blocks are block-causal",
}
SHIFTS = {
    "none": "a row predicts its own token",
    "right_prev_row": "a row predicts the next token; the block's first comes from the row before the block",
    "right_in_block": "as right_prev_row, but the block's first row predicts itself",
}
OPENINGS = {
    "masked": "a block opens with masks alone",
    "predicted": "what stands before a block writes its first token: the commit yields it, so commits are separate",
}
LAST_BLOCKS = {
    "whole": "the last block is as long as the others, and the output is cut",
    "cut": "the last block ends where the wanted tokens, or the context, end",
}
POSITIONS = {
    "arange": "0, 1, 2, ...",
    "arange_x3": "0, 1, 2, ... in all three mrope rows",
    "mrope": "time, row and column of image rows, as Qwen2-VL counts them",
}
SCHEDULES = {
    "base-remainder": "S steps accept B // S tokens each, the first B % S of them one more",
    "linear-round": "step j accepts round(left / (steps left)) tokens, halves to even",
    "cosine-round": "as linear-round, along a cosine: more tokens in the middle steps than at the ends",
    "cosine": "after step j of S, floor(masks * cos(pi j / 2 S)) are left: few tokens first, many last",
}
CONFIDENCES = {
    "raw": "the probability of the proposed token as the model gives it",
    "tempered": "its probability at the temperature (1 where that is 0), forbidden tokens left out",
    "filtered": "its probability among the tokens that top-k and top-p leave, at that temperature",
    "entropy": "exp of minus the row's entropy: how sure the model is, whichever token it proposes",
    "random": "a uniform random number: rows are settled in any order",
}
COMPARISONS = {
    "above": "a confidence that equals the threshold does not pass",
    "at-least": "a confidence that equals the threshold passes",
}
FALLBACKS = {
    "count": "the most confident `count` rows are accepted in any case",
    "top-1": "the most confident row is accepted in any case; steps set no pace",
    "leftmost": "where fewer than `count` rows pass the threshold, the leftmost `count` are accepted instead",
    "near-top": "rows within 1e-5 of the most confident one are accepted in any case; steps set no pace",
}
STOPS = {
    "block": "when a block is finished that holds a stop token",
    "reached": "as soon as a stop token stands with no mask before it, in the middle of a block as well",
}
DEFAULTS = {"confidence": CONFIDENCES, "comparison": COMPARISONS, "fallback": FALLBACKS, "stop": STOPS}
"""Choices that a contract makes and a caller may make anew."""

CONTRACTS = {
    "autoregressive": "one token per forward, as the model decoded before it was adapted; it needs no mask",
}
"""Whole contracts by name."""

AUTOREGRESSIVE: dict[str, object] = {
    "forbid_token_ids": (),
    "block_size": 1,
    "prompt_alignment": "left",
    "context_mask": "token_causal",
    "shift": "right_prev_row",
    "schedule": "base-remainder",
    "opening": "masked",
}
"""Fields of that contract: blocks of one row, which the row before it predicts, so that it is run once, when final."""


def check_choice(what: str, got: str, table: dict[str, str]) -> str:
    """`got` if the table has it. Raises ContractError that prints the table."""
    if got not in table:
        rows = "\n".join(f"  {name:<16} {meaning}" for name, meaning in table.items())
        raise ContractError(f"{what}: got {got!r}, expected one of\n{rows}")
    return got


@dataclass(frozen=True)
class DecodeContract:
    """How one checkpoint is decoded, with the defaults that a caller may override."""

    mask_token_id: int | None = field(metadata=bounds(0, 2**31))
    """None where no mask is ever run: in blocks of one row that the row before it predicts."""
    stop_token_ids: tuple[int, ...] = field(metadata=bounds(0, 2**31))
    block_size: int = field(metadata=bounds(1, MAX_BLOCK))
    prompt_alignment: str
    forbid_token_ids: tuple[int, ...] = field(default=(), metadata=bounds(0, 2**31))
    """Ids that are never proposed, normally the mask id alone. They still count in the confidence."""
    context_mask: str = "block_causal"
    shift: str = "none"
    positions: str = "arange"
    schedule: str = "base-remainder"
    steps: int | None = field(default=None, metadata=bounds(1, MAX_BLOCK))
    """Default forwards per block; None is one per token of the block."""
    threshold: float | None = field(default=None, metadata=bounds(0, 1))
    """Default confidence above which a token is accepted at once; None accepts by count alone."""
    temperature: float = field(default=0.0, metadata=bounds(0, 100))
    opening: str = "masked"
    last_block: str | None = None
    """None is `cut` with `left` and `whole` with `tail`, as the systems of either alignment do."""
    sub_block_size: int | None = field(default=None, metadata=bounds(1, MAX_BLOCK))
    """Default rows of the parts in which a block is denoised from left to right; None is the whole block."""
    replace_above: float | None = field(default=None, metadata=bounds(0, 1))
    """Default confidence above which an accepted token of the current block is replaced; None never does."""
    confidence: str = "raw"
    """Default of what a rule and a threshold take for confidence."""
    comparison: str = "above"
    fallback: str = "count"
    """Default of what is accepted besides what passes the threshold."""
    stop: str = "block"
    stop_repeats: int | None = field(default=None, metadata=bounds(2, MAX_BLOCK))
    """Default number of times that the answer's last piece, of whatever length, may come in a row; None goes on."""
    drop_token_ids: tuple[int, ...] = field(default=(), metadata=bounds(0, 2**31))
    """Generated tokens that leave the context, and its count of positions, once their block is finished."""

    def __post_init__(self) -> None:
        check_choice("prompt_alignment", self.prompt_alignment, ALIGNMENTS)
        check_choice("context_mask", self.context_mask, CONTEXT_MASKS)
        check_choice("shift", self.shift, SHIFTS)
        check_choice("positions", self.positions, POSITIONS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("opening", self.opening, OPENINGS)
        for name, table in DEFAULTS.items():
            check_choice(name, getattr(self, name), table)
        if self.drop_token_ids and self.context_mask != "block_causal":
            raise ContractError(
                f"drop_token_ids: got {list(self.drop_token_ids)} with context_mask {self.context_mask!r}, expected "
                "'block_causal': only there is what a row sees counted in blocks"
            )
        if self.last_block is not None:
            check_choice("last_block", self.last_block, LAST_BLOCKS)
        if self.mask_token_id is None and (self.block_size, self.shift) != (1, "right_prev_row"):
            raise ContractError(
                f"mask_token_id: got none, expected a token id: blocks of {self.block_size} with shift {self.shift!r} "
                "begin with masks"
            )
        if self.steps is not None and self.steps > self.block_size:
            raise ContractError(
                f"steps: got {self.steps}, expected at most the block size {self.block_size}: "
                "every step settles at least one token"
            )
        if self.sub_block_size is not None and self.sub_block_size > self.block_size:
            raise ContractError(
                f"sub_block_size: got {self.sub_block_size}, expected at most the block size {self.block_size}"
            )
        if self.opening == "predicted" and self.shift == "none":
            raise ContractError(
                "opening: got 'predicted' with shift 'none', expected a shift: no row predicts the next"
            )

    @property
    def filler(self) -> int:
        """What a row holds while it is masked; any id where none is ever run."""
        return 0 if self.mask_token_id is None else self.mask_token_id

    @property
    def cuts_last(self) -> bool:
        """The last block ends where the wanted tokens end."""
        return (self.last_block or {"left": "cut", "tail": "whole"}[self.prompt_alignment]) == "cut"


def autoregressive(contract: DecodeContract) -> DecodeContract:
    """`contract` with the model decoded one token per forward; token ids, positions and temperature stay."""
    plain: dict[str, object] = {"forbid_token_ids": contract.forbid_token_ids}
    plain |= {"steps": None, "threshold": None, "last_block": None, "sub_block_size": None, "replace_above": None}
    return replace(contract, **(AUTOREGRESSIVE | plain))  # type: ignore[arg-type]
