"""Paths for libraries that take them in UTF-8 alone. Knows file systems, not what lies in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["utf8_path"]


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
