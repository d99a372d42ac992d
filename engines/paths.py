"""Other names of files: in UTF-8 for libraries that take no others, and beside for what is not whole yet.

Knows file systems, not what lies in them.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["real_path", "utf8_path", "written_whole"]


def real_path(path: Path) -> Path:
    """The absolute path behind links; a link to itself stays what it is, where `Path.resolve` raises RuntimeError."""
    return Path(os.path.realpath(path))


@contextmanager
def utf8_path(path: Path) -> Iterator[str]:
    """A spelling of `path` in UTF-8 that leads to the same file and to those beside it, while the context lasts.

    Where a folder's name is no UTF-8 (old disks, network shares), a link to the folder stands in for it.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="a2d-") as place:
            link = Path(place, "folder")
            link.symlink_to(path.absolute().parent, target_is_directory=True)
            yield str(link / path.name)
    else:
        yield str(path)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name to write to; its file takes the place of `path` at the end, and is removed where writing fails."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
