"""A request in JSON to what a Model is asked: messages with pictures, options, stop strings.

Decodes no picture: that is for when the request has its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ....engines.errors import RequestError
from ...decode.options import Options, plan
from ...decode.sequence import FREE, Form
from ...decode.session import Generation, Session
from ...model import Model
from .fields import ChatFields, CompletionFields, options_of, read, stops_of
from .limits import Limits
from .pictures import PictureSources, Pixels
from .shape_fields import shape_of
from .tools import call_of

__all__ = ["Question", "asked_in_chat", "asked_to_complete"]

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Role of a message, as OpenAI's clients write it, to the one that chat templates know."""

TEXTS = ("text", "input_text", "output_text", "refusal")
IMAGES = ("image_url", "input_image", "image")
"""Types of a message's parts."""


@dataclass(frozen=True)
class Question:
    """One request for text."""

    model: str
    prompt: Any
    """Messages, a text, or token ids."""
    raw: bool
    """The prompt does not go through the chat template."""
    pictures: Sequence[Pixels]
    options: Options
    shape: str = ""
    """Shape of the answer as JSON; see `shape_of`."""
    form: Form = FREE
    """The same, compiled."""
    template_options: Mapping[str, Any] = field(default_factory=dict)
    stops: tuple[str, ...] = ()
    stream: bool = False
    usage: bool = False
    """The stream ends with a count of tokens."""
    function: str = ""
    """Name of the function that the answer calls, its text being the arguments; empty for a plain answer."""
    user: str = ""

    def check(self, model: Model) -> None:
        """Raise RequestError for what can be known to be wrong before it has its place."""
        plan(model.manifest.decode, self.options)
        if self.pictures and model.manifest.vision is None:
            raise RequestError(f"got {len(self.pictures)} images, but {self.model} reads text only; leave them out")

    def begin(self, model: Model, session: Session) -> Generation:
        """The generation in a new session of the model; reads the prompt."""
        clock = session.clock(self.options)  # a budget counts from before the prompt is read
        pictures = [pixels() for pixels in self.pictures]
        rows = model.prompt(self.prompt, pictures, self.raw, self.template_options, clock=clock)
        return session.stream(rows, self.options, self.form, clock=clock)


def asked_in_chat(data: Any, sources: PictureSources) -> Question:
    """The question of a chat completion. Raises RequestError that says what is wrong."""
    apart = ("messages", "stop", "response_format", "tools", "tool_choice", "a2d")
    fields, others = read(ChatFields, data, apart)
    pictures: list[Pixels] = []
    messages = _messages(others.get("messages"), sources, pictures)
    return _question(fields, others, messages, False, pictures, sources.limits)


def asked_to_complete(data: Any, sources: PictureSources) -> Question:
    """The question of a completion. Raises RequestError that says what is wrong."""
    fields, others = read(CompletionFields, data, ("prompt", "stop", "response_format", "a2d"))
    prompt = _prompt(others.get("prompt"))
    return _question(fields, others, prompt, isinstance(prompt, str), [], sources.limits)


def _question(
    fields: ChatFields | CompletionFields,
    others: dict[str, Any],
    prompt: Any,
    raw: bool,
    pictures: list[Pixels],
    limits: Limits,
) -> Question:
    if len(pictures) > limits.pictures:
        raise RequestError(f"got {len(pictures)} images, expected at most {limits.pictures} in a request")
    if (long := _characters(prompt)) > limits.characters:
        raise RequestError(f"got a prompt of {long} characters, expected at most {limits.characters}")
    options, own = options_of(fields, others.get("a2d"))
    template = own.get("template_options") or {}
    if not isinstance(template, dict):
        raise RequestError(f"a2d.template_options: got a {type(template).__name__}, expected an object")
    call = call_of(others.get("tools"), others.get("tool_choice"))
    parameters = None if call is None else call.parameters
    shape = shape_of(others.get("response_format"), own.get("template"), own.get("choices"), parameters)
    streamed = fields.stream_options
    return Question(
        model=fields.model,
        prompt=prompt,
        raw=raw,
        pictures=pictures,
        options=options,
        shape=shape,
        template_options=template,
        stops=stops_of(others.get("stop")),
        stream=bool(fields.stream),
        usage=streamed is not None and bool(streamed.include_usage),
        function="" if call is None else call.name,
        user=fields.user or "",
    )


def _prompt(value: Any) -> str | list[int]:
    """A text or token ids, alone or as a list of one."""
    alone = value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list) else value
    if isinstance(alone, str) and alone:
        return alone
    if isinstance(alone, list) and alone and all(type(item) is int and 0 <= item < 1 << 31 for item in alone):
        return alone
    raise RequestError(f"prompt: got {str(value)[:80]!r}, expected one text, or one list of token ids")


def _messages(value: Any, sources: PictureSources, pictures: list[Pixels]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise RequestError('messages: expected a list like [{"role": "user", "content": "..."}] with at least one')
    return [_message(message, f"messages[{i}]", sources, pictures) for i, message in enumerate(value)]


def _message(message: Any, where: str, sources: PictureSources, pictures: list[Pixels]) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise RequestError(f"{where}: got a {type(message).__name__}, expected an object with role and content")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise RequestError(f"{where}.role: got {str(role)[:40]!r}, expected one of {', '.join(ROLES)}")
    strange = [name for name in message if name not in ("role", "content", "name") and message[name] is not None]
    if strange:
        raise RequestError(f"{where}: got {', '.join(map(repr, strange[:5]))}, which is not supported; leave it out")
    if isinstance(content, list) and content:
        content = [_part(part, f"{where}.content[{i}]", sources, pictures) for i, part in enumerate(content)]
    elif not isinstance(content, str):
        raise RequestError(f"{where}.content: got a {type(content).__name__}, expected a text or a list of parts")
    return {"role": ROLES[role], "content": content}


def _part(part: Any, where: str, sources: PictureSources, pictures: list[Pixels]) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in TEXTS:
        text = part.get("text", part.get("refusal"))
        if not isinstance(text, str):
            raise RequestError(f"{where}.text: got a {type(text).__name__}, expected a text")
        return {"type": "text", "text": text}
    if kind in IMAGES or kind == "file":
        pictures.append(sources.at(_source(part, kind)))
        return {"type": "image"}
    known = ", ".join([*TEXTS[:2], *IMAGES, "file"])
    raise RequestError(f"{where}.type: got {str(kind)[:40]!r}, expected one of {known}")


def _source(part: dict[str, Any], kind: str) -> Any:
    """The URL or the file's id under whichever key it stands."""
    held = part.get(kind, part)
    if isinstance(held, dict):
        keys = ("url", "image_url", "file_id", "file_data")
        held = next((held[key] for key in keys if held.get(key) is not None), None)
    held = part.get("image_url", part.get("file_id")) if held is None else held
    return held.get("url") if isinstance(held, dict) else held


def _characters(prompt: Any) -> int:
    """Characters of a prompt's texts; token ids count as one each."""
    if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
        return len(prompt)
    contents = [message["content"] for message in prompt]
    return sum(
        len(content) if isinstance(content, str) else sum(len(part.get("text", "")) for part in content)
        for content in contents
    )
