"""Numbers too small for a whole mantissa (denormals), taken as zero by the calling thread while it runs a graph.

A score that a mask hides leaves ONNX Runtime's softmax as 4e-39 and not as 0, and an x86-64 processor takes a hundred
times as long for a product with such a number: a third of a vision tower's time was that. Nothing that is computed from
them differs, since they are lost in the first sum with any other number. ONNX Runtime's own option sets its pool's
threads for good, and of the callers only the one that makes the first session, for everything else that it computes:
so the caller's state is kept here and put back. Knows threads' states; no graphs.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["OPTION", "SETTABLE", "flushing", "kept_state"]

T = TypeVar("T")

OPTION = "session.set_denormal_as_zero"
"""Session option of ONNX Runtime for the threads of its pool."""

FLUSHED = 0x8040
"""Bits of MXCSR: results that are denormal become zero, and inputs that are denormal count as zero."""


class _State(ctypes.Structure):
    """`fenv_t` of Linux on x86-64."""

    _fields_ = (("x87", ctypes.c_uint32 * 7), ("mxcsr", ctypes.c_uint32))


def _library() -> Any:
    """The functions `fegetenv` and `fesetenv`; None on a system whose `fenv_t` is another one."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    for name in (None, "libm.so.6"):  # an interpreter links it, or it can be named; looking for it starts processes
        try:  # PyDLL holds the interpreter's lock: giving it up for a few instructions costs more than they do
            library = ctypes.PyDLL(name)
            _ = library.fegetenv, library.fesetenv
        except (OSError, AttributeError):
            continue
        return library
    return None


_LIBRARY = _library()

SETTABLE = _LIBRARY is not None
"""The state of a thread can be set on this system; elsewhere graphs run as they are, at the same results."""


@contextmanager
def kept_state() -> Iterator[None]:
    """Put the calling thread's state back afterwards, whatever is done to it inside."""
    state = _State()
    if _LIBRARY is not None:
        _LIBRARY.fegetenv(ctypes.byref(state))
    try:
        yield
    finally:
        if _LIBRARY is not None:
            _LIBRARY.fesetenv(ctypes.byref(state))


def flushing(call: Callable[..., T], *arguments: Any) -> T:
    """Return `call(*arguments)`, computed without denormals; the thread's state is afterwards what it was."""
    if _LIBRARY is None:
        return call(*arguments)
    state = _State()
    there = ctypes.byref(state)
    _LIBRARY.fegetenv(there)
    before = state.mxcsr
    state.mxcsr |= FLUSHED
    _LIBRARY.fesetenv(there)
    try:
        return call(*arguments)
    finally:
        state.mxcsr = before
        _LIBRARY.fesetenv(there)
