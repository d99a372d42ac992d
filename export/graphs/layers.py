"""Layers that the modules of several graphs share: norms, affine maps, and parameters without numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LayerNorm", "Projection", "RMSNorm", "affine", "exact", "parameters", "rms_norm", "rms_norm_wide"]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Normalise the last axis of `x` by its root mean square, in float32 (Zhang and Sennrich 2019)."""
    wide = x.float()
    return (wide / torch.sqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def rms_norm_wide(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Compute `rms_norm` with the product by `weight` in float32 as well."""
    return rms_norm(x.float(), weight, eps).to(x.dtype)


def exact(module: nn.Module, shapes: Mapping[str, tuple[int, ...] | None]) -> None:
    """Give `module` parameters of these shapes that stay float32 in every precision."""
    parameters(module, shapes)
    made = [*getattr(module, "exact", ()), *(getattr(module, name) for name, shape in shapes.items() if shape)]
    module.__dict__["exact"] = made


def parameters(module: nn.Module, shapes: Mapping[str, tuple[int, ...] | None]) -> None:
    """Give `module` parameters of these shapes, without numbers; a shape of None sets the name to None."""
    for name, shape in shapes.items():
        module.register_parameter(name, None if shape is None else nn.Parameter(torch.empty(shape)))


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute `x @ weight`, and `+ bias` if there is one, with `weight [in, out]`."""
    return x @ weight if bias is None else x @ weight + bias


class Projection(nn.Module):
    """The affine map x @ weight + bias, whose weight is stored `[in, out]`."""

    def __init__(self, width_in: int, width_out: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_in, width_out))
        self.bias = nn.Parameter(torch.empty(width_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Any leading axes."""
        return affine(x, self.weight, self.bias)


class RMSNorm(nn.Module):
    """A norm by the root mean square, with its weight."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Any leading axes."""
        return rms_norm(x, self.weight, self.eps)


class LayerNorm(nn.Module):
    """A layer norm over the last axis, in float32 (Ba et al. 2016)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Any leading axes."""
        return functional.layer_norm(x.float(), x.shape[-1:], self.weight.float(), self.bias.float(), self.eps).to(x)
