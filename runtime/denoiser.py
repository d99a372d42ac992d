"""The denoise graphs behind one call: hidden rows and a block in, a proposal out.

Which hidden row predicts which row of the block (the logit shift) is an index here, so that the graphs know no shifts.
Temperature picks the graph: `denoise` takes the most probable token, `sample` draws one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..engines.errors import NumericsError
from ..engines.protocol import Buffer, Engine
from .block import Block, Proposal
from .noise import uniform
from .options import Plan

__all__ = ["Denoiser", "gather_rows"]

NO_THRESHOLD = 2.0
"""A confidence that no token has."""


def gather_rows(shift: str, rows: int, block: int) -> NDArray[np.int64]:
    """For each row of the block, which of [carry, hidden rows] predicts it; the block is the last of `rows` rows."""
    own = np.arange(rows - block, rows) + 1
    if shift == "none":
        return own
    before = own - 1
    if shift == "right_in_block":
        before[0] = own[0]
    return before


@dataclass(frozen=True)
class Denoiser:
    """Proposals for one generation."""

    load: Callable[[str], Engine]
    """The graph by name; a graph is loaded when it is first asked for."""
    shift: str
    plan: Plan

    def propose(self, hidden: Buffer, carry: Buffer, block: Block, count: int, at: tuple[int, int]) -> Proposal:
        """Propose tokens for `block`, whose rows are the last of `hidden [1, R, H]`.

        `carry [1, 1, H]` is the hidden row before the first of `hidden`; `at` is (block, step), for the noise.
        Raises NumericsError if a confidence is not finite.
        """
        plan, rows = self.plan, hidden.shape[1]
        feeds: dict[str, NDArray[np.generic] | Buffer] = {
            "hidden": hidden,
            "carry": carry,
            "gather": gather_rows(self.shift, rows, len(block.tokens))[None],
            "tokens": block.tokens[None],
            "masked": block.masked[None],
            "count": np.array([count], np.int64),
            "threshold": np.array([NO_THRESHOLD if plan.threshold is None else plan.threshold], np.float32),
        }
        graph = "denoise"
        if plan.temperature > 0:
            graph = "sample"
            feeds["noise"] = uniform(plan.options.seed, *at, len(block.tokens))
            feeds["temperature"] = np.array([plan.temperature], np.float32)
            feeds["top_k"] = np.array([plan.options.top_k], np.int64)
            feeds["top_p"] = np.array([plan.options.top_p], np.float32)
        made = self.load(graph).run(feeds, OUTPUTS)
        proposal = Proposal(**{name: made[name][0] for name in OUTPUTS})  # type: ignore[index]
        _check_finite(proposal, graph, at)
        return proposal


OUTPUTS = ("proposed", "confidence", "entropy", "held", "next_tokens", "next_masked")


def _check_finite(proposal: Proposal, graph: str, at: tuple[int, int]) -> None:
    bad = np.flatnonzero(~np.isfinite(proposal.confidence))
    if len(bad):
        raise NumericsError(
            f"graph {graph!r}, block {at[0]}, step {at[1]}: the confidence of rows {bad.tolist()} is not finite. "
            "The weights or activations overflow at this precision: export with --precision fp32 (or bf16) and "
            "check the checkpoint for NaN."
        )
