"""Schemas that are answered by a model's own sentences: whatever the weights, the object made of one is valid."""

from __future__ import annotations

import itertools
import json
import os
import re
from dataclasses import replace

import jsonschema
import pytest
from conftest import EXAMPLES
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from spelled import NUMBERS, VOCABULARY, decodes, text_of
from toy import STOP, prompt

from a2d import load
from a2d.engines.errors import RequestError
from a2d.runtime.decode.options import Options
from a2d.runtime.footage.slate import FIELDS, values
from a2d.runtime.shapes.automaton import compiled
from a2d.runtime.shapes.best_string import advanced
from a2d.runtime.shapes.language import Common
from a2d.runtime.shapes.make import form_of
from a2d.runtime.shapes.sentence import object_of, sentences_of

pytest.importorskip("outlines_core", reason='the extra "shapes"')

ANSWERS = int(os.environ.get("A2D_ANSWERS", "0"))
"""Answers of random models; each compiles a form of its own, so the suite makes few (`make test-shapes`: thousands)."""

SEEDED = seed(int(os.environ["A2D_SEED"])) if "A2D_SEED" in os.environ else lambda test: test

SENTENCES = ("a {a:-|[12]{1,3}|[ab]+} b {b:-|-?[0-2]{1,2}([.][12])?}", "c {a:.*}", "bb")
UNKNOWN = "-"
TEXT, WHOLE, NONE = {"type": "string"}, {"type": "integer"}, {"type": "null"}

VALUES = st.sampled_from([
    TEXT, {"type": "number"}, {"anyOf": [TEXT, NONE]}, {"type": ["integer", "null"], "minimum": 0, "maximum": 30}, NONE,
    {"type": "integer", "minimum": 2, "maximum": 21}, {"enum": ["12", 1, None, "ab"]}, {"const": "1"},
    {"type": "string", "pattern": "^[ab]"}, {"type": "string", "minLength": 2, "maxLength": 2}, {"$ref": "#/$defs/two"},
    {"type": ["string", "null"]},
    {"anyOf": [{"type": "integer", "exclusiveMaximum": 2}, {"type": "string", "pattern": "2$"}]},
])  # fmt: skip
OBJECTS = st.tuples(st.dictionaries(st.sampled_from("ab"), VALUES, min_size=1), st.sets(st.sampled_from("ab"))).map(
    lambda made: {
        "$defs": {"two": {"type": "string", "enum": ["-", "a", "2"]}},
        "type": "object",
        "properties": made[0],
        "required": sorted(made[1] & set(made[0])),
        "additionalProperties": False,
    }
)


def form_to(schema, sentences=SENTENCES, unknown=UNKNOWN):
    return form_of(VOCABULARY, schema=schema, sentences=sentences, unknown=unknown)


@SEEDED
@settings(max_examples=ANSWERS or 8, deadline=None)
@given(OBJECTS, decodes(), st.sampled_from([UNKNOWN, None]))
def test_objects_made_of_sentences_are_valid(schema, decode, unknown):
    c, chosen, tokens, toy = decode
    try:
        form = form_to(schema, unknown=unknown)
    except RequestError as error:
        assert "this model writes" in str(error) and "#/properties/" in str(error)
        return
    chosen["max_tokens"] += int(form.automaton.left[0]) - 1
    session = toy.session(c)
    session._detokenize = text_of
    result = session.generate(prompt(tokens), Options(**chosen), form)
    assert result.written is not None and any(one.values(result.written) is not None for one in sentences_of(SENTENCES))
    jsonschema.validate(json.loads(result.text), schema)


@pytest.mark.parametrize("regexes", [("[ab]+", ".*b"), ("(ab)*", "a.*", "...?.?"), ("[12]{2}", "1.|.2")])
def test_what_several_patterns_match_is_written_and_nothing_else(regexes):
    automaton = compiled(Common(regexes), VOCABULARY)
    letters = [NUMBERS[letter] for letter in (b"a", b"b", b"1", b"2", b"ab", b"12")]
    for tokens in itertools.chain.from_iterable(itertools.product(letters, repeat=count) for count in range(5)):
        states = automaton.starts
        for token in (*tokens, STOP):
            states = advanced(automaton, states, token)
        assert bool(states) == all(re.fullmatch(one, text_of(tokens)) for one in regexes), text_of(tokens)


def rendering(schema):
    made = object_of(schema, sentences_of(SENTENCES), UNKNOWN)
    return None if made is None else made[1]


def written(schema, text):
    return rendering(schema).json(text)


def test_a_value_is_written_as_its_schema_says():
    both = {"type": "object", "properties": {"b": {"type": ["number", "null"]}, "a": TEXT}, "required": ["b", "a"]}
    assert written(both, "a 12 b -1.2") == '{"b": -1.2, "a": "12"}'
    assert written(both, "a - b -") == '{"b": null, "a": "-"}'
    assert written(both | {"required": ["b"]}, "a - b -") == '{"b": null}'
    assert written(both, "c 12") == '{"b": null, "a": "12"}'
    assert written(both, "bb") == '{"b": null, "a": "-"}'
    assert written(both, "a 12 b") == ""
    assert written({"properties": {"a": {"enum": [12, "ab"]}}}, "c 12") == '{"a": 12}'


