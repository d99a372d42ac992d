"""One safetensors file: its header, strictly checked, and its tensors, read one at a time by offset.

Not through a memory map: pages of a mapped file count as the process's memory for as long as the map lives.
Knows the file format (https://github.com/huggingface/safetensors), nothing of what the tensors are for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch

from ...engines.errors import CheckpointError
from .json_files import refuse_pointer

__all__ = ["DTYPES", "Entry", "TensorFile", "header"]

MAX_HEADER = 100_000_000
"""Bytes; the limit of the format's own library."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""The format's names of dtypes; those that torch lacks are refused."""

_NEXT = "Fetch or save the checkpoint again."


@dataclass(frozen=True)
class Entry:
    """Place of one tensor: file, offset, dtype, shape."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    """Byte in the file."""
    bytes: int


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file whose header has been found right."""

    path: Path
    entries: Mapping[str, Entry]

    @staticmethod
    def open(path: Path) -> TensorFile:
        """Read and check the header. Raises CheckpointError: absent, truncated, or not what the format says."""
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                start = file.read(200)
                refuse_pointer(path, start)
                file.seek(8)
                length = int.from_bytes(start[:8], "little")
                _require(path, 8 < 8 + length <= min(size, MAX_HEADER), f"a header of {length} bytes in {size}")
                raw = file.read(length)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}. {_NEXT}") from error
        return TensorFile(path, _entries(path, raw, size))

    def read(self, name: str) -> torch.Tensor:
        """One tensor, in memory of its own. Raises CheckpointError if the file has changed or cannot be read."""
        entry = self.entries[name]
        flat = torch.empty(entry.bytes, dtype=torch.uint8)
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(entry.start)
                got = _fill(file, memoryview(flat.numpy()))
        except OSError as error:
            raise CheckpointError(f"{self.path}: reading {name} failed: {error.strerror}. {_NEXT}") from error
        _require(self.path, got == entry.bytes, f"{got} of {entry.bytes} bytes of {name}: the file is shorter now")
        return flat.view(entry.dtype).reshape(entry.shape)


def header(shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> bytes:
    """The start of a safetensors file that holds tensors of these shapes and dtype names, in this order."""
    table, at = {}, 0
    for name, (shape, dtype) in shapes.items():
        end = at + prod(shape) * DTYPES[dtype].itemsize
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    raw = json.dumps(table, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw


def _fill(file: Any, target: memoryview) -> int:
    """Read until `target` is full or the file ends: one call gives at most 2 GiB on Linux."""
    done = 0
    while done < len(target) and (got := file.readinto(target[done:])):
        done += got
    return done


def _require(path: Path, holds: bool, got: str) -> None:
    if not holds:
        raise CheckpointError(f"{path}: got {got}, expected a whole safetensors file. {_NEXT}")


def _entries(path: Path, raw: bytes, size: int) -> dict[str, Entry]:
    try:
        table = json.loads(raw.decode("utf-8"), object_pairs_hook=partial(_unique, path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the header is not JSON in UTF-8: {error}. {_NEXT}") from error
    _require(path, isinstance(table, dict), "a header that is no object")
    table.pop("__metadata__", None)
    data = 8 + len(raw)
    entries = {name: _entry(path, name, row, data) for name, row in table.items()}
    end = _end(path, entries.values(), data)
    _require(path, end == size, f"{size} bytes where the header says {end}: truncated, or padded")
    return entries


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; a name that comes twice would otherwise hide the first."""
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    _require(path, not twice, f"a header that names {twice} twice")
    return dict(pairs)


def _entry(path: Path, name: str, row: Any, data: int) -> Entry:
    try:
        kind, shape, (start, end) = row["dtype"], tuple(row["shape"]), row["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, start, end))
    except (TypeError, KeyError, ValueError):
        whole = False
    _require(path, whole and isinstance(kind, str), f"{name} = {str(row)[:80]}")
    if kind not in DTYPES:
        raise CheckpointError(f"{path}: {name} is of dtype {kind!r}, expected one of {', '.join(DTYPES)}. {_NEXT}")
    dtype = DTYPES[kind]
    _require(path, end - start == prod(shape) * dtype.itemsize, f"{end - start} bytes for {name} {kind}{list(shape)}")
    return Entry(dtype, shape, data + start, end - start)


def _end(path: Path, entries: Iterable[Entry], data: int) -> int:
    """The end of the last tensor. No gaps and no overlaps: bytes that nothing names could be anything."""
    at = data
    for entry in sorted(entries, key=lambda e: (e.start, e.bytes)):
        _require(path, entry.start == at, f"a tensor at byte {entry.start} where the last one ends at {at}")
        at += entry.bytes
    return at
