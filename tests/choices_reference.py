"""The slow, obvious decode with every choice a caller has: full forwards, Python loops, no cache, no fused rule.

Written from the definitions in docs/decoding.md. Each row remembers its block; rows see rows of their own and earlier
blocks.
"""

from __future__ import annotations

import numpy as np
from toy import Toy, filtered

from a2d.runtime.decode.noise import uniform
from a2d.runtime.decode.options import Options
from a2d.runtime.decode.rules import SCHEDULES


def logits_of(toy: Toy, rows: list[int], block: list[int], prompt: int, mask: int, o: Options):
    """`[n, V]`, guided if asked for."""
    ids = np.array(block)
    visible = (ids[None] <= ids[:, None])[None]
    positions = np.arange(len(rows))
    seen = toy.logits(toy.forward(np.array(rows), positions, visible)[0])
    if not o.guidance:
        return seen
    blind = [mask if i < prompt and token not in o.guidance_keep else token for i, token in enumerate(rows)]
    unseen = toy.logits(toy.forward(np.array(blind), positions, visible)[0])
    return unseen + (o.guidance + 1) * (seen - unseen)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def believed(lg, forbidden, o: Options, temperature: float, drawn: float):
    """Token, confidence and entropy of one row."""
    raw = softmax(lg)
    open_ = raw.copy()
    open_[list(forbidden)] = 0
    tempered = open_ ** (1 / (temperature or 1.0))
    tempered /= tempered.sum()
    kept = filtered(tempered, o.top_k, o.top_p)
    token = int(open_.argmax())
    if temperature:
        token = min(int((np.cumsum(kept) <= drawn).sum()), len(raw) - 1)
    of = {"tempered": tempered, "filtered": kept}.get(o.confidence or "raw", raw)
    H = -sum(x * np.log(x) for x in of if x > 0)
    confidence = {"entropy": np.exp(-H)}.get(o.confidence or "raw", of[token])
    return token, float(np.float32(confidence)), H


def chosen(masked: list[int], conf: dict[int, float], H: dict[int, float], count: int, bar, o: Options) -> list[int]:
    """The rows of `masked` to accept; `bar(confidence)` says whether it passes."""
    best = sorted(masked, key=lambda i: -conf[i])
    if o.rule == "sequential":
        return masked[:count]
    if o.rule in ("entropy", "joint-entropy"):
        rising, accepted, total = sorted(masked, key=lambda i: H[i]), [], 0.0
        for i in rising:
            total += H[i]
            if accepted and (total if o.rule == "entropy" else total - H[i]) > o.entropy_bound:
                break
            accepted.append(i)
        return accepted
    if o.rule == "factor":
        n = [n for n in range(1, len(best) + 1) if conf[best[n - 1]] >= 1 - o.factor / (n + 1)]
        return best[: max(n, default=1)]
    passing = [i for i in masked if bar(conf[i])]
    if o.rule == "prefix":
        n = next((n for n, i in enumerate(masked) if i not in passing), len(masked))
        return masked[: max(n, 1)]
    fallback = o.fallback or "count"
    return list({*passing, *best[: count if fallback == "count" else 1]})


def decode(toy: Toy, prompt: list[int], c, o: Options):
    """Tokens up to `max_tokens`, and denoising steps."""
    P, B, mask = len(prompt), c.block_size, c.mask_token_id or 0
    temperature = o.temperature or 0.0
    rows, answer, steps_taken = list(prompt), [], 0
    off = -P % B if c.prompt_alignment == "left" else 0
    block = [(i + off) // B for i in range(P)]
    start = P if c.prompt_alignment == "left" else P // B * B
    steps = B if o.fallback == "top-1" or (o.threshold is not None and o.steps is None) else o.steps or B

    def bar(confidence: float) -> bool:
        if o.threshold is None:
            return False
        least = np.float32(o.threshold)
        return confidence >= least if o.comparison == "at-least" else confidence > least

    for number in range(10_000):
        left = o.max_tokens - len(answer)
        size = min(B, left) if c.prompt_alignment == "left" else B
        fixed = len(rows) - start
        current = max([*block, -1]) + 1 if not fixed else block[-1]
        rows += [mask] * (size - fixed)
        block += [current] * (size - fixed)
        masked = list(range(start + fixed, start + size))
        counts = SCHEDULES[c.schedule](len(masked), B, steps)
        step = 0
        while masked:
            lg = logits_of(toy, rows, block, P, mask, o)
            drawn = uniform(o.seed, number, step, size)[0]
            made = {i: believed(lg[i], c.forbid_token_ids, o, temperature, drawn[i - start]) for i in masked}
            conf, H = {i: m[1] for i, m in made.items()}, {i: m[2] for i, m in made.items()}
            count = counts[step] if step < len(counts) else 1
            for i in chosen(masked, conf, H, count, bar, o):
                rows[i] = made[i][0]
                masked = [m for m in masked if m != i]
            step, steps_taken = step + 1, steps_taken + 1
            if o.stop == "reached":
                clear = rows[start + fixed : masked[0] if masked else len(rows)]
                if any(token in c.stop_token_ids for token in clear):
                    return [*answer, *clear][: o.max_tokens], steps_taken
        new = rows[start + fixed :]
        answer += new
        stays = [token for token in new if token not in c.drop_token_ids]
        rows[start + fixed :] = stays
        block[start + fixed :] = [current] * len(stays)
        kept = [token for token in answer if token not in c.drop_token_ids]
        over = o.stop_repeats is not None and any(
            len(kept) >= size * o.stop_repeats and kept[-size * o.stop_repeats :] == kept[-size:] * o.stop_repeats
            for size in range(1, len(kept) + 1)
        )
        if over or any(token in c.stop_token_ids for token in new) or len(answer) >= o.max_tokens:
            return answer[: o.max_tokens], steps_taken
        start = len(rows)
    raise AssertionError("no end")
