"""Lines of a terminal: a stranger's text on one, and the progress of long work on another, with an estimate of what is
left. Progress is on stderr: one line that updates on a terminal, few lines elsewhere. Knows characters, amounts and
time; nothing of the work.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

__all__ = ["HARMLESS", "Progress", "one_line", "size", "span"]

HARMLESS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if code != ord("\n")} | {ord("\t"): "    "}
"""Control characters to what is shown in their place."""

REDRAW = 0.1
"""Seconds between updates of a terminal's line."""

SPARSE = 10.0
"""Seconds between lines where nobody watches."""

CLEAR = "\r\x1b[K"
"""Back to the beginning of a terminal's line, and nothing on it."""


def one_line(text: str) -> str:
    """`text` on one line, without codes that steer a terminal; half characters of file names become visible."""
    return " ".join(text.splitlines()).translate(HARMLESS).encode("utf-8", "backslashreplace").decode()


def size(count: float) -> str:
    """Bytes for people: `1.5 GB`, powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def span(seconds: float) -> str:
    """Seconds for people: `4.2 s`, `3:20`, `1:02:03`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass
class Progress:
    """One piece of work of `total` units, None where nobody knows. A context manager: leaving it ends the line."""

    what: str
    total: float | None
    unit: str = "bytes"
    """`bytes` are shown as sizes, anything else as counts."""
    quiet: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.done = 0.0
        self._started = self.clock()
        self._shown = self._started if not self._live else float("-inf")

    @property
    def _live(self) -> bool:
        return self.stream.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.done = max(self.done, self.total or 0)
        self._show(final=True)

    def add(self, amount: float = 1) -> None:
        """So much more is done."""
        self.done += amount
        now = self.clock()
        if now - self._shown >= (REDRAW if self._live else SPARSE):
            self._shown = now
            self._show(final=False)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take a terminal's line away meanwhile, so that others can write."""
        shown = self._live and not self.quiet
        if shown:
            self.stream.write(CLEAR)
            self.stream.flush()
        yield
        if shown:
            self._show(final=False)

    def line(self) -> str:
        """The state in one line."""
        spent = self.clock() - self._started
        if self.total is None:
            return f"{self.what}: {self._amount()}  {span(spent)}"
        share = min(self.done / self.total, 1.0) if self.total else 1.0
        left = f"{span(spent / share - spent)} left" if 0 < share < 1 else span(spent)
        return f"{self.what}: {share:4.0%}  {self._amount()}  {left}"

    def _amount(self) -> str:
        if self.unit == "bytes":
            return size(self.done) + (f" of {size(self.total)}" if self.total is not None else "")
        return f"{self.done:.0f}{f' of {self.total:.0f}' if self.total is not None else ''} {self.unit}"

    def _show(self, final: bool) -> None:
        if self.quiet:
            return
        if self._live:
            self.stream.write(f"{CLEAR}{self.line()}" + ("\n" if final else ""))
        else:
            self.stream.write(f"{self.line()}\n")
        self.stream.flush()
