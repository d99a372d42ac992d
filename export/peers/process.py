"""Another engine in a process of its own, which decodes what it is asked for.

The process says in a line of JSON which forms it holds, and then answers a line for each line: {"form", "prompt",
"following"} gets {"tokens", "seconds", "cpu_seconds"} and the same up to the first token, a preferred token for each
that follows (null: the preferred one). Its standard error is kept, to be told if it ends. Knows no engine.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import EngineError
from ...runtime.measure.bench import PeerRun

__all__ = ["LINES", "ProcessRival", "rival_process"]

LINES = 8
"""Last lines of what a process said that are told when it ends."""


class ProcessRival:
    """A `Rival` behind a pipe."""

    def __init__(self, process: subprocess.Popen[str], said: IO[str], title: str) -> None:
        """Waits until the process is ready. Raises EngineError where it ends instead."""
        self._process, self._said, self._title = process, said, title
        ready = self._answer()
        self.name, self.forms = f"{title} {ready['version']}", tuple(ready["forms"])

    def decode(self, form: str, prompt: NDArray[np.int64], tokens: int) -> PeerRun:
        """See `Rival.decode`."""
        return self._asked(form, prompt, [None] * tokens)

    def preferred(self, form: str, prompt: NDArray[np.int64], following: Sequence[int]) -> Sequence[int]:
        """See `Rival.preferred`."""
        return self._asked(form, prompt, following).tokens

    def _asked(self, form: str, prompt: NDArray[np.int64], following: Sequence[int | None]) -> PeerRun:
        assert self._process.stdin is not None
        line = json.dumps({"form": form, "prompt": prompt.tolist(), "following": [*following]})
        with suppress(OSError):  # it has ended, and reading its answer says how
            print(line, file=self._process.stdin, flush=True)
        made = self._answer()
        if len(made["tokens"]) != len(following):
            raise EngineError(f"{self.name}, {form}: got {len(made['tokens'])} tokens, expected {len(following)}")
        first = made.get("first_seconds"), made.get("first_cpu_seconds")
        return PeerRun(tuple(made["tokens"]), made["seconds"], len(following), made["cpu_seconds"], *first)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            made: dict[str, Any] = json.loads(line)
            return made
        except ValueError:
            status = self._process.wait()
            self._said.seek(0)
            tail = "\n".join((line + self._said.read()).strip().splitlines()[-LINES:])
            raise EngineError(f"{self._title} ended with status {status}. It said:\n{tail}") from None


@contextmanager
def rival_process(title: str, commands: Sequence[Sequence[str | Path]]) -> Iterator[ProcessRival]:
    """The first of `commands` that becomes ready; it is ended with the context. Raises EngineError for the last one."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said, ExitStack() as stack:
        for number, command in enumerate(commands, 1):
            process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )
            stack.callback(_ended, process)
            try:
                rival = ProcessRival(process, said, title)
                break
            except EngineError:
                if number == len(commands):
                    raise
        yield rival


def _ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
