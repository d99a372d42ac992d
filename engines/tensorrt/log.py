"""A library's log while it works: kept, and of its errors the first, which is the cause of the others."""

from __future__ import annotations

from typing import Any

__all__ = ["Log"]

KEPT = 20_000
"""Lines at most: a long build may warn about every layer."""


class Log:
    """Lines by severity. `of` gives a library the logger that it expects."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._logger: Any = None

    def write(self, severity: str, message: str) -> None:
        """One line."""
        if len(self.lines) < KEPT:
            self.lines.append(f"{severity}: {message}")
        if severity.endswith("ERROR"):
            self.errors.append(message.strip())

    @property
    def cause(self) -> str:
        """The first error; those after it are what came of it."""
        return self.errors[0] if self.errors else "it gave no reason"

    def text(self) -> str:
        """Everything."""
        return "\n".join([*self.lines, ""])

    def of(self, library: Any) -> Any:
        """A logger of that library, made once: it must outlive whatever it is given to."""
        if self._logger is None:
            keep = self.write

            class Logger(library.ILogger):  # type: ignore[misc]
                def __init__(self) -> None:
                    library.ILogger.__init__(self)

                def log(self, severity: Any, message: str) -> None:
                    keep(severity.name, message)

            self._logger = Logger()
        return self._logger
