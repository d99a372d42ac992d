"""Numbers too small for a whole mantissa (denormals), taken as zero by the calling thread while it runs a graph.

A score that a mask hides leaves ONNX Runtime's softmax as 4e-39 and not as 0, and an x86-64 processor takes a hundred
times as long for a product with such a number: a third of a vision tower's time was that. Nothing that is computed from
them differs, since they are lost in the first sum with any other number. ONNX Runtime's own option sets its pool's
threads for good, and of the callers only the one that makes the first session, for everything else that it computes:
so the caller's state is kept here and put back. `fegetenv` and `fesetenv` are C's own
functions, since they are called around each run. Knows threads' states; no graphs.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["FLUSHING", "OPTION", "SETTABLE", "State", "fegetenv", "fesetenv", "kept_state"]

OPTION = "session.set_denormal_as_zero"
"""Session option of ONNX Runtime for the threads of its pool."""

FLUSHED = 0x8040
"""Bits of MXCSR: results that are denormal become zero, and inputs that are denormal count as zero."""


class State(ctypes.Structure):
    """`fenv_t` of Linux on x86-64."""

    _fields_ = (("x87", ctypes.c_uint32 * 7), ("mxcsr", ctypes.c_uint32))


def _functions() -> tuple[Callable[[Any], Any], Callable[[Any], Any]] | None:
    """The functions `fegetenv` and `fesetenv`; None on a system whose `fenv_t` is another one."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    for name in (None, "libm.so.6"):  # an interpreter links it, or it can be named; looking for it starts processes
        try:  # PyDLL holds the interpreter's lock: giving it up for a few instructions costs more than they do
            library = ctypes.PyDLL(name)
            return library.fegetenv, library.fesetenv
        except (OSError, AttributeError):
            continue
    return None


_FUNCTIONS = _functions()

SETTABLE = _FUNCTIONS is not None
"""The state of a thread can be set on this system; elsewhere graphs run as they are, at the same results."""

fegetenv, fesetenv = _FUNCTIONS or (id, id)
"""Write the calling thread's state to what a pointer points to, and take it from there; nothing where not SETTABLE."""

_FLUSHING = State()
fegetenv(ctypes.byref(_FLUSHING))
_FLUSHING.mxcsr |= FLUSHED

FLUSHING = ctypes.byref(_FLUSHING)
"""The state in which a graph runs: without denormals, else that of the thread that imported this."""


@contextmanager
def kept_state() -> Iterator[None]:
    """Put the calling thread's state back afterwards, whatever is done to it inside."""
    state = State()
    fegetenv(ctypes.byref(state))
    try:
        yield
    finally:
        fesetenv(ctypes.byref(state))
