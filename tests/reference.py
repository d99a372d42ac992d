"""The slow, obvious decode: one full forward over the whole sequence at every step, no cache, no merging.

Written from the definition of the contract, not from the loop, so that the two can disagree.
"""

from __future__ import annotations

import numpy as np
from toy import Toy

from a2d.runtime.decode.contract import DecodeContract


def block_of(i: int, P: int, B: int, alignment: str) -> int:
    return (i + (-P % B if alignment == "left" else 0)) // B


def sees(q: int, k: int, P: int, current: int, c: DecodeContract, B: int) -> bool:
    """Whether row q sees key k while block number `current` is denoised; all later rows do not exist yet."""
    bq, bk = (block_of(i, P, B, c.prompt_alignment) for i in (q, k))
    if bq == current:  # the noisy block sees everything up to its own end
        return bk <= bq
    causal = c.context_mask == "token_causal" or (c.context_mask == "causal_prompt" and q < P)
    return k <= q if causal else bk <= bq


def probabilities(toy: Toy, rows: list[int], P: int, current: int, c: DecodeContract, B: int):
    """`[n, V]` of every row by itself, all rows of block `current` seeing each other."""
    n = len(rows)
    visible = np.array([[sees(q, k, P, current, c, B) for k in range(n)] for q in range(n)])
    hidden, _ = toy.forward(np.array(rows), np.arange(n), visible[None])
    logits = toy.logits(hidden)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def best_of(p, c: DecodeContract, sets=None):
    """The most probable tokens; `sets` holds the allowed tokens of some rows of `p`, by their number."""
    open_to = np.broadcast_to(~np.isin(np.arange(p.shape[-1]), c.forbid_token_ids), p.shape).copy()
    for row, allowed in (sets or {}).items():
        if row < len(p):
            open_to[row] &= np.isin(np.arange(p.shape[-1]), list(allowed))
    return np.where(open_to, p, -1).argmax(-1)


def decode(
    toy: Toy,
    prompt: list[int],
    c: DecodeContract,
    steps: int,
    threshold: float | None,
    max_tokens: int,
    B: int,
    given: dict[int, int] | None = None,
    sets: dict[int, set[int]] | None = None,
):
    """Tokens and number of denoise steps, for the confidence rule with base-remainder counts, greedily.

    `given` are tokens of some rows of the sequence, `sets` those that others may hold.
    """
    given, sets = given or {}, sets or {}
    P, rows, steps_taken = len(prompt), list(prompt), 0
    last, sub = P + max_tokens, c.sub_block_size or B
    while True:
        start = P if len(rows) == P and c.prompt_alignment == "left" else len(rows)
        if len(rows) == P and c.prompt_alignment == "tail":
            start = P // B * B
        cut = c.last_block == "cut" if c.last_block else c.prompt_alignment == "left"
        end = min(start + B, last) if cut else start + B
        current = block_of(start, P, B, c.prompt_alignment)
        if c.opening == "predicted" and len(rows) == start and start not in given:
            last_row = probabilities(toy, rows, P, current, c, B)[-1:]
            rows.append(int(best_of(last_row, c, {0: sets[start]} if start in sets else None)[0]))
            steps_taken += 1
        masked = [i >= len(rows) and i not in given for i in range(end)]
        rows = rows + [given.get(i, c.mask_token_id) for i in range(len(rows), end)]
        for first in range(start, end, sub):
            part = range(first, min(first + sub, end))
            step, share = 0, -(-steps * sub // B)
            while any(masked[i] for i in part):
                p = probabilities(toy, rows, P, current, c, B)
                if c.shift != "none":
                    own = p[start].copy()
                    p = np.roll(p, 1, axis=0)
                    if c.shift == "right_in_block":
                        p[start] = own
                best = best_of(p, c, sets)
                rank = sorted((i for i in part if masked[i]), key=lambda i: -p[i, best[i]])
                count = sub // share + (step < sub % share)
                for place, i in enumerate(rank):
                    if place < count or (threshold is not None and p[i, best[i]] > threshold):
                        rows[i], masked[i] = int(best[i]), False
                steps_taken, step = steps_taken + 1, step + 1
        done = rows[max(start, P) :]
        if any(token in c.stop_token_ids for token in done) or len(rows) >= last:
            return rows[P:last], steps_taken
