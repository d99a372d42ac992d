"""`--against torch`: the exported modules themselves, run by torch as they stand, with a concatenated cache.

What exporting and the loop buy over the same arithmetic: fused projections and grouped attention are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ...runtime.bundle.files import Bundle
from ..graphs.backbone import Embed, Final, Layer
from ..graphs.shapes import DecoderShape
from .loop import PlainLoop, check_plain
from .weights import family_of, weights_of

__all__ = ["torch_peer"]


def torch_peer(bundle: Bundle, precision: str, threads: int | None) -> PlainLoop:
    """The peer for a bundle. Raises RequestError for one that the plain loop does not decode."""
    check_plain(bundle, "torch")
    forward = _Eager(family_of(bundle, precision).shape, weights_of(bundle, precision))
    return PlainLoop(bundle.manifest.decode, forward, threads)


class _Eager:
    """The decoder's modules and a cache."""

    def __init__(self, shape: DecoderShape, weights: dict[str, Tensor]) -> None:
        self._embed, self._final = _filled(Embed(shape), weights, ""), _filled(Final(shape), weights, "")
        self._layers = [_filled(Layer(shape), weights, f"layers.{i}.") for i in range(shape.layers)]
        self._head = weights["lm_head"]
        self._empty = torch.zeros(1, shape.kv_heads, 0, shape.head_dim)
        self.reset()

    def reset(self) -> None:
        """See `Forward`."""
        self._cache = [(self._empty, self._empty)] * len(self._layers)

    def __call__(self, tokens: Tensor, mask: Tensor, keep: bool) -> Tensor:
        """See `Forward`."""
        past = self._cache[0][0].shape[2]
        positions = torch.arange(past, past + len(tokens))[None]
        x, cos, sin, bias = self._embed(tokens[None], positions, mask[None, None])
        for i, layer in enumerate(self._layers):
            key, value = self._cache[i]
            x, new_key, new_value = layer(x, cos, sin, bias, key, value)
            if keep:
                self._cache[i] = (torch.cat([key, new_key], 2), torch.cat([value, new_value], 2))
        return linear(self._final(x)[0], self._head)


def _filled(module: nn.Module, weights: dict[str, Tensor], prefix: str) -> nn.Module:
    for name, _ in list(module.named_parameters()):
        module.register_parameter(name, nn.Parameter(weights[prefix + name], requires_grad=False))
    return module
