"""liba2d from Python, through ctypes: what a host program in C does, so that it can be measured from here.

Not how Python uses a2d (`a2d.load` is), and only as much of a2d.h as a measurement needs. Does not know what is
measured.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_size_t,
    c_ssize_t,
    c_uint8,
    c_uint32,
    c_void_p,
)
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import a2d
from a2d.engines.errors import EngineError, RequestError

__all__ = ["Embedded", "Library", "of_the_wheel"]

FOREVER = 0xFFFFFFFF
NAMES = {"win32": ("a2d.dll", "liba2d.dll"), "darwin": ("liba2d.dylib",)}


class _Error(Structure):
    _fields_ = (("size", c_uint32), ("status", c_int), ("message", c_char * 2040))


class _Options(Structure):
    _fields_ = (
        ("size", c_uint32),
        ("threads", c_uint32),
        ("python", c_char_p),
        ("precision", c_char_p),
        ("engine", c_char_p),
        ("device", c_char_p),
        ("environment", POINTER(c_char_p)),
        ("open_timeout_ms", c_uint32),
        ("silence_timeout_ms", c_uint32),
        ("close_timeout_ms", c_uint32),
    )


class _Image(Structure):
    _fields_ = (
        ("path", c_char_p),
        ("pixels", POINTER(c_uint8)),
        ("width", c_uint32),
        ("height", c_uint32),
        ("stride", c_ssize_t),
        ("format", c_int),
        ("reserved", c_uint32),
    )


class _Step(Structure):
    _fields_ = (
        *((name, c_uint32) for name in ("size", "block", "index", "accepted", "masked", "final", "tokens")),
        ("confidence", c_float),
        ("text", c_char_p),
        ("text_length", c_size_t),
    )


class _Result(Structure):
    _fields_ = (
        ("size", c_uint32),
        ("stop", c_int),
        *((name, c_uint32) for name in ("count", "forwards", "steps", "blocks", "prompt_tokens", "cached_tokens")),
        ("confidence", c_float),
        ("modality", c_int),
        ("seconds", c_double),
        ("first_block_seconds", c_double),
        ("text", c_char_p),
        ("text_length", c_size_t),
        ("token_ids", POINTER(c_int32)),
        ("token_confidence", POINTER(c_float)),
    )


_OnStep = CFUNCTYPE(c_int, POINTER(_Step), c_void_p)


class _Request(Structure):
    _fields_ = (
        ("size", c_uint32),
        ("prompt_format", c_int),
        ("prompt", c_char_p),
        ("images", POINTER(_Image)),
        ("image_count", c_size_t),
        ("max_tokens", c_uint32),
        ("steps", c_uint32),
        ("threshold", c_float),
        ("reserved", c_uint32),
        ("options", c_char_p),
        ("on_step", _OnStep),
        ("on_done", c_void_p),
        ("user", c_void_p),
    )


def _new(kind: type[Structure], **values: Any) -> Any:
    return kind(size=ctypes.sizeof(kind), **values)


def of_the_wheel() -> Path:
    """The library of a wheel. Raises RequestError where there is none, with what to do."""
    folder = Path(a2d.__file__).parent / "lib"
    found = [folder / name for name in NAMES.get(sys.platform, ("liba2d.so",)) if (folder / name).is_file()]
    if not found:
        raise RequestError(
            f"{folder} has no liba2d: this a2d was installed without the C library. Build it (cmake -S . -B build && "
            "cmake --build build) and give --library build/liba2d.so"
        )
    return found[0]


class Library:
    """A loaded liba2d. Raises EngineError for a file that is none."""

    def __init__(self, path: Path) -> None:
        try:
            self.calls = ctypes.CDLL(str(path.resolve()))
            self.calls.a2d_version.restype = c_char_p
            self.version = self.calls.a2d_version().decode()
        except (OSError, AttributeError) as error:
            raise EngineError(f"{path} is not liba2d for this machine: {error}. Build it here with cmake.") from error
        self.calls.a2d_start.argtypes = (c_void_p, POINTER(_Request), POINTER(c_void_p), POINTER(_Error))
        self.calls.a2d_wait.argtypes = (c_void_p, c_uint32, POINTER(_Result), POINTER(_Error))
        self.calls.a2d_release.argtypes = self.calls.a2d_close.argtypes = (c_void_p,)

    def check(self, status: int, error: _Error) -> None:
        """Raise EngineError for a call that failed."""
        if status < 0:
            raise EngineError(f"liba2d: {error.message.decode(errors='replace')}")


class Embedded:
    """A bundle in a worker of this interpreter. A context manager: leaving it ends the worker. Raises EngineError."""

    def __init__(self, library: Library, bundle: Path, threads: int, precision: str) -> None:
        self._library = library
        self._model = c_void_p()
        options = _new(_Options, threads=threads, python=sys.executable.encode(), precision=precision.encode())
        error = _new(_Error)
        status = library.calls.a2d_open(str(bundle).encode(), byref(options), byref(self._model), byref(error))
        library.check(status, error)

    def __enter__(self) -> Embedded:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.calls.a2d_close(self._model)

    def generate(
        self, prompt: str, frame: NDArray[np.uint8] | None, options: str, on_step: Callable[[], object]
    ) -> str:
        """The text of one generation. `frame`: RGB `[H, W, 3]` uint8; `options`: a JSON object, as in a2d.h.

        `on_step` is called after each step, and cancels if it returns something true.
        """
        callback = _OnStep(lambda _step, _user: int(bool(on_step())))
        request = _new(_Request, prompt=prompt.encode(), options=options.encode(), on_step=callback)
        if frame is not None:
            pixels = frame.ctypes.data_as(POINTER(c_uint8))
            image = _Image(pixels=pixels, width=frame.shape[1], height=frame.shape[0])
            request.images, request.image_count = ctypes.pointer(image), 1
        return self._run(request)

    def _run(self, request: _Request) -> str:
        calls, generation = self._library.calls, c_void_p()
        error, result = _new(_Error), _new(_Result)
        status = calls.a2d_start(self._model, byref(request), byref(generation), byref(error))
        self._library.check(status, error)
        try:
            status = calls.a2d_wait(generation, FOREVER, byref(result), byref(error))
            self._library.check(status, error)
            return bytes(result.text).decode()
        finally:
            calls.a2d_release(generation)
