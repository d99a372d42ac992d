"""Shapes of answers as requests name them: `response_format`, `tools`, and two of a2d's own. Compiles none."""

from __future__ import annotations

import json
from typing import Any

from ....engines.errors import RequestError

__all__ = ["shape_of"]

ANY_OBJECT = {"type": "object"}
"""Schema of the format `json_object`."""

EXPECTED = '{"type": "text"}, {"type": "json_object"} or {"type": "json_schema", "json_schema": {"schema": {...}}}'

LONGEST = 100_000
"""Characters of a shape as JSON."""


def shape_of(response_format: Any, template: Any, choices: Any, parameters: Any = None) -> str:
    """The shape as JSON, as `Forms.get` takes it; empty where any text will do. Raises RequestError.

    `parameters`: schema of the arguments of a function that has to be called.
    """
    schema = _schema(response_format)
    asked = {"response_format": schema, "tools": parameters, "template": template, "choices": choices}
    given = {name: value for name, value in asked.items() if value is not None}
    if len(given) > 1:
        raise RequestError(f"got {' and '.join(given)}, expected one shape for an answer: leave the others out")
    if template is not None and not isinstance(template, str):
        raise RequestError(f"a2d.template: got a {type(template).__name__}, expected a text like 'take {{take:int}}'")
    if choices is not None and not (isinstance(choices, list) and all(isinstance(text, str) for text in choices)):
        raise RequestError('a2d.choices: expected a list of texts, as ["yes", "no"]')
    kinds = {"response_format": "schema", "tools": "schema"}
    text = json.dumps({kinds.get(name, name): value for name, value in given.items()}) if given else ""
    if len(text) > LONGEST:
        raise RequestError(f"got a shape of {len(text)} characters as JSON, expected at most {LONGEST}")
    return text


def _schema(asked: Any) -> Any:
    """The schema that a `response_format` asks for; None for text."""
    kind = asked.get("type") if isinstance(asked, dict) else asked
    if asked is None or asked == {"type": "text"}:
        return None
    if asked == {"type": "json_object"}:
        return ANY_OBJECT
    held = asked.get("json_schema") if isinstance(asked, dict) and kind == "json_schema" else None
    if not isinstance(held, dict) or set(asked) != {"type", "json_schema"}:
        raise RequestError(f"response_format: got {str(asked)[:80]}, expected {EXPECTED}")
    strange = sorted(set(held) - {"name", "description", "schema", "strict"})
    if strange or not isinstance(held.get("schema"), dict | bool):
        found = f"the unknown {', '.join(strange)[:80]}" if strange else f"{str(held.get('schema'))[:40]!r} as schema"
        raise RequestError(
            f"response_format.json_schema: got {found}, expected a schema, and name, description or strict beside it"
        )
    return held["schema"]
