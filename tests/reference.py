"""The slow, obvious decode: one full forward over the whole sequence at every step, no cache, no merging.

Written from the definition of the contract, not from the loop, so that the two can disagree.
"""

from __future__ import annotations

import numpy as np
from toy import Toy

from a2d.runtime.contract import DecodeContract


def block_of(i: int, P: int, B: int, alignment: str) -> int:
    return (i + (-P % B if alignment == "left" else 0)) // B


def sees(q: int, k: int, P: int, current: int, c: DecodeContract, B: int) -> bool:
    """Whether row q sees key k while block number `current` is denoised; all later rows do not exist yet."""
    bq, bk = (block_of(i, P, B, c.prompt_alignment) for i in (q, k))
    if bq == current:  # the noisy block sees everything up to its own end
        return bk <= bq
    causal = c.context_mask == "token_causal" or (c.context_mask == "causal_prompt" and q < P)
    return k <= q if causal else bk <= bq


def decode(
    toy: Toy, prompt: list[int], c: DecodeContract, steps: int, threshold: float | None, max_tokens: int, B: int
):
    """Tokens and number of denoise steps, for the confidence rule with base-remainder counts, greedily."""
    P, rows, steps_taken = len(prompt), list(prompt), 0
    last = P + max_tokens
    while True:
        start = P if len(rows) == P and c.prompt_alignment == "left" else len(rows)
        if len(rows) == P and c.prompt_alignment == "tail":
            start = P // B * B
        end = min(start + B, last) if c.prompt_alignment == "left" else start + B
        masked = [i >= len(rows) for i in range(end)]
        rows = rows + [c.mask_token_id] * (end - len(rows))
        current = block_of(start, P, B, c.prompt_alignment)
        for step in range(steps):
            if not any(masked):
                break
            n = len(rows)
            visible = np.array([[sees(q, k, P, current, c, B) for k in range(n)] for q in range(n)])
            hidden, _ = toy.forward(np.array(rows), np.arange(n), visible[None])
            logits = toy.logits(hidden)
            if c.shift != "none":
                own = logits[start].copy()
                logits = np.roll(logits, 1, axis=0)
                if c.shift == "right_in_block":
                    logits[start] = own
            p = np.exp(logits - logits.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            best = np.where(np.isin(np.arange(p.shape[1]), c.forbid_token_ids), -1, p).argmax(-1)
            rank = sorted((i for i in range(n) if masked[i]), key=lambda i: -p[i, best[i]])
            count = B // steps + (step < B % steps)
            for place, i in enumerate(rank):
                if place < count or (threshold is not None and p[i, best[i]] > threshold):
                    rows[i], masked[i] = int(best[i]), False
            steps_taken += 1
        done = rows[max(start, P) :]
        if any(token in c.stop_token_ids for token in done) or len(rows) >= last:
            return rows[P:last], steps_taken
