"""Muon for matrices, AdamW for the rest, as one optimizer with one learning rate."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

__all__ = ["Optimizers"]

ADAM_SHARE = 0.1
"""AdamW's learning rate in units of Muon's."""


class Optimizers:
    """Steps both. Embeddings and heads are matrices by shape only, their rows separate things: AdamW has them."""

    def __init__(self, model: nn.Module) -> None:
        named = dict(model.named_parameters())
        matrices = {name for name, p in named.items() if p.ndim == 2 and (".layers." in name or ".blocks." in name)}
        self._groups: dict[str, tuple[Optimizer, list[str]]] = {
            "muon": self._made(Muon, named, sorted(matrices)),
            "adam": self._made(AdamW, named, sorted(set(named) - matrices)),
        }

    @staticmethod
    def _made(kind: type[Optimizer], named: dict[str, Tensor], names: list[str]) -> tuple[Optimizer, list[str]]:
        parameters = [named[name] for name in names]
        if kind is Muon:
            return Muon(parameters, lr=0.0, weight_decay=0.01, momentum=0.95), names
        return AdamW(parameters, lr=0.0, betas=(0.9, 0.95), weight_decay=0.01), names

    def step(self, rate: float) -> None:
        """One step with Muon's learning rate, and forget the gradients."""
        for kind, (optimizer, _) in self._groups.items():
            for group in optimizer.param_groups:
                group["lr"] = rate if kind == "muon" else ADAM_SHARE * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What a later run needs, by name."""
        for kind, (optimizer, names) in self._groups.items():
            for index, state in optimizer.state_dict()["state"].items():
                for key, value in state.items():
                    yield f"{kind}.{names[index]}.{key}", torch.as_tensor(value)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The reverse of `tensors`."""
        for kind, (optimizer, names) in self._groups.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"{kind}."):
                    parameter, key = name.removeprefix(f"{kind}.").rsplit(".", 1)
                    state.setdefault(names.index(parameter), {})[key] = value
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
