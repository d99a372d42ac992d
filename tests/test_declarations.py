"""Settings are declared once: flags, schema versions and the tables in docs/ are those of the declarations."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

from a2d.runtime.cli.arguments import add_options, options_from
from a2d.runtime.decode.contract import DecodeContract
from a2d.runtime.decode.options import Options
from a2d.runtime.decode.rules import FALLBACKS, RULES, SCHEDULES, STOPS
from a2d.runtime.schema import Choices, setting_of

ROOT = Path(__file__).parent.parent


def shown(default: Any) -> str:
    """A default as JSON has it, or nothing where a value must be given."""
    words = {None: "null", (): "none", MISSING: ""}
    return words[default] if default in words else f"`{str(default).lower() if isinstance(default, bool) else default}`"


def row(one: Field[Any], schema: bool) -> str:
    said = setting_of(one)
    names = "" if said.choices is None else f": {', '.join(f'`{name}`' for name in said.choices)}"
    cells = [f"`{one.name}`", said.help + names, shown(one.default)] + [str(said.since)] * schema
    return f"| {' | '.join(cells)} |"


def table(kind: type[Any], schema: bool) -> str:
    head = ["field" if schema else "option", "meaning", "default"] + ["since schema"] * schema
    rows = [row(one, schema) for one in fields(kind)]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows])


@pytest.mark.parametrize(("page", "kind"), [("bundle.md", DecodeContract), ("decoding.md", Options)])
def test_the_table_in_docs_is_made_of_the_declarations(page, kind):
    wanted = table(kind, schema=kind is DecodeContract)
    assert wanted in (ROOT / "docs" / page).read_text(encoding="utf-8"), f"docs/{page} lacks this table:\n{wanted}"


@pytest.mark.parametrize("choices", [RULES, FALLBACKS, SCHEDULES, STOPS])
def test_a_choice_is_one_row_of_name_meaning_and_function(choices: Choices[Any]):
    assert isinstance(choices, Mapping) and list(choices) == list(choices.meanings)
    assert all(callable(choices[name]) and choices.meanings[name] for name in choices)


def test_every_option_has_a_flag_and_nothing_else_is_given():
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert options_from(parser.parse_args([])) == Options()
    assert {action.dest for action in parser._actions} == {one.name for one in fields(Options)} | {"help"}
    made = options_from(parser.parse_args(["--stop-repeats", "3", "--guidance-keep", "1,2", "--block-cache"]))
    assert made == Options(stop_repeats=3, guidance_keep=(1, 2), block_cache=True)


def test_inherited_options_are_bounded_as_the_contracts():
    contract = {one.name: one for one in fields(DecodeContract)}
    inherited = [one for one in fields(Options) if setting_of(one).inherited]
    assert [one.name for one in inherited] == [
        "confidence", "comparison", "fallback", "stop", "stop_repeats", "replace_above",
    ]  # fmt: skip
    for one in inherited:
        assert one.default is None and one.metadata.get("bounds") == contract[one.name].metadata.get("bounds")


def test_stop_repeats_is_spelled_in_few_files():
    """One field of the contract that is an option as well: its declarations, and the loop and session that obey it."""
    rooms = [path for room in ("runtime", "export", "engines", "calibration") for path in (ROOT / room).rglob("*.py")]
    spelled = {p.relative_to(ROOT).as_posix() for p in rooms if re.search("stop[_-]repeats", p.read_text("utf-8"))}
    declared = {"runtime/decode/contract.py", "runtime/decode/options.py"}
    assert declared <= spelled and all(
        p in declared or p.startswith(("runtime/decode/", "export/families/")) for p in spelled
    )
