"""The plain decode loop in torch that peers share.

What somebody writes who has a model in torch: the block is denoised with the cache kept, and committed by a whole
forward of its own, as the published samplers do. Greedy, block-causal, without a logit shift. Knows no model: it is
given a forward.
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...engines.errors import RequestError
from ...runtime.bundle.files import Bundle
from ...runtime.decode.contract import DecodeContract
from ...runtime.decode.rules import SCHEDULES
from ...runtime.measure.bench import PeerRun

__all__ = ["Forward", "PlainLoop", "check_plain"]


class Forward(Protocol):
    """A model with its cache."""

    def reset(self) -> None:
        """Empty the cache."""

    def __call__(self, tokens: Tensor, mask: Tensor, keep: bool) -> Tensor:
        """Logits `[R, V]` of `tokens [R]` behind the cached rows; `mask [R, cached + R]` says what each sees.

        The rows' keys and values stay in the cache if `keep`.
        """


def check_plain(bundle: Bundle, name: str) -> None:
    """Raise RequestError for a bundle that the plain loop does not decode."""
    decode = bundle.manifest.decode
    parts = decode.sub_block_size is not None or decode.replace_above is not None
    shifted = decode.shift != "none" or decode.context_mask == "token_causal"
    if bundle.manifest.vision is not None or shifted or parts:
        raise RequestError(
            f"{name} decodes text models without a logit shift, sub-blocks or edits, block-causal or with a "
            "causal prompt; leave it out for this bundle"
        )


class PlainLoop:
    """A `Peer`: decodes by a forward."""

    def __init__(self, contract: DecodeContract, forward: Forward, threads: int | None) -> None:
        self._contract, self._forward, self._threads = contract, forward, threads
        self._forwards = self._cached = 0

    def decode(
        self, prompt: NDArray[np.int64], block: int, steps: int, threshold: float | None, tokens: int
    ) -> PeerRun:
        """See `Peer.decode`."""
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        self._forward.reset()
        self._forwards = self._cached = 0
        with torch.inference_mode():
            return self._decode(prompt, block, steps, threshold, tokens)

    def _decode(
        self, prompt: NDArray[np.int64], block: int, steps: int, threshold: float | None, tokens: int
    ) -> PeerRun:
        """Prefill, then block after block; the clock starts after the first block, as in a2d's report."""
        P = len(prompt)
        start = P if self._contract.prompt_alignment == "left" else P // block * block
        if start:
            self._run(torch.from_numpy(prompt[:start]), self._context_mask(start, P, block), keep=True)
        rows, started = prompt.tolist(), 0.0
        while len(rows) < P + tokens:
            begin = start if len(rows) == P else len(rows)
            done = self._denoise(torch.tensor(rows[begin:], dtype=torch.int64), block, steps, threshold)
            rows = rows[:begin] + done.tolist()
            if len(rows) < P + tokens:
                self._run(done, None, keep=True)
            started = started or time.perf_counter()
        return PeerRun(tuple(rows[P : P + tokens]), time.perf_counter() - started, self._forwards)

    def _denoise(self, head: Tensor, size: int, steps: int, threshold: float | None) -> Tensor:
        block = torch.cat([head, torch.full((size - len(head),), self._contract.mask_token_id)])
        masked = torch.arange(size) >= len(head)
        forbidden = torch.tensor(self._contract.forbid_token_ids, dtype=torch.int64)
        for count in SCHEDULES[self._contract.schedule](int(masked.sum()), size, steps):
            if not masked.any():
                break
            probability = self._run(block, None, keep=False).softmax(-1)
            confidence, proposed = probability.index_fill(-1, forbidden, -1.0).max(-1)
            best = torch.where(masked, confidence, -1.0).topk(count).indices
            accept = torch.zeros_like(masked).index_fill(0, best, True)
            if threshold is not None:
                accept |= confidence > threshold
            accept &= masked
            block, masked = torch.where(accept, proposed, block), masked & ~accept
        return block

    def _run(self, tokens: Tensor, mask: Tensor | None, keep: bool) -> Tensor:
        if mask is None:
            mask = torch.ones(len(tokens), self._cached + len(tokens), dtype=torch.bool)
        logits = self._forward(tokens, mask, keep)
        self._forwards += 1
        self._cached += len(tokens) if keep else 0
        return logits

    def _context_mask(self, rows: int, prompt: int, block: int) -> Tensor:
        i = torch.arange(rows)
        if self._contract.context_mask == "block_causal":
            i = (i + (-prompt % block if self._contract.prompt_alignment == "left" else 0)) // block
        return i[:, None] >= i[None, :]
