"""A bundle being written: a directory that appears whole or not at all.

Files are written into a hidden sibling of the target, hashed on the way, synced, and renamed into place at the end.
Whatever goes wrong before, an exception, Ctrl-C, SIGTERM, a full disk, the sibling is removed. Knows files; what is
in them, and the manifest, come from outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ...engines.errors import BundleError
from ...engines.paths import real_path
from .manifest import FileRecord

__all__ = ["HashedFile", "Staging", "aligned", "check_space", "uninterrupted"]

BIG, PAGE, SMALL = 65_536, 65_536, 64
"""Tensors of BIG bytes or more start at a multiple of PAGE, which Windows' memory maps want; the others of SMALL."""

SLACK = 64 << 20
"""Bytes wanted free beside the weights: graphs, tokenizer, and not filling a disk to the brim."""


class HashedFile:
    """A file being written, with the sha256 of what has been."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._hash = hashlib.sha256()
        self._file: BinaryIO = path.open("xb")

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def tensor(self, data: memoryview) -> int:
        """Append a tensor's bytes where a tensor may start; returns that offset."""
        offset = aligned(self.size, len(data))
        self.write(b"\0" * (offset - self.size))
        self.write(data)
        return offset

    def close(self) -> None:
        """Flush to the disk."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def abandon(self) -> None:
        """Close without caring for the content."""
        with contextlib.suppress(OSError):  # a full disk may refuse the last buffer
            self._file.close()

    @property
    def record(self) -> FileRecord:
        """Size and hash so far."""
        return FileRecord(self.size, self._hash.hexdigest())


def aligned(size: int, count: int) -> int:
    """Offset at which a tensor of `count` bytes starts in a file of `size`."""
    step = PAGE if count >= BIG else SMALL
    return -(-size // step) * step


@dataclass
class Staging:
    """A bundle that is being written: a context manager that removes what `publish` did not put in place."""

    target: Path
    force: bool = False
    files: dict[str, HashedFile] = field(default_factory=dict)
    adopted: dict[str, FileRecord] = field(default_factory=dict)
    """Files of another bundle that this one holds as well."""
    last: str = "manifest.json"
    """The file that is written last, and that tells such a folder from others."""
    kind: str = "bundle"
    """Name of the folder's kind in messages."""

    def __post_init__(self) -> None:
        self.target = real_path(self.target)  # through links, so that what is renamed is a folder

    @property
    def path(self) -> Path:
        """The hidden directory; it lies beside the target because only then is a rename atomic."""
        return self.target.parent / f".{self.target.name}.{os.getpid()}.partial"

    def __enter__(self) -> Staging:
        if os.path.lexists(self.target) and not self.force:
            raise BundleError(
                f"{self.target} exists, expected a new name. Remove it, or replace it with the setting force."
            )
        if os.path.lexists(self.target) and not (self.target / self.last).is_file():
            raise BundleError(
                f"{self.target} exists and is not a {self.kind}: the setting force replaces nothing else."
            )
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir()
        except BaseException as error:
            self._remove()
            raise _translated(error, self.target) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._remove()
        if isinstance(error, OSError):
            raise _translated(error, self.target) from error

    def file(self, name: str) -> HashedFile:
        """The file of that name, created when first asked for."""
        if name not in self.files:
            self.files[name] = HashedFile(self.path / name)
        return self.files[name]

    def add(self, name: str, data: bytes) -> None:
        """One small file, whole."""
        file = self.file(name)
        file.write(data)
        file.close()

    def adopt(self, source: Path, record: FileRecord | None, move: bool = False) -> None:
        """Take a file of a finished bundle as it is, without a record as scratch; `move` where that bundle may go.

        Copied, not linked: readers of ONNX refuse external data with a second name, since it may be somebody else's.
        """
        (shutil.move if move else shutil.copyfile)(source, self.path / source.name)
        if record is not None:
            self.adopted[source.name] = record

    def records(self) -> dict[str, FileRecord]:
        """Size and hash of every file, all of them closed."""
        for file in self.files.values():
            file.close()
        return self.adopted | {name: file.record for name, file in self.files.items()}

    def publish(self, manifest: str) -> None:
        """Write the manifest, last, and put the directory in place of the target."""
        last = HashedFile(self.path / self.last)
        last.write(manifest.encode())
        last.close()
        _sync(self.path)
        with uninterrupted():
            self._swap()
        _sync(self.target.parent)

    def _swap(self) -> None:
        old = self.path.with_suffix(".old")
        if self.target.exists():
            self.target.rename(old)
        try:
            self.path.rename(self.target)
        except OSError:
            if old.exists():
                old.rename(self.target)
            raise
        shutil.rmtree(old, ignore_errors=True)

    def _remove(self) -> None:
        with uninterrupted():
            for file in self.files.values():
                file.abandon()
            shutil.rmtree(self.path, ignore_errors=True)


def check_space(target: Path, wanted: int) -> None:
    """Raise BundleError unless the disk of `target` has room for `wanted` bytes of weights."""
    parent = next((p for p in target.absolute().parents if p.exists()), Path("/"))
    free = shutil.disk_usage(parent).free
    if free < wanted + SLACK:
        raise BundleError(
            f"{parent}: {free / 1e9:.1f} GB free, expected {(wanted + SLACK) / 1e9:.1f} GB for the bundle. "
            "Make room, or write it to another disk with -o."
        )


def _translated(error: BaseException, target: Path) -> BaseException:
    """An OSError as one for people; anything else as it is."""
    if not isinstance(error, OSError):
        return error
    why = error.strerror or str(error)
    return BundleError(f"{target}: writing failed: {why}. Nothing was left behind; choose another place with -o.")


def _sync(directory: Path) -> None:
    """Make renames durable, where the system lets directories be synced (Windows does not)."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back: half a removal, or half of some renames, is what must not be left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before: dict[int, Any] = {
        number: signal.signal(number, lambda got, _: held.append(got)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in held:
            signal.raise_signal(number)
