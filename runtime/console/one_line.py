"""A stranger's text on one line of a terminal. Knows characters; not where they come from."""

from __future__ import annotations

__all__ = ["HARMLESS", "one_line"]

HARMLESS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if code != ord("\n")} | {ord("\t"): "    "}
"""Control characters to what is shown in their place."""


def one_line(text: str) -> str:
    """`text` on one line, without codes that steer a terminal; half characters of file names become visible."""
    return " ".join(text.splitlines()).translate(HARMLESS).encode("utf-8", "backslashreplace").decode()
