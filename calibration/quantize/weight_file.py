"""Quantized and kept tensors to a weight file, and what graphs point to. Knows number types; no recipes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...runtime.bundle.weight_file import WeightFile
from ..source.smoothquant import Smoothed

__all__ = ["CodeFile"]

Array = NDArray[np.generic]


@dataclass(frozen=True)
class CodeFile:
    """The weight file of a quantized variant. A tensor's key: place in the source's file, number type, part of it."""

    file: WeightFile
    weights: Smoothed

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by key."""
        return {key: at.bytes for key, at in self.file.tensors.items()}

    def write(self, name: str, made: Callable[[], Array], kind: ir.DataType) -> ir.ExternalTensor:
        """A tensor's place in the file; it is made, and its bytes are appended, when it is first asked for."""
        return self._placed(self._key(name, kind), name, made, kind)

    def zeros(self, shape: tuple[int, ...], kind: ir.DataType, storage: np.dtype[np.generic]) -> ir.ExternalTensor:
        """Zeros, one place for all of a shape and a kind: they may be many, since each group of each column has one."""
        name = f"zeros.{kind.name}.{'x'.join(map(str, shape))}"
        return self._placed(name, name, lambda: np.zeros(shape, storage), kind)

    def keep(self, name: str) -> ir.ExternalTensor:
        """A float tensor as it is after smoothing."""
        return self.write(name, lambda: self.weights.weight(name), ir.DataType.FLOAT)

    def holds(self, tensor: ir.ExternalTensor | None) -> bool:
        """The tensor lies here already."""
        return tensor is not None and tensor.location == self.file.name

    def _placed(self, key: str, name: str, made: Callable[[], Array], kind: ir.DataType) -> ir.ExternalTensor:
        if key not in self.file.tensors:
            array = made()
            self.file.append(key, _bytes(array, kind), array.shape, kind.name)
        at, folder = self.file.tensors[key], self.file.staging.path
        kind, shape = ir.DataType[at.kind], ir.Shape(at.shape)
        return ir.ExternalTensor(self.file.name, at.offset, at.bytes, kind, shape=shape, name=name, base_dir=folder)

    def _key(self, name: str, kind: ir.DataType) -> str:
        """Tied tensors are one place in the source's file, and one here for all that are coded, or kept, alike."""
        stem = name.removesuffix(".scale")
        tensor = self.weights.source.tensors[stem]
        return f"{tensor.offset}.{kind.name}{name[len(stem) :]}"


def _bytes(array: Array, kind: ir.DataType) -> NDArray[np.uint8]:
    flat = np.ascontiguousarray(array).reshape(-1)
    if kind != ir.DataType.INT4:
        return flat.view(np.uint8)
    codes = flat.astype(np.int8).view(np.uint8) & 0x0F
    codes = np.append(codes, np.uint8(0)) if len(codes) % 2 else codes
    return np.asarray(codes[0::2] | codes[1::2] << 4)  # two to a byte, the first in the lower half
