"""The journal of logged clips, a file for each: an interrupted run goes on, a second one reads what changed.

An entry counts while the clip's size and time are what they were, and the question is the same. Entries are written
whole or not at all. Knows nothing of how clips are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..bundle.staging import uninterrupted
from ..schema import from_json, parse, to_json
from .clip import Clip, Stamp

__all__ = ["Entry", "Journal", "publish"]

SCHEMA = 3
"""Schema of an entry; entries of another schema do not count."""


@dataclass(frozen=True)
class Entry:
    """The reading of one clip, and the stamp of the file that was read."""

    schema: int
    question: str
    """Sum of everything that was asked: bundle, prompt, options, how shots are found."""
    stamp: Stamp
    clip: Clip
    """Its file is left out: the entry is found by it."""


@dataclass(frozen=True)
class Journal:
    """A folder of entries for one question."""

    folder: Path
    question: str

    def fresh(self, file: Path) -> bool:
        """True where the entry of a clip still holds."""
        try:
            stamp = Stamp.of(file)
        except OSError:
            return False
        entry = self._entry(file)
        return entry is not None and (entry.question, entry.stamp) == (self.question, stamp)

    def get(self, file: Path) -> Clip | None:
        """The last entry's clip; None where there is none."""
        entry = self._entry(file)
        return None if entry is None else replace(entry.clip, file=str(file))

    def put(self, clip: Clip, stamp: Stamp) -> None:
        """Remember a clip. Raises OSError where that cannot be written; the entry before it stays then."""
        nameless = replace(clip, file="")  # names may hold half characters, which records may not
        entry = Entry(SCHEMA, self.question, stamp, nameless)
        publish({self._path(clip.file): [json.dumps(to_json(entry))]})

    def drop(self, file: Path) -> None:
        """Forget a clip."""
        self._path(str(file)).unlink(missing_ok=True)

    def keep(self, files: Iterable[Path]) -> None:
        """Forget all clips but these."""
        kept = {self._path(str(file)).name for file in files}
        for path in self.folder.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _entry(self, file: Path) -> Entry | None:
        try:
            entry = from_json(Entry, parse(self._path(str(file)).read_text(encoding="utf-8")))
        except (OSError, ValueError):  # missing, half a disk block, another version's
            return None
        return entry if entry.schema == SCHEMA else None

    def _path(self, file: str) -> Path:
        return self.folder / f"{hashlib.sha256(os.fsencode(file)).hexdigest()[:32]}.json"


def publish(files: Mapping[Path, Iterable[str]]) -> list[Path]:
    """Write files together: all whole, or none of them; returns those whose content is new.

    Pieces are written as UTF-8, half characters of file names as escapes. A file that holds just that already is not
    touched. Raises OSError, after which no file has changed.
    """
    parts = {path.with_name(f".{path.name}.{os.getpid()}.partial"): path for path in files}
    try:
        for part, path in parts.items():
            with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                file.writelines(files[path])
        changed = [(part, path) for part, path in parts.items() if not _same(part, path)]
        for part, _ in changed:
            _sync(part)
        with uninterrupted():
            for part, path in changed:
                part.replace(path)
        return [path for _, path in changed]
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def _sync(part: Path) -> None:
    """Down to the disk: a rename must not come there before the content does."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())


def _same(part: Path, path: Path) -> bool:
    return path.is_file() and path.stat().st_size == part.stat().st_size and path.read_bytes() == part.read_bytes()
