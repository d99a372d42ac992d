"""`--against transformers`: the model's own class in transformers, with its own cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...runtime.bundle.files import Bundle
from ..families import Family
from .loop import PlainLoop, check_plain
from .weights import family_of, weights_of

__all__ = ["transformers_peer"]


def transformers_peer(bundle: Bundle, precision: str, threads: int | None) -> PlainLoop:
    """The peer for a bundle. Raises RequestError for one that the plain loop does not decode."""
    check_plain(bundle, "transformers")
    forward = _Transformers(family_of(bundle, precision), weights_of(bundle, precision))
    return PlainLoop(bundle.manifest.decode, forward, threads)


class _Transformers:
    """A causal language model and a DynamicCache."""

    def __init__(self, family: Family, weights: dict[str, Tensor]) -> None:
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - a second to import

        with torch.device("meta"):
            self._model: Any = AutoModelForCausalLM.from_config(family.config, dtype=torch.float32)
        _fill(self._model, family, weights)
        self.reset()

    def reset(self) -> None:
        """See `Forward`."""
        from transformers import DynamicCache  # noqa: PLC0415 - as above

        self._cache = DynamicCache(config=self._model.config)

    def __call__(self, tokens: Tensor, mask: Tensor, keep: bool) -> Tensor:
        """See `Forward`."""
        past = self._cache.get_seq_length()
        out = self._model(
            input_ids=tokens[None],
            attention_mask=mask[None, None],
            position_ids=torch.arange(past, past + len(tokens))[None],
            past_key_values=self._cache,
            use_cache=True,
        )
        if not keep:
            self._cache.crop(-len(tokens))
        logits: Tensor = out.logits[0]
        return logits


def _fill(model: Any, family: Family, weights: dict[str, Tensor]) -> None:
    """Take the fused parameters apart again and put them into `model`."""
    state: dict[str, Tensor] = {}
    for name, source in family.sources.items():
        joined = weights[name].T if source.transpose else weights[name]
        parts = joined.split([shape[0] for shape in source.shapes])
        state |= {n: part.contiguous() for n, part in zip(source.names, parts, strict=True)}
    missing = model.load_state_dict(state, assign=True, strict=False).missing_keys
    assert all("lm_head" in name for name in missing), missing
    model.tie_weights()
    # Buffers made on `meta` have no numbers; the rotary embedding's come from the config.
    model.model.rotary_emb = type(model.model.rotary_emb)(config=model.config)
    model.eval()
