"""Ends of turns in a chat template, held against the stop tokens. Knows templates as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...engines.errors import A2DError, BundleError, CheckpointError
from ...runtime.inputs.tokenizer import ChatTemplate
from .directory import Checkpoint
from .tokenizer_settings import special_texts
from .vocabulary import Vocabulary

__all__ = ["check_template", "special_tokens", "turn_notes", "turn_tokens"]

ANSWER = "an answer that no template writes"


_ASKED, _PARTS = {"role": "user", "content": "hello"}, [{"type": "text", "text": "hello"}]
QUESTIONS: tuple[list[dict[str, Any]], ...] = (
    [_ASKED],
    [{"role": "user", "content": _PARTS}],
    [{"role": "system", "content": "be short"}, _ASKED],
)
"""The simplest of conversations: a template that writes none of them is broken."""


def special_tokens(checkpoint: Checkpoint) -> dict[str, str]:
    """The special tokens that a template may name, by the names that transformers gives them."""
    return special_texts(checkpoint.tokenizer_config)


def check_template(source: str, checkpoint: Checkpoint) -> ChatTemplate:
    """The template, compiled. Raises CheckpointError where it is not valid Jinja, or writes no question at all."""
    try:
        template = ChatTemplate(source, special_tokens(checkpoint))
    except BundleError as error:
        why = str(error).removesuffix(" Export the checkpoint again.")
        raise CheckpointError(f"{checkpoint.path}: {why} Mend it, or fetch the checkpoint's own.") from error
    refusals = [refusal for talk in QUESTIONS if (refusal := _refusal(template, talk)) is not None]
    if len(refusals) == len(QUESTIONS):
        raise CheckpointError(f"{checkpoint.path}: {refusals[0]}. Mend the template, or fetch the checkpoint's own.")
    return template


def _refusal(template: ChatTemplate, talk: Sequence[Mapping[str, Any]]) -> str | None:
    try:
        return None if template.render(talk).strip() else "the chat template writes nothing for a question"
    except A2DError as error:
        return str(error)


def turn_tokens(checkpoint: Checkpoint, source: str | None) -> dict[str, str]:
    """Texts of the tokens that end a turn, with where each was found: the tokenizer's eos, and the template's own."""
    found = {}
    if eos := special_tokens(checkpoint).get("eos_token"):
        found[eos] = "the tokenizer's eos"
    if source is not None and (end := _end_of_turn(checkpoint, source)) is not None:
        found.setdefault(end, "the chat template's end of a turn")
    return found


def turn_notes(checkpoint: Checkpoint, source: str | None, stops: tuple[int, ...]) -> Iterator[str]:
    """A line for each token that ends a turn and is no stop token: an answer would run on behind it."""
    ids = Vocabulary.of(checkpoint).ids
    for text, where in turn_tokens(checkpoint, source).items():
        if text in ids and ids[text] not in stops:
            all_stops = ",".join(map(str, (*stops, ids[text])))
            yield f"{where} {text} ({ids[text]}) is no stop token; to add it: [stop_token_ids={all_stops}]"


def _end_of_turn(checkpoint: Checkpoint, source: str) -> str | None:
    """The added token that stands first behind an answer, by the template."""
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": ANSWER}]
    try:
        behind = check_template(source, checkpoint).render(turns).partition(ANSWER)[2]
    except A2DError:
        return None  # it wants other messages than these
    places = {text: behind.find(text) for text in Vocabulary.of(checkpoint).added if text and text in behind}
    return min(places, key=lambda text: (places[text], -len(text)), default=None)
