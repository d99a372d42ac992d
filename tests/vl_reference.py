"""The slow, obvious decode of published vision-language block-diffusion systems, on transformers' own classes.

One whole forward over every row there is at every step, without a cache; written from the systems' samplers, not from
a2d's loop. `autoregressive` is one token per forward, which is what self-speculative decoding has to equal. Randomness
is given: `noise` says what each row of a step draws.
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
    sub: int | None = None
    threshold: float | None = None
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    confidence: str = "raw"
    """Of what probabilities, where tokens are drawn: `raw`, `tempered`, or `filtered` by top-k and top-p as well."""
    token_causal: bool = False
    left: bool = False
    """Blocks are counted from the prompt's end, and the last one is cut."""
    shift: bool = False
    predicted: bool = False
    repeats: int | None = None
    """Stop where the tail repeats that often."""


@dataclass(frozen=True)
class Shown:
    """A prompt: its tokens, what stands in for some of them, and where rows are."""

    tokens: list[int]
    features: Tensor | None
    """`[N, H]` of the N rows that are `placeholder`."""
    placeholder: int
    positions: Tensor
    """`[P]`, or `[3, P]` for mrope."""
    following: int
    """Position of the first row after it."""


class Rows:
    """A decoder of transformers' over a prompt and what follows it."""

    def __init__(self, decoder: Any, lm_head: Any, shown: Shown) -> None:
        self.decoder, self.lm_head, self.shown = decoder, lm_head, shown

    @torch.no_grad()
    def logits(self, x: list[int], sees: Tensor) -> Tensor:
        """Logits `[R, V]` of the rows `x`; `sees [R, R]` says which keys each row sees."""
        shown, own = self.shown, torch.arange(len(x) - len(self.shown.tokens)) + self.shown.following
        own = own.expand(*shown.positions.shape[:-1], -1)
        positions = torch.cat([shown.positions, own], -1)
        embedded = self.decoder.get_input_embeddings()(torch.tensor(x))
        if shown.features is not None:
            pictured = torch.tensor([i < len(shown.tokens) and t == shown.placeholder for i, t in enumerate(x)])
            embedded[pictured] = shown.features
        mask = torch.where(sees, 0.0, torch.finfo(torch.float32).min)[None, None]
        made = self.decoder(
            inputs_embeds=embedded[None],
            attention_mask={"full_attention": mask},
            position_ids=positions[..., None, :],
            use_cache=False,
        )
        return self.lm_head(made.last_hidden_state)[0]


def visible(rows: int, start: int, end: int, how: How) -> Tensor:
    """`[rows, rows]`: rows from `start` on are the noisy block, which sees all before `end`."""
    offset = -start % how.block if how.left else 0
    q, k = torch.arange(rows)[:, None], torch.arange(rows)[None]
    settled = k <= q if how.token_causal else (k + offset) // how.block <= (q + offset) // how.block
    return torch.where(q >= start, k < end, settled)


def causal(rows: int) -> Tensor:
    return torch.ones(rows, rows).tril().bool()


def chosen(logits: Tensor, how: How, u: Tensor | None) -> tuple[Tensor, Tensor]:
    """Tokens `[R]` and their confidence, of raw logits `[R, V]`; the mask is never chosen."""
    allowed = logits.clone()
    allowed[:, how.mask] = -torch.inf
    if u is None:
        token = allowed.argmax(-1)
        return token, logits.softmax(-1).gather(1, token[:, None])[:, 0]
    tempered = (allowed / how.temperature).softmax(-1)
    kept = filtered(tempered, how)
    mass = kept.cumsum(-1)
    token = (mass > u[:, None] * mass[:, -1:]).int().argmax(-1)
    p = {"raw": logits.softmax(-1), "tempered": tempered, "filtered": kept / kept.sum(-1, keepdim=True)}
    return token, p[how.confidence].gather(1, token[:, None])[:, 0]


def filtered(p: Tensor, how: How) -> Tensor:
    """`p [R, V]` with zeros where top-k, then top-p, leave nothing."""
    if how.top_k:
        p = torch.where(p >= p.topk(how.top_k, -1).values[:, -1:], p, 0.0)
    if how.top_p < 1:
        ordered, order = (p / p.sum(-1, keepdim=True)).sort(descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        p = torch.where((before < how.top_p).gather(1, order.argsort(-1)), p, 0.0)
    return p


def accepted(conf: Tensor, masked: list[int], count: int, threshold: float | None) -> list[int]:
    """low_confidence_static, or with a threshold low_confidence_dynamic."""
    high = [] if threshold is None else [i for i in masked if conf[i] > threshold]
    return high if len(high) >= count else sorted(masked, key=lambda i: -float(conf[i]))[: min(count, len(masked))]


def decode(rows: Rows, how: How, noise: Noise | None = None) -> list[int]:
    """Generated tokens, up to and including the block with a stop token, `max_tokens` at most."""
    x, P, B, sub, index = list(rows.shown.tokens), len(rows.shown.tokens), how.block, how.sub or how.block, 0
    while len(x) - P < how.max_tokens:
        start = len(x) if how.left else len(x) // B * B
        end = min(start + B, P + how.max_tokens) if how.left else start + B
        fixed, step = len(x) - start, 0
        if how.predicted:
            x.append(int(chosen(rows.logits(x, causal(len(x)))[-1:], how, None)[0]))
            step = 1
        masked = list(range(len(x) - start, end - start))
        x += [how.mask] * len(masked)
        part, schedule = None, []
        while masked:
            if masked[0] // sub != part:
                part, S = masked[0] // sub, -(-how.steps * sub // B)
                schedule = [sub // S + (j < sub % S) for j in range(S)]
            own = rows.logits(x, visible(end, start, end, how))
            logits = own[start - 1 : end - 1] if how.shift else own[start:end]
            token, conf = chosen(logits, how, None if how.temperature == 0 else noise(index, step, end - start))
            here = [i for i in masked if i // sub == part]
            for i in accepted(conf, here, schedule.pop(0) if schedule else 1, how.threshold):
                x[start + i] = int(token[i])
                masked.remove(i)
            step += 1
        index += 1
        if any(token in how.stops for token in x[start + fixed :]) or repeating(x[P:], how.repeats):
            break
    return x[P : P + how.max_tokens]


def repeating(tokens: list[int], least: int | None) -> bool:
    """The tail is one piece, whatever its length, that comes `least` times in a row."""
    return least is not None and any(
        tokens[-size * least :] == tokens[-size:] * least for size in range(1, len(tokens) // least + 1)
    )


def autoregressive(rows: Rows, how: How, noise: Noise | None = None) -> list[int]:
    """One token per forward, up to and including a stop token; noise is that of blocks of one."""
    x, P = list(rows.shown.tokens), len(rows.shown.tokens)
    while len(x) - P < how.max_tokens and x[-1] not in how.stops * (len(x) > P):
        u = None if how.temperature == 0 else noise(len(x) - P, 0, 1)
        x.append(int(chosen(rows.logits(x, causal(len(x)))[-1:], how, u)[0]))
    return x[P:]
