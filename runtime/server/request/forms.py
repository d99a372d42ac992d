"""Forms of answers that clients ask for, compiled each in a process that is ended where it takes too much; the last are
kept. Knows shapes as JSON, not what an answer is decoded from.
"""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ....engines.errors import RequestError
from ...decode.sequence import FREE, Form
from .limits import Limits
from .refusal import Refusal
from .shape_process import MADE, REFUSED

__all__ = ["Forms"]

KEPT = 32
"""Forms that are kept for the next request, the last ones used."""


class Forms:
    """The forms of one server. Compiles one at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._made: OrderedDict[tuple[Path, str], Form] = OrderedDict()
        self._lock = threading.Lock()
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "a2d-shapes")
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    async def get(self, bundle: Path, shape: str) -> Form:
        """The form of a shape as JSON, `{"schema": ...}`; none for an empty one.

        Raises RequestError for one that is not supported or that no answer can have, Refusal (429).
        """
        if not shape:
            return FREE
        if self._waiting >= self._limits.shapes:
            raise Refusal(429, "as many shapes are compiled as may; ask again soon", "too_many_requests", retry_after=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._form, bundle, shape)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the process that compiles, if one does, and the thread."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()
        self._thread.shutdown(cancel_futures=True)

    def _form(self, bundle: Path, shape: str) -> Form:
        key = bundle, shape
        if key not in self._made:
            self._made[key] = self._compiled(bundle, shape)
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return self._made[key]

    def _compiled(self, bundle: Path, shape: str) -> Form:
        said = self._said([str(self._limits.shape_memory), str(bundle)], shape)
        if said[:1] == MADE:
            made: Form = pickle.loads(said[1:])  # our own process wrote it
            return made
        if said[:1] == REFUSED:
            raise RequestError(said[1:].decode())
        raise RequestError(
            f"the shape takes more than {self._limits.shape_seconds:g} s or {self._limits.shape_memory >> 20} MiB to "
            "compile; ask for shorter values (maxLength) or fewer items (maxItems), and for simpler patterns"
        )

    def _said(self, arguments: list[str], shape: str) -> bytes:
        """Output of the process; empty where it was ended."""
        command = [sys.executable, "-m", "a2d.runtime.server.request.shape_process", *arguments]
        with self._lock:
            if self._closed:
                raise Refusal(503, "the server is stopping; ask again when it is back", "stopping", retry_after=5)
            self._process = process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        try:
            made, _ = process.communicate(shape.encode(), self._limits.shape_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            made = b""
        finally:
            with self._lock:
                self._process = None
        return made
