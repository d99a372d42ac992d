"""Index of a variant's weights: the tensors that each graph reads, where they lie, and what else its memory depends on.

A plan needs them on devices that have no onnx. Knows names, places and sizes; neither graphs nor what a tensor is for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from ..schema import bounds

__all__ = ["GraphIndex", "StoredTensor"]

FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16")
"""Kinds that a copy in another precision makes wider or narrower."""


@dataclass(frozen=True)
class StoredTensor:
    """The place of a tensor in a weight file."""

    offset: int = field(metadata=bounds(0, 2**44))
    bytes: int = field(metadata=bounds(0, 2**44))
    shape: tuple[int, ...] = field(metadata=bounds(0, 2**44))
    kind: str
    """ONNX's name of its number type: `FLOAT`, `INT8`."""

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def is_float(self) -> bool:
        """True where its elements are fp32, fp16 or bf16."""
        return self.kind in FLOATS


@dataclass(frozen=True)
class GraphIndex:
    """The stored tensors of one graph, and two sizes of it that no contract tells."""

    tensors: dict[str, StoredTensor]
    """Tensors by the graph's own names; a tied one has another name in another graph, and the same place."""
    states: tuple[int, ...] = field(default=(), metadata=bounds(1, 2**44))
    """Elements of each state of a pixel decoder, for one element of a latent frame."""
    fused: bool = False
    """Attention is one operator, which holds no scores."""

    def beyond(self, size: int) -> list[str]:
        """Names of the tensors that do not end within a file of `size` bytes."""
        return [name for name, at in self.tensors.items() if at.offset + at.bytes > size]
