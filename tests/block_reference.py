"""The slow, obvious decode of published block-diffusion systems, on transformers' own classes.

One whole forward over everything there is so far at every step, without a cache; written from the systems' samplers,
not from a2d's loop. Randomness is given: `noise` says what each row of a step draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Noise = Callable[[int, int, int], Tensor]
"""(block, step, rows) to uniform numbers `[rows]`."""


@dataclass(frozen=True)
class How:
    """What a system does with its model."""

    block: int
    mask: int
    stops: tuple[int, ...]
    max_tokens: int
    steps: int
    threshold: float | None = None
    rule: str = "confidence"
    bound: float = 0.0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    filtered: bool = False
    """Confidence is the probability that a token was drawn with, after temperature, top-k and top-p."""
    edit: float | None = None
    post_steps: int = 16
    sub: int | None = None
    fast_dllm: bool = False
    """Logits shifted inside the block, first token from the commit, last block cut."""
    block_cache: bool = False


def forward(model: Any, tokens: list[int], block: int, cache: Any = None, at: int = 0) -> Tensor:
    """Logits `[R, V]` of `tokens` from row `at` on: a row sees its own block and all before it."""
    rows, keys = torch.arange(at, at + len(tokens)), torch.arange(cache.rows if cache else at + len(tokens))
    sees = keys[None] // block <= rows[:, None] // block
    mask = torch.where(sees, 0.0, torch.finfo(torch.float32).min)[None, None]
    with torch.no_grad():
        made = model(
            input_ids=torch.tensor([tokens]),
            # As each class takes a mask of one's own.
            attention_mask={"full_attention": mask} if model.config.model_type in ("qwen2", "qwen3") else mask,
            position_ids=rows[None],
            past_key_values=cache,
            use_cache=cache is not None,
        )
    return made.logits[0]


class BlockCache:
    """Keys and values of all rows, as they were in one whole forward; a part is replaced while it is looked at."""

    def __init__(self, rows: int) -> None:
        self.rows, self.held, self.part = rows, {}, slice(0, 0)

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if layer not in self.held:
            self.held[layer] = (key, value)
            return key, value
        seen = tuple(old.clone() for old in self.held[layer])
        for old, new in zip(seen, (key, value), strict=True):
            old[:, :, self.part] = new
        return seen

    def get_seq_length(self, *_: Any) -> int:
        return 0

    def get_mask_sizes(self, *_: Any) -> tuple[int, int]:
        return self.rows, 0


def chosen(logits: Tensor, how: How, u: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens `[R]`, their probability, and the entropy, of raw logits `[R, V]`; the mask is never chosen."""
    p = logits.softmax(-1)
    allowed = logits.clone()
    allowed[:, how.mask] = -torch.inf
    token, believed = allowed.argmax(-1), p
    if u is not None:
        q = kept(allowed / how.temperature, how).softmax(-1)
        drawn = q.cumsum(-1)
        token = (drawn > u[:, None] * drawn[:, -1:]).int().argmax(-1)
        believed = q if how.filtered else p
    return token, believed.gather(1, token[:, None])[:, 0], torch.special.entr(believed).sum(-1)


def kept(scaled: Tensor, how: How) -> Tensor:
    """`scaled` logits with all but the `top_k` best, and of these the fewest that hold `top_p`, at minus infinity."""
    if how.top_k:
        scaled = scaled.masked_fill(scaled < scaled.topk(how.top_k)[0][:, -1:], -torch.inf)
    if how.top_p < 1:
        order = scaled.argsort(-1, descending=True)
        p = scaled.softmax(-1).gather(1, order)
        spare = torch.zeros_like(scaled, dtype=torch.bool).scatter(1, order, p.cumsum(-1) - p >= how.top_p)
        scaled = scaled.masked_fill(spare, -torch.inf)
    return scaled


def accepted(conf: Tensor, entropy: Tensor, masked: list[int], count: int, how: How) -> list[int]:
    """Which of the `masked` rows a step settles."""
    count = min(count, len(masked))
    if how.rule == "sequential":
        return masked[:count]
    if how.rule == "entropy":
        order, taken, total = sorted(masked, key=lambda i: float(entropy[i])), [], 0.0
        for i in order:
            total += float(entropy[i])
            if taken and total > how.bound:
                break
            taken.append(i)
        return taken
    high = [] if how.threshold is None else [i for i in masked if conf[i] > how.threshold]
    return high if len(high) >= count else sorted(masked, key=lambda i: -float(conf[i]))[:count]


def decode(model: Any, prompt: list[int], how: How, noise: Noise | None = None) -> list[int]:
    """Generated tokens, up to and including the block with a stop token, `max_tokens` at most."""
    P, B, sub = len(prompt), how.block, how.sub or how.block
    x, index = list(prompt), 0
    while len(x) - P < how.max_tokens:
        start, step = len(x) // B * B, 0
        end = min(start + B, P + how.max_tokens) if how.fast_dllm else start + B
        fixed = len(x) - start
        if how.fast_dllm and fixed == 0:  # the commit pass, or the prefill, yields a token
            x.append(int(chosen(forward(model, x, B)[-1:], how, None)[0]))
            step = 1
        x += [how.mask] * (end - len(x))
        masked, post, schedule, part, cache = [i for i in range(start, end) if x[i] == how.mask], 0, [], None, None
        masked = [i for i in masked if i - start >= max(fixed, step)]
        while masked or (how.edit is not None and post < how.post_steps):
            post += not masked
            if masked and (masked[0] - start) // sub != part:
                part, S = (masked[0] - start) // sub, -(-how.steps * sub // B)
                schedule, cache = [sub // S + (j < sub % S) for j in range(S)], None
            first, last = start + (part or 0) * sub, min(start + ((part or 0) + 1) * sub, end)
            if how.block_cache and cache is not None and x[first] != how.mask:
                cache.part = slice(first, last)
                own = torch.zeros(end, model.config.vocab_size)
                own[first:last] = forward(model, x[first:last], B, cache, first)
            else:
                cache = BlockCache(end) if how.block_cache else None
                own = forward(model, x, B, cache)
            logits = torch.cat([own[start : start + 1], own[start : end - 1]]) if how.fast_dllm else own[start:end]
            u = None if how.temperature == 0 else noise(index, step, end - start)
            token, conf, entropy = chosen(logits, how, u)
            here = [i - start for i in masked if first <= i < last]
            take = accepted(conf, entropy, here, schedule.pop(0) if schedule and masked else 1, how) if here else []
            settled = [i for i in range(fixed, end - start) if start + i not in masked]
            edits = [] if how.edit is None else [i for i in settled if token[i] != x[start + i] and conf[i] > how.edit]
            for i in take + edits:
                x[start + i] = int(token[i])
            quiet = not masked and not edits
            masked = [i for i in masked if i - start not in take]
            step += 1
            if quiet:
                break
        index += 1
        if any(token in how.stops for token in x[start + fixed :]):
            break
    return x[P : P + how.max_tokens]
