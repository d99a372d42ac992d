"""The decode contract: what a checkpoint expects of the loop that decodes it.

Data only. Many checkpoints do not say these things in config.json, so the exporter collects them and the manifest
keeps them. The contract does not know how the loop fulfils it; docs/decoding.md explains every field.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from ...engines.errors import ContractError
from ..schema import check_choice, setting, setting_of
from .rules import FALLBACKS, SCHEDULES, STOPS

__all__ = [
    "ALIGNMENTS",
    "AUTOREGRESSIVE",
    "COMPARISONS",
    "CONFIDENCES",
    "CONTEXT_MASKS",
    "CONTRACTS",
    "LAST_BLOCKS",
    "MAX_BLOCK",
    "OPENINGS",
    "POSITIONS",
    "SHIFTS",
    "DecodeContract",
    "autoregressive",
    "check_choice",
]

MAX_BLOCK, TOKENS = 65_536, 2**31
"""Bounds of a block's rows and of a token id."""

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
CONFIDENCES = {
    "raw": "the probability of the proposed token as the model gives it (dLLM, Fast-dLLM)",
    "tempered": "its probability at the temperature (1 where that is 0), forbidden tokens left out (SDAR-VL)",
    "filtered": "its probability among the tokens that top-k and top-p leave, at that temperature (SDAR, DiffusionVL)",
    "entropy": "exp of minus the row's entropy: how sure the model is, whichever token it proposes (Dream)",
}
COMPARISONS = {
    "above": "a confidence that equals the threshold does not pass (SDAR, Fast-dLLM)",
    "at-least": "a confidence that equals the threshold passes (LMDeploy, dInfer)",
}
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


@dataclass(frozen=True)
class DecodeContract:
    """The contract between one checkpoint and the loop that decodes it, with defaults that a caller may override."""

    mask_token_id: int | None = field(
        metadata=setting(
            "id of the mask token; null where no mask is ever run: blocks of 1 under right_prev_row",
            (0, TOKENS),
            flag="mask-token",
            tokens=True,
        )
    )
    stop_token_ids: tuple[int, ...] = field(
        metadata=setting("ids of the tokens that end an answer", (0, TOKENS), flag="stop-token", tokens=True)
    )
    block_size: int = field(metadata=setting("tokens per block", (1, MAX_BLOCK)))
    prompt_alignment: str = field(
        metadata=setting("where block boundaries lie", choices=ALIGNMENTS, flag="alignment"),
    )
    forbid_token_ids: tuple[int, ...] = field(
        default=(),
        metadata=setting(
            "ids that are never proposed, normally the mask alone; they still count in the confidence",
            (0, TOKENS),
            flag="forbid-token",
            tokens=True,
        ),
    )
    context_mask: str = field(
        default="block_causal", metadata=setting("which rows a settled row sees", choices=CONTEXT_MASKS)
    )
    shift: str = field(default="none", metadata=setting("which row predicts a token", choices=SHIFTS))
    positions: str = field(default="arange", metadata=setting("positions of rows", choices=POSITIONS))
    schedule: str = field(
        default="base-remainder", metadata=setting("tokens that each step accepts", choices=SCHEDULES.meanings)
    )
    steps: int | None = field(
        default=None, metadata=setting("forwards per block; null is one per token of the block", (1, MAX_BLOCK))
    )
    threshold: float | None = field(
        default=None,
        metadata=setting("confidence above which a token is accepted at once; null accepts by count alone", (0, 1)),
    )
    temperature: float = field(
        default=0.0, metadata=setting("0 takes the most probable token, more draws at random", (0, 100))
    )
    opening: str = field(default="masked", metadata=setting("how a block begins", choices=OPENINGS, since=3))
    last_block: str | None = field(
        default=None,
        metadata=setting(
            "where the last block ends; null is cut with left and whole with tail, as the systems of either do",
            choices=LAST_BLOCKS,
            since=3,
        ),
    )
    sub_block_size: int | None = field(
        default=None,
        metadata=setting(
            "rows of the parts in which a block is denoised from left to right; null is the whole block",
            (1, MAX_BLOCK),
            since=3,
        ),
    )
    replace_above: float | None = field(
        default=None,
        metadata=setting(
            "confidence above which an accepted token of the current block is replaced by another; null never does",
            (0, 1),
            since=3,
        ),
    )
    confidence: str = field(
        default="raw", metadata=setting("what rules and the threshold compare", choices=CONFIDENCES, since=3)
    )
    comparison: str = field(
        default="above", metadata=setting("whether an equal confidence passes", choices=COMPARISONS, since=3)
    )
    fallback: str = field(
        default="count",
        metadata=setting("rows accepted besides those that pass", choices=FALLBACKS.meanings, since=3),
    )
    stop: str = field(
        default="block", metadata=setting("when a stop token ends the answer", choices=STOPS.meanings, since=3)
    )
    stop_repeats: int | None = field(
        default=None,
        metadata=setting(
            "end an answer whose last piece, of any length, has come so many times in a row; null never does",
            (2, MAX_BLOCK),
            since=3,
        ),
    )
    drop_token_ids: tuple[int, ...] = field(
        default=(),
        metadata=setting(
            "generated tokens that leave the context, and its count of positions, once their block is finished",
            (0, TOKENS),
            flag="drop-token",
            tokens=True,
            since=3,
        ),
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            table, got = setting_of(one).choices, getattr(self, one.name)
            if table is not None and (got is not None or one.default is not None):
                check_choice(one.name, got, table)
        if self.drop_token_ids and self.context_mask != "block_causal":
            raise ContractError(
                f"drop_token_ids: got {list(self.drop_token_ids)} with context_mask {self.context_mask!r}, expected "
                "'block_causal': only there is what a row sees counted in blocks"
            )
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


def autoregressive(contract: DecodeContract) -> DecodeContract:
    """`contract` with the model decoded one token per forward; token ids, positions and temperature stay."""
    plain: dict[str, object] = {"forbid_token_ids": contract.forbid_token_ids}
    plain |= {"steps": None, "threshold": None, "last_block": None, "sub_block_size": None, "replace_above": None}
    return replace(contract, **(AUTOREGRESSIVE | plain))  # type: ignore[arg-type]
