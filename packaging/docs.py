"""The documentation as one folder for MkDocs: docs/, the pages at the repository's root, and the commands' own help.

    python packaging/docs.py build/site-docs

The page of commands is made from the parsers, so that it cannot fall behind them.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from a2d.__main__ import COMMANDS, main, usage

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages at the root to their names in the site."""


def commands() -> str:
    """The page of commands."""
    return "\n".join(_commands())


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield f"Generated from the commands themselves: `a2d COMMAND --help` prints the same.\n\n```\n{usage()}\n```\n"
    for name, (_, what) in COMMANDS.items():
        yield f"## a2d {name}\n\n{what[0].upper()}{what[1:]}.\n\n```\n{_help(name)}\n```\n"


def _help(name: str) -> str:
    os.environ["COLUMNS"] = "110"
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([name, "--help"])
    return said.getvalue().rstrip()


def linked(text: str) -> str:
    """A page of the root with its links as they are in the site."""
    text = re.sub(r"\]\((?:docs/)([^)]+)\)", r"](\1)", text)
    for page, name in PAGES.items():
        text = text.replace(f"]({page})", f"]({name})")
    return text


def gather(folder: Path) -> None:
    """Write the whole folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder)
    for page, name in PAGES.items():
        (folder / name).write_text(linked((ROOT / page).read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "commands.md").write_text(commands(), encoding="utf-8")


if __name__ == "__main__":
    gather(Path(sys.argv[1]))
