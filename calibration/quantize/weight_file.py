"""The weight file of a quantized variant: every tensor once, however many graphs read it. Knows bytes and names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...runtime.bundle.staging import HashedFile, Staging
from ..source.smoothquant import Smoothed

__all__ = ["CodeFile"]


@dataclass
class CodeFile:
    """`weights.<precision>.data`, growing."""

    name: str
    staging: Staging
    weights: Smoothed
    located: dict[str, ir.ExternalTensor] = field(default_factory=dict)
    """Tensors in the file, each by the name of the tensor that it was made of and its part of it."""

    @property
    def file(self) -> HashedFile:
        """The file itself."""
        return self.staging.file(self.name)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by where a tensor lay in the source's file, and what it is of it."""
        return {key: int(tensor.length or 0) for key, tensor in self.located.items()}

    def write(self, name: str, made: Callable[[], NDArray[np.generic]], kind: ir.DataType) -> ir.ExternalTensor:
        """A tensor's place in the file; it is made, and its bytes are appended, when it is first asked for."""
        return self._located(self._key(name), name, made, kind)

    def zeros(self, shape: tuple[int, ...], kind: ir.DataType, storage: np.dtype[np.generic]) -> ir.ExternalTensor:
        """Zeros, one place for all of a shape and a kind: they may be many, since each group of each column has one."""
        name = f"zeros.{kind.name}.{'x'.join(map(str, shape))}"
        return self._located(name, name, lambda: np.zeros(shape, storage), kind)

    def _located(
        self, key: str, name: str, made: Callable[[], NDArray[np.generic]], kind: ir.DataType
    ) -> ir.ExternalTensor:
        if key not in self.located:
            array = made()
            raw = _bytes(array, kind)
            shape = ir.Shape(array.shape)
            self.located[key] = ir.ExternalTensor(
                self.name, self.file.tensor(memoryview(raw.data)), len(raw), kind,
                shape=shape, name=name, base_dir=self.staging.path,
            )  # fmt: skip
        return self.located[key]

    def keep(self, name: str, weights: Smoothed) -> ir.ExternalTensor:
        """A float tensor as it is after smoothing."""
        return self.write(name, lambda: weights.weight(name), ir.DataType.FLOAT)

    def holds(self, tensor: ir.ExternalTensor | None) -> bool:
        """The tensor lies here already."""
        return tensor is not None and tensor.location == self.name

    def _key(self, name: str) -> str:
        """Tied tensors are one place in the source's file, and one here."""
        stem = name.removesuffix(".scale")
        tensor = self.weights.source.tensors[stem]
        return f"{tensor.offset}{name[len(stem) :]}"


def _bytes(array: NDArray[np.generic], kind: ir.DataType) -> NDArray[np.uint8]:
    flat = np.ascontiguousarray(array).reshape(-1)
    if kind != ir.DataType.INT4:
        return flat.view(np.uint8)
    codes = flat.astype(np.int8).view(np.uint8) & 0x0F
    codes = np.append(codes, np.uint8(0)) if len(codes) % 2 else codes
    return np.asarray(codes[0::2] | codes[1::2] << 4)  # two to a byte, the first in the lower half
