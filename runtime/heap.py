"""Memory that nobody uses, back to the system: the C library keeps what it was asked for in small pieces."""

from __future__ import annotations

import contextlib
import ctypes
import gc

__all__ = ["release", "unpooled"]

M_MMAP_THRESHOLD = -3
"""mallopt's number for the size from which glibc asks the system."""


def release(cycles: bool = True) -> None:
    """Hand memory that is free back where the C library can; before that, free objects that only hold each other.

    Looking for such `cycles` takes as long as there are objects: most of a second where torch has traced, and is left
    out where what was large is not among them.
    """
    if cycles:
        gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)


def unpooled(size: int = 1 << 20) -> None:
    """From here on, take every piece of `size` bytes or more from the system and give it back when it is freed.

    By itself glibc pools pieces of up to 32 MB, and one small tensor that outlives a large one keeps its place from
    the next: reading and dropping weights between computations was measured to leave 1.5 GB of holes.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc only
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, size)
