"""A shape as it is asked for: a template, choices or a schema, one of them, over one model's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError
from ..decode.contract import DecodeContract
from .automaton import Vocabulary, compiled
from .json_schema import json_schema
from .language import Language
from .sentence import Rendering, object_of, sentences_of
from .shape import Shape
from .template import choices as one_of
from .template import template as filled

__all__ = ["form_of", "language_of", "shaped", "vocabulary_of"]


def language_of(template: str | None = None, choices: Sequence[str] | None = None, schema: object = None) -> Language:
    """The language that is asked for. Raises RequestError unless it is one of the three."""
    asked = {"template": template, "choices": choices, "schema": schema}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        raise RequestError(
            f"got {' and '.join(given) or 'none'}, expected one of the settings template, choices, schema"
        )
    if template is not None:
        return filled(template)
    return one_of(choices) if choices is not None else json_schema(schema)


def shaped(language: Language, vocabulary: Vocabulary, rendering: Rendering | None = None) -> Shape:
    """The form of answers in `language`. Raises RequestError where the model's tokens cannot write it."""
    return Shape(compiled(language, vocabulary), rendering)


def form_of(
    vocabulary: Vocabulary,
    template: str | None = None,
    choices: Sequence[str] | None = None,
    schema: object = None,
    *,
    sentences: Sequence[str] = (),
    unknown: str | None = None,
) -> Shape:
    """The form that is asked for, of a model that writes `sentences` and `unknown` for a value that it does not know.

    Raises RequestError as `language_of` and `shaped` do.
    """
    language = language_of(template, choices, schema)
    made = object_of(schema, sentences_of(sentences), unknown) if schema is not None and sentences else None
    return shaped(language, vocabulary) if made is None else shaped(made[0], vocabulary, made[1])


def vocabulary_of(
    spelled: tuple[list[bytes], Callable[[str], NDArray[np.int64]]] | None, decode: DecodeContract, size: int
) -> Vocabulary:
    """The tokens that answers are made of: `spelled` are each token's bytes, and a tokenizer's way from text to ids.

    Raises RequestError where there is no tokenizer, or nothing to end an answer with.
    """
    if spelled is None or not decode.stop_token_ids:
        lacks = "tokenizer" if spelled is None else "stop token"
        raise RequestError(f"an answer of a given shape needs a {lacks}, which this bundle does not have")
    tokens, encode = spelled
    tokens = tokens[:size] + [b""] * (size - len(tokens))
    barred = {*decode.forbid_token_ids, *decode.stop_token_ids, *decode.drop_token_ids}
    return Vocabulary(tokens, encode, decode.stop_token_ids[0], frozenset(barred))
