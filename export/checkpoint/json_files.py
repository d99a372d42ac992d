"""Text and JSON files of a checkpoint, read with the reason why where they cannot be. Knows no file by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ...engines.errors import CheckpointError

__all__ = ["read_json", "read_text", "refuse_pointer"]

POINTER = b"version https://git-lfs.github.com/spec/"
"""The first bytes of what Git LFS leaves in the place of a file that was not fetched."""


def refuse_pointer(path: Path, start: bytes) -> None:
    """Raise CheckpointError if the file that begins with `start` is a pointer of Git LFS."""
    if not start.startswith(POINTER):
        return
    size = re.search(rb"^size (\d+)$", start, re.MULTILINE)
    held = f" to a file of {int(size[1]) / 1e9:.3g} GB" if size else ""
    raise CheckpointError(
        f"{path}: a Git LFS pointer{held}, expected the file itself. Fetch it: `git lfs pull` in the checkpoint's "
        "folder, or download the checkpoint with `hf download NAME --local-dir DIR`."
    )


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file. Raises CheckpointError for anything else."""
    text = read_text(path)
    if text is None:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}. Fetch or save the file again.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: got a JSON {type(data).__name__}, expected an object.")
    return data


def read_text(path: Path) -> str | None:
    """The content of a file in UTF-8, or None where there is no such file. Raises CheckpointError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}.") from error
    refuse_pointer(path, content[:200])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not UTF-8: {error}. Save the file as UTF-8.") from error
