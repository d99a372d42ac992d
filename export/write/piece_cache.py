"""A folder of traced pieces, so that the second export of a family does not trace again.

A trace takes seconds and depends on little: the statements of the modules, the versions of what traces them, and
shapes. All of that is in an entry's name. Entries that were cut off or altered are left aside and written anew, each is
put in its place whole, and a folder that cannot be written to is no error: then nothing is kept. Knows bytes and names,
not what a piece is.
"""

from __future__ import annotations

import ast
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...engines.paths import written_whole
from ...runtime.bundle.kept_folder import kept_folder as default_folder

__all__ = ["PieceCache", "default_folder", "statements"]

DIGEST = 32
"""Bytes of the SHA-256 that stands before an entry's content."""


@dataclass(frozen=True)
class PieceCache:
    """Bytes by key, in `folder`; None keeps nothing."""

    folder: Path | None

    def get(self, key: str) -> bytes | None:
        """The entry, or None where there is none that is whole."""
        if self.folder is None:
            return None
        try:
            raw = self._place(self.folder, key).read_bytes()
        except OSError:
            return None
        digest, content = raw[:DIGEST], raw[DIGEST:]
        return content if hashlib.sha256(content).digest() == digest else None

    def put(self, key: str, content: bytes) -> None:
        """Keep `content`; of several that put the same key at once the last one stays."""
        if self.folder is None:
            return
        place = self._place(self.folder, key)
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(place) as part:
                part.write_bytes(hashlib.sha256(content).digest() + content)

    @staticmethod
    def _place(folder: Path, key: str) -> Path:
        return folder / "pieces" / _code()[:12] / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.onnx"


@cache
def _code() -> str:
    """Hash of the source code that decides what a piece becomes: its statements, not its comments."""
    here = Path(__file__).parent
    files = sorted([*(here.parent / "graphs").rglob("*.py"), here / "trace.py"])
    return hashlib.sha256(
        "".join(file.name + statements(file.read_text("utf-8")) for file in files).encode()
    ).hexdigest()


def statements(source: str) -> str:
    """Python source as its syntax tree in text, without comments, places and strings that stand alone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_docstring(line)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_docstring(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
