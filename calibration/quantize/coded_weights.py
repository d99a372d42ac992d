"""Weights of a model in the number formats of a recipe, each of them quantized once.

Codes wait in a scratch file from the moment that their loss is known until they are written: a quarter of a model is
not held in memory. Knows recipes and matrices; not graphs.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..source.smoothquant import Smoothed
from .number_formats import FORMATS, Format
from .recipes import Recipe
from .weight_quant import Coded, code, loss

__all__ = ["CodedWeights", "KeptCodes", "table_format"]

RELIEF_GROUP, SMALLEST_GROUP = 64, 16


@dataclass(frozen=True)
class Layout:
    """Number format of a matrix, and the numbers that share a scale."""

    form: Format
    axis: int
    """Axis along which scales differ: 0 of a table, 1 of a product `[in, out]`."""
    group: int | None
    """Inputs that share a scale; None is all."""


@dataclass(frozen=True)
class KeptCodes:
    """One quantized matrix in the scratch file."""

    layout: Layout
    shape: tuple[int, ...]
    """Shape of the codes."""
    scale_shape: tuple[int, ...]
    offset: int
    """Start of the codes in the file, in bytes; scales follow."""
    file: IO[bytes]

    def codes(self) -> NDArray[np.generic]:
        """The codes."""
        return self._read(self.offset, self.shape, self.layout.form.storage)

    def scale(self) -> NDArray[np.generic]:
        """The scales."""
        behind = self.offset + int(np.prod(self.shape)) * self.layout.form.storage.itemsize
        return self._read(behind, self.scale_shape, np.dtype(np.float32))

    def _read(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
        made = np.empty(shape, dtype)
        self.file.seek(offset)
        self.file.readinto(made.reshape(-1).view(np.uint8).data)  # type: ignore[attr-defined]
        return made


class CodedWeights:
    """The weights of one model by one recipe: a context manager that removes the scratch file."""

    def __init__(self, recipe: Recipe, weights: Smoothed, folder: Path) -> None:
        self.recipe, self.weights = recipe, weights
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._kept: dict[tuple[int, str, int, int | None], KeptCodes] = {}

    def __enter__(self) -> CodedWeights:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def loss(self, name: str, treatment: str) -> float:
        """Squared error of a matrix in shares of its power."""
        weight = self.weights.weight(name)
        return loss(weight, self._coded(name, treatment, weight))

    def kept(self, name: str, treatment: str) -> KeptCodes:
        """A matrix, which is quantized when it is first asked for."""
        key = self._key(name, treatment)
        if key not in self._kept:
            self._coded(name, treatment, self.weights.weight(name))
        return self._kept[key]

    def _coded(self, name: str, treatment: str, weight: NDArray[np.float32]) -> Coded:
        """Quantize a matrix and keep its codes."""
        layout = self._layout(name, treatment)
        made = code(weight, layout.form, layout.axis, layout.group)
        offset = self._file.seek(0, 2)
        for array in (made.codes, made.scale):
            self._file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        at = KeptCodes(layout, made.codes.shape, made.scale.shape, offset, self._file)
        self._kept[self._key(name, treatment)] = at
        return made

    def _key(self, name: str, treatment: str) -> tuple[int, str, int, int | None]:
        """Tied tables are one place in the source's file."""
        layout = self._layout(name, treatment)
        return (self.weights.source.tensors[name].offset or 0, layout.form.name, layout.axis, layout.group)

    def _layout(self, name: str, treatment: str) -> Layout:
        """A table is coded by its rows, in int8, whatever the recipe; one that is no product's is looked up."""
        if self.weights.source.tables.get(name, True):
            return Layout(table_format(self.recipe), 0, None)
        relieved = treatment == "relief"
        group = RELIEF_GROUP if relieved else self.recipe.group
        rows = int(self.weights.source.tensors[name].shape[0])
        return Layout(FORMATS["int8" if relieved else self.recipe.weights], 1, _whole_group(rows, group))


def _whole_group(rows: int, group: int | None) -> int | None:
    """The group, or the largest fraction of it that cuts `rows` without a rest; None if only a tiny one would."""
    while group is not None and rows % group:
        group = group // 2 if group > SMALLEST_GROUP else None
    return group


def table_format(recipe: Recipe) -> Format:
    """Format of a table that is looked up and multiplied by: int8, in pairs where the other products are."""
    return FORMATS[recipe.weights if FORMATS[recipe.weights].paired else "int8"]
