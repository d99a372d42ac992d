"""Files that clients have uploaded: a private folder, and an id for each. A client's names are never paths.

The folder goes with the server. Knows nothing of what a file holds.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..request.limits import Limits
from ..request.refusal import Refusal

__all__ = ["Upload", "Uploads"]

PREFIX = "a2d-serve-"
"""Beginning of the folder's name; the number of its process follows."""


@dataclass(frozen=True)
class Upload:
    """One uploaded file."""

    id: str
    path: Path
    name: str
    """Name that the client gave; never used as a path."""
    purpose: str
    bytes: int
    created: int

    @property
    def facts(self) -> dict[str, Any]:
        """OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
        }


class Uploads:
    """The files of one server. May be used from several threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        _sweep(Path(tempfile.gettempdir()))
        self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._files: dict[str, Upload] = {}
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """The folder, readable by this user alone."""
        return self._folder

    @property
    def bytes(self) -> int:
        """Size of all files."""
        with self._lock:
            return sum(file.bytes for file in self._files.values())

    def add(self, write: Callable[[Path], int], name: str, purpose: str) -> Upload:
        """Keep a file that `write` writes, and returns the size of. Raises Refusal where there is no room."""
        self._check_room(0)
        number = f"file-{secrets.token_hex(16)}"
        path = self._folder / number
        with _whole(path):
            size = write(path)
            upload = Upload(number, path, name, purpose, size, int(time.time()))
            self._check_room(size)
            with self._lock:
                self._files[number] = upload
        return upload

    def get(self, number: str) -> Upload:
        """The file of an id. Raises Refusal (404)."""
        with self._lock:
            if number not in self._files:
                raise Refusal(404, f"no file {number[:60]!r}; upload it to /v1/files", "file_not_found", "file_id")
            return self._files[number]

    def drop(self, number: str) -> None:
        """Forget a file. Raises Refusal (404)."""
        upload = self.get(number)
        with self._lock:
            self._files.pop(number, None)
        upload.path.unlink(missing_ok=True)

    def all(self) -> list[Upload]:
        """All files, the newest first."""
        with self._lock:
            return list(self._files.values())[::-1]

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _check_room(self, size: int) -> None:
        if len(self.all()) >= self._limits.files or self.bytes + size > self._limits.kept:
            raise Refusal(
                413,
                f"there is no room: {len(self.all())} files hold {self.bytes} bytes, and {self._limits.files} files or "
                f"{self._limits.kept} bytes are kept; delete some: DELETE /v1/files/ID",
                "no_room",
            )


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """A file that is not kept leaves nothing behind."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _sweep(place: Path) -> None:
    """Remove folders of servers that were killed: of this user, and of processes that are no more."""
    if sys.platform == "win32":
        return
    for folder in place.glob(f"{PREFIX}*-*"):
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        with suppress(OSError):
            if folder.lstat().st_uid == os.getuid() and number.isdigit() and not _runs(int(number)):
                shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
