"""OpenAI's `tools` where `tool_choice` leaves no choice: one function, whose arguments are an answer of a given shape.

A model that was not taught to call functions cannot choose one, so whatever leaves it the choice is refused. Knows the
form alone; compiles no schema, and nothing is told to the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ....engines.errors import RequestError

__all__ = ["Call", "call_of"]

NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
"""Schema of a function that takes no arguments."""

EXPECTED = (
    'expected tool_choice to name one function of tools, {"type": "function", "function": {"name": "..."}}, or to be '
    '"required" beside a single one: this server does not choose. Ask with a forced choice, or with response_format'
)

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Call:
    """A function that an answer has to call."""

    name: str
    parameters: dict[str, Any]
    """JSON schema of its arguments."""


def call_of(tools: Any, choice: Any) -> Call | None:
    """The call that a request forces; None for one without tools. Raises RequestError for any other use of tools."""
    if tools is None and choice is None:
        return None
    if not isinstance(tools, list) or not tools:
        raise RequestError(f"tools: got {str(tools)[:40]}, expected a list of functions; {EXPECTED}")
    calls = {call.name: call for call in (_call(tool, f"tools[{i}]") for i, tool in enumerate(tools))}
    if len(calls) < len(tools):
        raise RequestError("tools: got two functions of one name, expected names that differ")
    if choice == "required" and len(calls) == 1:
        return next(iter(calls.values()))
    named = isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("function"), dict)
    name = choice["function"].get("name") if named else None
    if not isinstance(name, str):
        asked = "none, which is auto" if choice is None else str(choice)[:80]
        raise RequestError(f"tool_choice: got {asked}, with {len(calls)} functions in tools, {EXPECTED}")
    if name not in calls:
        raise RequestError(f"tool_choice: got the function {name[:64]!r}, expected one of tools: {', '.join(calls)}")
    return calls[name]


def _call(tool: Any, where: str) -> Call:
    held = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(held, dict):
        raise RequestError(f'{where}: got {str(tool)[:80]}, expected {{"type": "function", "function": {{...}}}}')
    known = ("name", "description", "parameters", "strict")
    if strange := sorted(set(held) - set(known)):
        unknown = ", ".join(strange)[:80]
        raise RequestError(f"{where}.function: got the unknown {unknown}, expected {', '.join(known)}")
    name, parameters = held.get("name"), held.get("parameters")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise RequestError(f"{where}.function.name: got {str(name)[:70]!r}, expected 1 to 64 of a-z, A-Z, 0-9, _ and -")
    parameters = NOTHING if parameters in (None, {}) else parameters
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        raise RequestError(f"{where}.function.parameters: got {str(parameters)[:60]}, expected the schema of an object")
    return Call(name, parameters)