FEW = {"type": "integer", "minimum": 0, "maximum": 9}


def test_a_sentence_that_leaves_a_value_out_is_written_where_it_may_be_unknown():
    def spelled(text):
        return [NUMBERS[letter.encode()] for letter in text]

    def holds(form, text):
        states = form.automaton.starts
        for token in (*spelled(text), STOP):
            states = advanced(form.automaton, states, token)
        return bool(states)

    whole = {"type": "object", "properties": {"a": FEW, "b": FEW}, "required": ["a", "b"]}
    assert not holds(form_to(whole), "bb") and not holds(form_to(whole), "c 1") and holds(form_to(whole), "a 1 b 2")
    assert holds(form_to(whole | {"required": ["a"]}), "c 1") and holds(form_to(whole | {"required": []}), "bb")
    assert not holds(form_to(whole | {"required": []}, unknown=None), "a - b 2")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": TEXT, "c": {"const": "1"}}, "required": ["a", "c"]},
        {"type": "object", "properties": {"a": {"type": "array", "items": {"const": "1"}}}},
        {"type": "object", "properties": {"a": {"type": "object", "properties": {"a": {"const": "1"}}}}},
        {"type": "object", "properties": {"c": {"const": "1"}}},
        {"type": "array", "items": {"const": "1"}},
        {"type": "string", "pattern": "^1$"},
        {"anyOf": [{"type": "object", "properties": {"a": {"const": "1"}}}]},
        {"enum": [1, None]},
    ],
)
def test_other_schemas_are_answered_in_json(schema):
    assert rendering(schema) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"type": "boolean"}, "#/properties/b: this model writes '-|-?[0-2]{1,2}([.][12])?' for it, and no such text"),
        ({"enum": ["a", "b"]}, "no such text is valid under its schema"),
        ({"type": "string", "not": {}}, "#/properties/b: not is not supported"),
    ],
)
def test_values_that_no_sentence_has_are_told(value, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        form_to({"type": "object", "properties": {"b": value}, "required": ["b"]})


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        (["{a:int} a"], "begins with a value, expected some text before it"),
        (["a {a:int}{b:int}"], "'b' stands right behind 'a', expected text between them"),
        (["a {a:int} b {a:int}"], "has two values of one name"),
        (["a {a:int}", "a b"], "more than one begins with 'a '"),
        (["a", "a"], "more than one begins with 'a'"),
        (["a {x"], "has no end"),
    ],
)
def test_sentences_that_cannot_be_told_apart(templates, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        sentences_of(templates)


def test_the_reader_says_the_same_in_text_template_and_schema(slate):
    model = load(slate, threads=1)
    own = model.manifest.text.sentences
    schema = {"type": "object", "properties": dict.fromkeys(FIELDS, TEXT), "required": list(FIELDS)}
    through, template = model.shape(schema=schema), model.shape(template=own[0])
    nullable = {key: {"anyOf": [TEXT, NONE]} for key in FIELDS}
    nulls = model.shape(schema=schema | {"properties": nullable})
    forwards = {"text": 0, "schema": 0}
    for frame in sorted((EXAMPLES / "slate" / "frames").glob("*.png")):
        free, made = model.generate(images=[frame]), model.generate(images=[frame], form=through)
        said = json.loads(made.text)
        jsonschema.validate(said, schema)
        if made.written == own[1]:
            assert set(said.values()) == {"-"} and free.text == own[1]
            continue
        assert made.tokens == model.generate(images=[frame], form=template).tokens and said == values(made.written)
        missing = {name: None if value == "-" else value for name, value in said.items()}
        assert json.loads(model.generate(images=[frame], form=nulls).text) == missing
        forwards["text"] += free.forwards
        forwards["schema"] += made.forwards
    assert 0 < forwards["schema"] <= forwards["text"]


def test_an_object_is_whole_or_not_there(slate):
    model = load(slate, threads=1)
    frame = EXAMPLES / "slate" / "frames" / "easy-01.png"
    form = model.shape(schema={"type": "object", "properties": {"take": WHOLE}, "required": ["take"]})
    stream = model.stream(images=[frame], form=form)
    seen = {stream.text for step in stream if not step.ended}
    assert seen == {""} and set(json.loads(stream.result.text)) == {"take"}
    cut = model.stream(images=[frame], form=form)
    next(cut)
    cut.cancel()
    assert cut.run().text == "" and cut.result.written == model.text(cut.tokens)


def test_a_bundle_without_sentences_answers_in_json(slate):
    model = load(slate, threads=1)
    words = model.manifest.words
    model.manifest = replace(model.manifest, words=replace(words, text=replace(words.text, sentences=())))
    assert model.shape(schema={"type": "object", "properties": {"take": WHOLE}}).rendering is None
