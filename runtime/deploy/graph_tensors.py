"""The tensors that a graph file holds, read from ONNX's protocol buffers: names, shapes, types; and its operators.

A device has no `onnx`; what is wanted here are some fields of `ModelProto.graph.initializer` (onnx/onnx.proto), and the
wire format of protocol buffers is small. Trusts nothing: a file may be anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeVar

from ...engines.errors import BundleError

__all__ = ["Port", "Tensor", "inputs_of", "operators_of", "tensors_of"]

T = TypeVar("T")

GRAPH, NODE, INITIALIZER, INPUT = 7, 1, 5, 11
"""ModelProto.graph, GraphProto.node, GraphProto.initializer, GraphProto.input."""

OPERATOR = 4
"""NodeProto.op_type."""

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


@dataclass(frozen=True)
class Port:
    """One input of a graph; an axis is a size or a name."""

    name: str
    shape: tuple[int | str, ...]


def tensors_of(path: Path) -> tuple[Tensor, ...]:
    """The tensors of the graph at `path`. Raises BundleError if it is no ONNX file."""
    return _read(path, INITIALIZER, _tensor)


def inputs_of(path: Path) -> tuple[Port, ...]:
    """The inputs of the graph at `path`. Raises BundleError if it is no ONNX file."""
    return _read(path, INPUT, _port)


def operators_of(path: Path) -> frozenset[str]:
    """Names of the operators of the graph at `path`. Raises BundleError if it is no ONNX file."""
    return frozenset(_read(path, NODE, lambda raw: bytes(*_messages(raw, OPERATOR)).decode("utf-8")))


def _read(path: Path, field: int, made_of: Callable[[memoryview], T]) -> tuple[T, ...]:
    """Everything in one field of the graph."""
    try:
        with path.open("rb") as file:
            raw = memoryview(file.read(MOST))
        graphs = _messages(raw, GRAPH)
        made = tuple(made_of(one) for graph in graphs for one in _messages(graph, field))
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise BundleError(f"{path.name} is not an ONNX graph that a2d reads: {error!r}. Export it again.") from error
    except OSError as error:
        raise BundleError(f"{path.name} cannot be read: {error}. Export or fetch the bundle again.") from error
    if not graphs:
        raise BundleError(f"{path.name} is not an ONNX graph: it holds none. Export or fetch the bundle again.")
    return made


def _messages(raw: memoryview, field: int) -> list[memoryview]:
    return [value for number, value in _fields(raw) if number == field and isinstance(value, memoryview)]


def _port(raw: memoryview) -> Port:
    """ValueInfoProto: name, and type.tensor_type.shape, whose axes have a value or a name."""
    (name,) = _messages(raw, 1)
    axes: list[int | str] = []
    for kind in (one for type_ in _messages(raw, 2) for one in _messages(type_, 1)):
        for axis in (one for shape in _messages(kind, 2) for one in _messages(shape, 1)):
            found = dict(_fields(axis))
            value = found.get(1, found.get(2, 0))
            axes.append(value if isinstance(value, int) else bytes(value).decode("utf-8"))
    return Port(bytes(name).decode("utf-8"), tuple(axes))


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
