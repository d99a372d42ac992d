"""Memory that nobody uses, back to the system: the C library keeps what it was asked for in small pieces."""

from __future__ import annotations

import contextlib
import ctypes
import gc

__all__ = ["release"]


def release() -> None:
    """Free what is unreachable, and hand it back where the C library can."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
