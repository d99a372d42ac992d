"""Sources: the checkpoint tensors that make one parameter of a graph, and the way they are joined.

A `Source` is only a description. It does not know files: `assemble` asks a reader for one tensor at a time, so that
no more than one parameter is ever in memory beside its sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol

import torch

__all__ = ["Source", "Sourced", "TensorReader", "assemble", "stored_shape"]


@dataclass(frozen=True)
class Source:
    """A parameter as checkpoint tensors, concatenated along their first (output) axis."""

    names: tuple[str, ...]
    """Tensor names in the checkpoint, in the order in which they are joined."""
    shapes: tuple[tuple[int, ...], ...]
    """The shape that each tensor must have in the checkpoint."""
    transpose: bool = False
    """Store the joined `[out, in]` matrix as `[in, out]`, so that a graph multiplies without a Transpose."""
    reshape: tuple[int, ...] | None = None
    """Shape given to each tensor before joining, where a kernel is really a matrix."""
    stack: int | None = None
    """So many tensors at a time are joined, and the joined matrices stacked `[names / stack, ...]`."""
    exact: bool = False
    """Stays float32 in every precision: what decides between experts."""

    def dtype(self, precision: torch.dtype) -> torch.dtype:
        """Number type of the parameter in a variant of this precision."""
        return torch.float32 if self.exact else precision


class TensorReader(Protocol):
    """Whatever holds a checkpoint's tensors."""

    def read(self, name: str) -> torch.Tensor:
        """One tensor, as stored."""


class Sourced(Protocol):
    """A checkpoint as its family sees it, as far as its weights go."""

    @property
    def sources(self) -> Mapping[str, Source]:
        """Graph parameter to checkpoint tensors."""

    @property
    def aliases(self) -> Mapping[str, str]:
        """Parameters that are stored under another's name."""


def stored_shape(source: Source) -> tuple[int, ...]:
    """The shape of the parameter that `assemble` makes."""
    if source.stack:
        return len(source.names) // source.stack, *stored_shape(_slice(source, 0))
    parts = [source.reshape or shape for shape in source.shapes]
    joined = (sum(part[0] for part in parts), *parts[0][1:])
    if source.reshape and prod(source.reshape) != prod(source.shapes[0]):
        raise ValueError(f"{source.names[0]}: {source.shapes[0]} cannot become {source.reshape}")
    return joined[::-1] if source.transpose else joined


def assemble(source: Source, read: Callable[[str], torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """The parameter in `dtype`, contiguous, from tensors that `read(name)` returns; holds one of them at a time."""
    shape = stored_shape(source)
    if source.stack:
        stacked = torch.empty(shape, dtype=dtype)
        for i, one in enumerate(stacked):
            _join(_slice(source, i), read, one)
        return stacked
    if len(source.names) == 1 and not source.transpose:
        return read(source.names[0]).to(dtype).reshape(shape)  # an embedding is large: not one copy more
    return _join(source, read, torch.empty(shape, dtype=dtype))


def _slice(source: Source, i: int) -> Source:
    """The i-th matrix of a stack."""
    assert source.stack
    part = slice(i * source.stack, (i + 1) * source.stack)
    return replace(source, names=source.names[part], shapes=source.shapes[part], stack=None)


def _join(source: Source, read: Callable[[str], torch.Tensor], made: torch.Tensor) -> torch.Tensor:
    rows, at = made.T if source.transpose else made, 0
    for name in source.names:
        part = read(name)
        part = part.reshape(source.reshape) if source.reshape else part
        rows[at : at + len(part)] = part
        at += len(part)
    return made
