"""Words: messages below the commands name no flag, and docstrings are sentences or noun phrases, not riddles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from a2d.runtime.cli.arguments import worded

ROOT = Path(__file__).parent.parent
ROOMS = ("engines", "runtime", "calibration", "export")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))

COMMANDS = {
    "export/cli.py": "a command",
    "export/builtin.py": "runs a command",
    "engines/install.py": "writes pip's flags, which are not ours",
    "engines/probe/driver.py": "runs nvidia-smi",
    "export/film/flags.py": "the flags of a command",
    "export/checkpoint/json_files.py": "names a flag of `hf`, which is not ours",
    "runtime/footage/writers/html.py": "a stylesheet",
    "runtime/host/worker.py": "a command of its own, which the C library starts",
}
"""Files outside cli/ that hold a command line, and why."""

RIDDLES = re.compile(r"(What|Of|That|Those|As|By|Which|Where|How|Whether)\b")
"""First words of a docstring that has no subject."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Docstrings of modules, classes, functions, attributes and constants: strings that stand alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_message_below_the_commands_names_a_flag(path):
    name = name_of(path)
    if "/cli/" in name or name in COMMANDS:
        pytest.skip("words flags")
    tree = parsed(path)
    spoken = {id(docstring) for docstring in docstrings(tree)}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in spoken]
    named = [(n.lineno, n.value) for n in texts if isinstance(n.value, str) and re.search("--[a-z]", n.value)]
    assert named == [], "name the setting (`the setting max_tokens`, `[context=512]`): runtime/cli words it as a flag"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_docstrings_have_a_subject(path):
    riddles = [(d.lineno, d.value) for d in docstrings(parsed(path)) if RIDDLES.match(d.value)]
    assert riddles == [], "begin with a noun or a verb: a noun phrase for a value, an imperative for a function"


def test_settings_become_flags_on_a_command_line():
    text = "Lower the setting max_tokens, or build: a2d build x.a2d [target=rtx sm=86,89 block_size=8]."
    assert worded(text) == "Lower --max-tokens, or build: a2d build x.a2d --target rtx --sm 86,89 --block-size 8."
    assert worded("the setting stop_token_ids looked in config.json") == "--stop-token looked in config.json"
    assert worded("the settings [1, 2] and `[H, W, 3]` stay") == "the settings [1, 2] and `[H, W, 3]` stay"
