"""Muon for the layers' matrices, AdamW for the rest, as one optimizer; and the running mean of the weights.

Knows no losses and no data.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon

__all__ = ["Mean", "Optimizers"]

ADAM_SHARE = 0.1
"""AdamW's learning rate in units of Muon's."""
MEMORY = 0.998


class Optimizers:
    """Steps both with one learning rate."""

    def __init__(self, model: nn.Module) -> None:
        named = dict(model.named_parameters())
        matrices = [name for name, p in named.items() if p.ndim == 2 and name.startswith("blocks.")]
        rest = [name for name in named if name not in set(matrices)]
        self.muon = Muon([named[name] for name in matrices], lr=0.0, weight_decay=0.01, momentum=0.95)
        self.adam = AdamW([named[name] for name in rest], lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, rate: float) -> None:
        for optimizer, lr in ((self.muon, rate), (self.adam, ADAM_SHARE * rate)):
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


class Mean:
    """The exponential mean of weights: short at first, MEMORY later."""

    def __init__(self, model: nn.Module) -> None:
        self.values = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, steps: int) -> None:
        kept = min(MEMORY, (1 + steps) / (20 + steps))
        for name, p in model.named_parameters():
            self.values[name].lerp_(p, 1 - kept)

    def load(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.values[name].copy_(value)
