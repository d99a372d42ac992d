"""The plain torch loop that `a2d bench --against torch` compares with.

What somebody writes who has the checkpoint and transformers: its own model class, its own cache, the block denoised
with the cache kept, and a forward of its own to commit each block, as the published samplers do. The weights come out
of the bundle, so both sides decode the same numbers. Greedy, block-causal, text only; no piece of a2d's loop.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..engines.errors import RequestError
from ..runtime.bench import PeerRun
from ..runtime.bundle import Bundle
from ..runtime.schedule import SCHEDULES
from .checkpoint import Checkpoint
from .families import Family, describe
from .store import CONFIG_KEY

__all__ = ["TorchPeer"]


class TorchPeer:
    """transformers' class for the bundle's family, with the bundle's weights."""

    def __init__(self, bundle: Bundle, precision: str, threads: int | None) -> None:
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - a second to import

        if bundle.manifest.vision is not None or bundle.manifest.decode.shift != "none":
            raise RequestError("--against torch decodes text models without a logit shift; leave it out here")
        if threads is not None:
            torch.set_num_threads(threads)
        variant = bundle.variant(precision)
        weights = _weights(bundle, variant.graphs["backbone"]) | _weights(bundle, variant.graphs["denoise"])
        config = json.loads(ir.load(bundle.file(variant.graphs["backbone"])).metadata_props[CONFIG_KEY])
        family = describe(Checkpoint(bundle.path, config))
        with torch.device("meta"):
            self._model = AutoModelForCausalLM.from_config(family.config, dtype=torch.float32)
        _load(self._model, family, weights)
        self._contract = bundle.manifest.decode

    def decode(
        self, prompt: NDArray[np.int64], block: int, steps: int, threshold: float | None, tokens: int
    ) -> PeerRun:
        """See `Peer.decode`."""
        with torch.inference_mode():
            return _Decode(self._model, self._contract, block).run(prompt, steps, threshold, tokens)


class _Decode:
    """One decode: a cache and a position."""

    def __init__(self, model: Any, contract: Any, block: int) -> None:
        from transformers import DynamicCache  # noqa: PLC0415 - as above

        self._model, self._contract, self._block = model, contract, block
        self._cache = DynamicCache(config=model.config)
        self._forwards = 0

    def run(self, prompt: NDArray[np.int64], steps: int, threshold: float | None, tokens: int) -> PeerRun:
        """Prefill, then block after block; the clock starts after the first block, as in a2d's report."""
        P, B, c = len(prompt), self._block, self._contract
        start = P if c.prompt_alignment == "left" else P // B * B
        if start:
            self._forward(torch.from_numpy(prompt[:start]), self._context_mask(start, P), keep=True)
        rows, started = prompt.tolist(), time.perf_counter()
        first = True
        while len(rows) < P + tokens:
            begin = start if first else len(rows)
            done = self._denoise(torch.tensor(rows[begin:], dtype=torch.int64), steps, threshold)
            rows = rows[:begin] + done.tolist()
            if len(rows) < P + tokens:
                self._forward(done, None, keep=True)
            if first:
                first, started = False, time.perf_counter()
        return PeerRun(tuple(rows[P : P + tokens]), time.perf_counter() - started, self._forwards)

    def _denoise(self, head: Tensor, steps: int, threshold: float | None) -> Tensor:
        block = torch.cat([head, torch.full((self._block - len(head),), self._contract.mask_token_id)])
        masked = torch.arange(self._block) >= len(head)
        for count in SCHEDULES[self._contract.schedule](int(masked.sum()), self._block, steps):
            if not masked.any():
                break
            probability = self._forward(block, None, keep=False).softmax(-1)
            probability_allowed = probability.index_fill(-1, torch.tensor(self._contract.forbid_token_ids), -1.0)
            confidence, proposed = probability_allowed.max(-1)
            ranked = torch.where(masked, confidence, -1.0)
            accept = torch.zeros_like(masked).index_fill(0, ranked.topk(count).indices, True)
            if threshold is not None:
                accept |= confidence > threshold
            accept &= masked
            block, masked = torch.where(accept, proposed, block), masked & ~accept
        return block

    def _forward(self, tokens: Tensor, mask: Tensor | None, keep: bool) -> Tensor:
        """Logits of the rows; their keys and values stay in the cache if `keep`."""
        past, rows = self._cache.get_seq_length(), len(tokens)
        if mask is None:
            mask = torch.ones(rows, past + rows, dtype=torch.bool)
        out = self._model(
            input_ids=tokens[None],
            attention_mask=mask[None, None],
            position_ids=torch.arange(past, past + rows)[None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1 if keep else 0,  # nobody looks at the logits of a commit
        )
        self._forwards += 1
        if not keep:
            self._cache.crop(-rows)
        logits: Tensor = out.logits[0]
        return logits

    def _context_mask(self, rows: int, prompt: int) -> Tensor:
        i = torch.arange(rows)
        if self._contract.context_mask != "block_causal":
            return i[:, None] >= i[None, :]
        offset = -prompt % self._block if self._contract.prompt_alignment == "left" else 0
        blocks = (i + offset) // self._block
        return blocks[:, None] >= blocks[None, :]


def _weights(bundle: Bundle, graph: str) -> dict[str, Tensor]:
    """The named weights of one graph."""
    initializers = ir.load(bundle.file(graph)).graph.initializers
    return {
        name: torch.from_numpy(np.array(value.const_value.numpy(), np.float32))
        for name, value in initializers.items()
        if isinstance(value.const_value, ir.ExternalTensor)
    }


def _load(model: Any, family: Family, weights: dict[str, Tensor]) -> None:
    """Take the fused parameters apart again and put them into `model`."""
    state: dict[str, Tensor] = {}
    for name, source in family.sources.items():
        joined = weights[name].T if source.transpose else weights[name]
        parts = joined.split([shape[0] for shape in source.shapes])
        state |= {n: part.contiguous() for n, part in zip(source.names, parts, strict=True)}
    missing = model.load_state_dict(state, assign=True, strict=False).missing_keys
    model.tie_weights()
    assert all("lm_head" in name for name in missing), missing
    _rebuild_rotary(model)
    model.eval()


def _rebuild_rotary(model: Any) -> None:
    """Buffers made on `meta` have no numbers; the rotary embedding's come from the config."""
    kind = type(model.model.rotary_emb)
    model.model.rotary_emb = kind(config=model.config)
