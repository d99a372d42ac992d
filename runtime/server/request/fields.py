"""OpenAI's fields of a request, as they come in JSON, and as a server uses them. Strict: an unknown field is an error.

Knows the form alone: no model, no picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from ....engines.errors import RequestError
from ...decode.options import Options, with_fields
from ...schema import Violations, bounds, from_json

__all__ = ["ChatFields", "CommonFields", "CompletionFields", "StreamOptions", "options_of", "read", "stops_of"]

F = TypeVar("F", bound="CommonFields")

MOST_STOPS, LONGEST_STOP = 16, 1000
"""Stop strings of a request, and characters of each."""

OWN = ("template_options", "template", "choices")
"""Entries of the field `a2d` that are no options of decoding."""


@dataclass(frozen=True)
class StreamOptions:
    """OpenAI's options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


@dataclass(frozen=True)
class CommonFields:
    """Fields of all requests for text. Those that an answer does not depend on are taken and left alone."""

    model: str
    max_tokens: int | None = field(default=None, metadata=bounds(1, 1 << 26))
    temperature: float | None = field(default=None, metadata=bounds(0, 2))
    top_p: float | None = field(default=None, metadata=bounds(0, 1))
    seed: int | None = field(default=None, metadata=bounds(-(2**63), 2**64 - 1))
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = field(default=None, metadata=bounds(1, 1))
    frequency_penalty: float | None = field(default=None, metadata=bounds(0, 0))
    presence_penalty: float | None = field(default=None, metadata=bounds(0, 0))
    user: str | None = None


@dataclass(frozen=True)
class ChatFields(CommonFields):
    """Fields of a chat completion, its messages and other values of several forms left out."""

    max_completion_tokens: int | None = field(default=None, metadata=bounds(1, 1 << 26))
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None

    def __post_init__(self) -> None:
        lines = ["logprobs: got true, expected false: the field a2d.confidence says how sure the model was"]
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise Violations(["max_tokens: came together with max_completion_tokens, expected one of them"])
        if self.logprobs:
            raise Violations(lines)

    @property
    def length(self) -> int | None:
        """The most tokens, by whichever name."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


@dataclass(frozen=True)
class CompletionFields(CommonFields):
    """Fields of a completion, its prompt and stops left out."""

    best_of: int | None = field(default=None, metadata=bounds(1, 1))
    echo: bool | None = None

    def __post_init__(self) -> None:
        if self.echo:
            raise Violations(["echo: got true, expected false: the prompt is not sent back"])

    @property
    def length(self) -> int | None:
        """The most tokens."""
        return self.max_tokens


def read(kind: type[F], data: Any, apart: tuple[str, ...]) -> tuple[F, dict[str, Any]]:
    """The fields of `kind`, and the values under the names `apart`, null ones left out.

    Raises RequestError that lists all that is wrong.
    """
    if not isinstance(data, dict):
        raise RequestError(f"got a {type(data).__name__} as the body, expected a JSON object")
    others = {name: data[name] for name in apart if data.get(name) is not None}
    try:
        return from_json(kind, {name: value for name, value in data.items() if name not in apart}), others
    except Violations as error:
        raise RequestError(f"the request has fields that cannot be used:\n{error}") from error


def stops_of(value: Any) -> tuple[str, ...]:
    """The stop strings of the field `stop`: a text, or a list of some. Raises RequestError."""
    found = [value] if isinstance(value, str) else value
    if found is None:
        return ()
    if not isinstance(found, list) or not all(
        isinstance(stop, str) and 0 < len(stop) <= LONGEST_STOP for stop in found
    ):
        raise RequestError(f"stop: expected a text of 1 to {LONGEST_STOP} characters, or a list of such texts")
    if len(found) > MOST_STOPS:
        raise RequestError(f"stop: got {len(found)} texts, expected at most {MOST_STOPS}")
    return tuple(found)


def options_of(asked: ChatFields | CompletionFields, own: Any) -> tuple[Options, dict[str, Any]]:
    """Options of decoding from OpenAI's fields and those of the field `a2d`; and what else stands in that one.

    Raises RequestError for unknown names, and for one that is given twice.
    """
    own = {} if own is None else own
    if not isinstance(own, dict):
        raise RequestError(f'a2d: got a {type(own).__name__}, expected an object of options like {{"steps": 4}}')
    named = {"max_tokens": asked.length, "temperature": asked.temperature, "top_p": asked.top_p, "seed": asked.seed}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if "seed" in given:
        given["seed"] %= 2**64
    chosen = {name: value for name, value in own.items() if name not in OWN}
    if twice := sorted(given.keys() & chosen.keys()):
        raise RequestError(f"got {', '.join(twice)} twice, in the request and in its field a2d; leave one out")
    lists = {one.name for one in fields(Options) if isinstance(chosen.get(one.name), list)}
    chosen |= {name: tuple(chosen[name]) for name in lists}
    try:
        options = with_fields(None, **given, **chosen)
    except TypeError as error:
        raise RequestError(f"a2d: {error}") from error
    return options, {name: own[name] for name in OWN if name in own}
