"""The folder of what a2d can make again, by the platform's convention. Makes no folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["kept_folder"]

VARIABLE = "A2D_CACHE"
"""Environment variable with another folder than the platform's."""


def kept_folder() -> Path:
    """The folder; `$A2D_CACHE` goes before the platform's."""
    if own := os.environ.get(VARIABLE):
        return Path(own)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "a2d"
