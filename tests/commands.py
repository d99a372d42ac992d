"""A command of a2d, run in the process of the test: a process of its own takes a second of imports before it begins.

Tests of what only a process has (signals, pipes, memory, imports) start one.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from a2d.__main__ import main

__all__ = ["Done", "a2d"]


@dataclass(frozen=True)
class Done:
    """The end of a command."""

    returncode: int
    stdout: str
    stderr: str


def a2d(*arguments: object, cwd: Path | None = None) -> Done:
    """Run `a2d` with these arguments, in the folder `cwd`."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(cwd or "."):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
    said, errors = (stream.buffer.getvalue().decode() for stream in (out, err))
    return Done(status, said, errors)
