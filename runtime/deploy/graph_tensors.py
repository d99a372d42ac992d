"""The tensors that a graph file holds, read from ONNX's protocol buffers: names, shapes, types. No weights, no nodes.

A device has no `onnx`; what is wanted here are some fields of `ModelProto.graph.initializer` (onnx/onnx.proto), and the
wire format of protocol buffers is small. Trusts nothing: a file may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ...engines.errors import BundleError

__all__ = ["Tensor", "tensors_of"]

GRAPH, INITIALIZER = 7, 5
"""ModelProto.graph, GraphProto.initializer."""

DIMS, KIND, NAME = 1, 2, 8
"""Field numbers of TensorProto."""

BITS = {1: 32, 2: 8, 3: 8, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 16: 16, 17: 8, 19: 8, 21: 4, 22: 4, 23: 4}
"""TensorProto.DataType to bits: the kinds that bundles are made of, and those like them."""

FLOATS = (1, 10, 16)
"""Kinds that a copy in another precision makes wider or narrower: float, float16, bfloat16."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

MOST = 1 << 30
"""Bytes of a graph file; weights lie beside it."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a graph."""

    name: str
    shape: tuple[int, ...]
    kind: int
    """TensorProto.DataType."""

    @property
    def bytes(self) -> int:
        """Size of its elements."""
        return -(-self.elements * BITS[self.kind] // 8)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def is_float(self) -> bool:
        """True where its elements are fp32, fp16 or bf16."""
        return self.kind in FLOATS


def tensors_of(path: Path) -> tuple[Tensor, ...]:
    """The tensors of the graph at `path`. Raises BundleError if it is no ONNX file."""
    try:
        with path.open("rb") as file:
            raw = memoryview(file.read(MOST))
        graphs = [value for number, value in _fields(raw) if number == GRAPH and isinstance(value, memoryview)]
        held = [v for graph in graphs for n, v in _fields(graph) if n == INITIALIZER and isinstance(v, memoryview)]
        made = tuple(_tensor(one) for one in held)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise BundleError(f"{path.name} is not an ONNX graph that a2d reads: {error!r}. Export it again.") from error
    except OSError as error:
        raise BundleError(f"{path.name} cannot be read: {error}. Export or fetch the bundle again.") from error
    if not graphs:
        raise BundleError(f"{path.name} is not an ONNX graph: it holds none. Export or fetch the bundle again.")
    return made


def _tensor(raw: memoryview) -> Tensor:
    dims: list[int] = []
    kind, name = 0, ""
    for number, value in _fields(raw):
        if number == DIMS:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif number == KIND and isinstance(value, int):
            kind = value
        elif number == NAME and isinstance(value, memoryview):
            name = bytes(value).decode("utf-8")
    if kind not in BITS:
        raise ValueError(f"tensor {name!r} is of kind {kind}")
    return Tensor(name, tuple(dims), kind)


def _fields(raw: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field number and value of each field of one message."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(raw, at)
            yield number, value
        elif wire in (BYTES, FIXED64, FIXED32):
            size, at = _varint(raw, at) if wire == BYTES else ({FIXED64: 8, FIXED32: 4}[wire], at)
            if at + size > len(raw):
                raise ValueError(f"a field of {size} bytes ends beyond its message")
            yield number, raw[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {wire}")


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _packed(raw: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(raw):
        value, at = _varint(raw, at)
        values.append(value)
    return values
