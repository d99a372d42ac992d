"""Events of an answer as OpenAI's objects: whole, or as the chunks of a stream. Plain JSON; knows no HTTP."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...schema import to_json
from ..work.ticket import Begun, Ended, Event, Stepped

__all__ = ["ChatAnswer", "CompletionAnswer", "own_facts"]

FINISHES = {
    "stop": "stop",
    "repeats": "stop",
    "length": "length",
    "context": "length",
    "budget": "length",
    "cancelled": "stop",
}
"""Reason for which an answer ended to OpenAI's `finish_reason`; a2d's own stands in `a2d.stop_reason`."""


def own_facts(ended: Ended) -> dict[str, Any]:
    """Facts of an answer that OpenAI's objects have no field for."""
    result = ended.result
    made = result.budget
    return {
        "stop_reason": ended.reason,
        "written": result.written,
        "tokens": list(result.tokens),
        "confidence": list(result.confidence),
        "forwards": result.forwards,
        "steps": result.steps,
        "blocks": result.blocks,
        "seconds": result.seconds,
        "first_block_seconds": result.first_block_seconds,
        "budget": None if made is None else {**to_json(made), "over": made.over},
    }


def usage_of(ended: Ended) -> dict[str, Any]:
    """Counts of tokens in OpenAI's form."""
    asked, made = ended.result.prompt_tokens, len(ended.result.tokens)
    return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}


@dataclass(frozen=True)
class _Answer:
    """One answer's name and time."""

    model: str
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


@dataclass(frozen=True)
class ChatAnswer(_Answer):
    """A chat completion."""

    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    function: str = ""
    """Name of the function that it calls; its text is the arguments then."""
    call: str = field(default_factory=lambda: f"call_{secrets.token_hex(12)}")
    """Id of that call."""

    def whole(self, ended: Ended) -> dict[str, Any]:
        """The object of an answer that is not streamed."""
        said = {"tool_calls": [self._called(ended.text)]} if self.function else {}
        message = {"role": "assistant", "content": None if said else ended.text, "refusal": None, **said}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish(ended)}
        head = self._head("chat.completion")
        return {**head, "choices": [choice], "usage": usage_of(ended), "a2d": own_facts(ended)}

    def chunks(self, event: Event, usage: bool) -> Iterator[dict[str, Any]]:
        """The chunks that an event makes: none for a step without new text."""
        if isinstance(event, Begun):
            opened = {"content": None, "tool_calls": [{"index": 0, **self._called("")}]}
            yield self._chunk({"role": "assistant", **(opened if self.function else {"content": ""})})
        elif isinstance(event, Stepped) and event.text:
            yield self._chunk(self._more(event.text))
        elif isinstance(event, Ended):
            if event.rest:
                yield self._chunk(self._more(event.rest))
            yield {**self._chunk({}, self._finish(event)), "a2d": own_facts(event)}
            if usage:
                yield {**self._head("chat.completion.chunk"), "choices": [], "usage": usage_of(event)}

    def _called(self, arguments: str) -> dict[str, Any]:
        return {"id": self.call, "type": "function", "function": {"name": self.function, "arguments": arguments}}

    def _more(self, text: str) -> dict[str, Any]:
        """The delta of a further piece of text."""
        if not self.function:
            return {"content": text}
        return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}

    def _finish(self, ended: Ended) -> str:
        finish = FINISHES[ended.reason]
        return "tool_calls" if self.function and finish == "stop" else finish

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}


@dataclass(frozen=True)
class CompletionAnswer(_Answer):
    """A completion of a plain prompt."""

    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")

    def whole(self, ended: Ended) -> dict[str, Any]:
        """The object of an answer that is not streamed."""
        made = self._made(ended.text, FINISHES[ended.reason])
        return {**made, "usage": usage_of(ended), "a2d": own_facts(ended)}

    def chunks(self, event: Event, usage: bool) -> Iterator[dict[str, Any]]:
        """The chunks that an event makes: none for a step without new text."""
        if isinstance(event, Stepped) and event.text:
            yield self._made(event.text)
        elif isinstance(event, Ended):
            yield {**self._made(event.rest, FINISHES[event.reason]), "a2d": own_facts(event)}
            if usage:
                yield {**self._head("text_completion"), "choices": [], "usage": usage_of(event)}

    def _made(self, text: str, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return {**self._head("text_completion"), "choices": [choice]}
