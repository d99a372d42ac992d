"""The vision tower in pieces, so that one block of each kind is traced however deep the tower is.

The modules of `vision.py` with the tensors of its `Context` as inputs and outputs; their parameters have the same
names. Knows nothing beyond that.
"""

from __future__ import annotations

from torch import Tensor, nn

from .vision import Block, Context, Merger, VisionShape, VisionTower

__all__ = ["Merge", "Patches", "TowerBlock"]


class Patches(VisionTower):
    """The tower up to its first block."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__(shape)
        del self.blocks, self.merger

    def forward(self, pixels: Tensor, positions: Tensor, real: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """As `VisionTower.forward`, to x `[M,hidden]`, cos, sin, window_bias, full_bias."""
        context = self.context(positions, real)
        x = self.embed(pixels.to(self.embed.weight.dtype))
        return x, context.cos, context.sin, context.window_bias, context.full_bias


class TowerBlock(Block):
    """One block; `bias` is the one of its kind, over a window's keys or over all."""

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor) -> Tensor:  # type: ignore[override]
        """`x [M,hidden]` to the same."""
        return super().forward(x, Context(cos, sin, bias, bias))


class Merge(nn.Module):
    """The tower after its last block."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.merger = Merger(shape)

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        """`x [M,hidden]`, `order [G]` to features `[G,out_hidden]` float32."""
        return self.merger(x, order).float()
