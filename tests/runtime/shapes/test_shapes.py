"""Answers of a given shape: whatever the weights, they are in the language, and no string of it is more probable."""

from __future__ import annotations

import itertools
import json
import os
import re

import jsonschema
import numpy as np
import pytest
from counts import examples
from hypothesis import assume, given, seed, settings
from hypothesis import strategies as st
from spelled import NUMBERS, VOCABULARY, decodes, text_of
from toy import STOP, Toy, V, contract, prompt

from a2d.engines.errors import RequestError
from a2d.runtime.decode.options import Options
from a2d.runtime.shapes.automaton import Vocabulary, compiled
from a2d.runtime.shapes.best_string import advanced, best_string, forced, ways
from a2d.runtime.shapes.json_pattern import integers, json_pattern
from a2d.runtime.shapes.json_schema import json_schema
from a2d.runtime.shapes.language import Chain, Either, Literal, Pattern, Repeat
from a2d.runtime.shapes.make import language_of, shaped
from a2d.runtime.shapes.template import template

pytest.importorskip("outlines_core", reason='the extra "shapes"')

ANSWERS = int(os.environ.get("A2D_ANSWERS", "0"))
"""Answers to schemas, by `make test-shapes`."""

SEEDED = seed(int(os.environ["A2D_SEED"])) if "A2D_SEED" in os.environ else lambda test: test
"""Other random schemas for each number; without one, a run makes the same as the run before."""

LEAVES = st.sampled_from([
    Literal("ab"), Literal("a"), Literal(""), Literal("12, "), Pattern("[12]+"), Pattern("[abc]*"), Pattern("a(b|c1)?"),
    Pattern("[ab]{1,3}"), Pattern("0|-?[12][0-2]*"), Pattern("a(bc)?"), Pattern("ab|abc1"), Pattern("[12](0[ab])?"),
])  # fmt: skip
LANGUAGES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Chain(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Either(tuple(parts))),
        st.tuples(inner, st.integers(0, 2), st.none() | st.integers(0, 2)).map(
            lambda made: Repeat(made[0], made[1], None if made[2] is None else made[1] + made[2])
        ),
    ),
    max_leaves=5,
)


def regex_of(language) -> str:
    """The slow, obvious form of a language."""
    if isinstance(language, Literal):
        return re.escape(language.text)
    if isinstance(language, Pattern):
        return f"({language.regex})"
    if isinstance(language, Chain):
        return "".join(map(regex_of, language.parts))
    if isinstance(language, Either):
        return f"({'|'.join(map(regex_of, language.parts))})"
    most = "" if language.most is None else language.most
    return f"({regex_of(language.part)}){{{language.least},{most}}}"


@settings(max_examples=examples(100), deadline=None)
@given(LANGUAGES, decodes())
def test_answers_are_in_the_language_merged_and_separate(language, decode):
    c, chosen, tokens, toy = decode
    form = shaped(language, VOCABULARY)
    assume(int(form.automaton.left[0]) <= chosen["max_tokens"])
    made = [
        toy.session(c).generate(prompt(tokens), Options(**chosen, commit=commit), form).tokens
        for commit in ("merged", "separate")
    ]
    assert made[0] == made[1]
    assert re.fullmatch(regex_of(language), text_of(made[0]))


@settings(max_examples=examples(60), deadline=None)
@given(LANGUAGES, st.integers(1, 4), st.integers(0, 3), st.integers(0, 10**6))
def test_no_string_is_more_probable_than_the_best(language, rows, later, seed):
    automaton = compiled(language, VOCABULARY)
    assume(int(automaton.left[0]) <= rows + later)
    logs = np.log(np.random.default_rng(seed).dirichlet(np.ones(V), rows))
    possible = ways(automaton, automaton.starts, [None] * rows, rows + later)
    sets = [sorted(set(moves.values())) for moves in possible]
    members = [{n: [t for t in range(V) if automaton.holds(n, t)] for n in row} for row in sets]
    best = [{n: max(tokens, key=lambda t: logs[i, t]) for n, tokens in row.items()} for i, row in enumerate(members)]
    weights = [{n: float(logs[i, t]) for n, t in row.items()} for i, row in enumerate(best)]
    string = best_string(possible, best, weights)
    assert None not in string
    value = sum(logs[i, token] for i, token in enumerate(string))
    assert value == pytest.approx(max(_values(automaton, logs, rows, rows + later)))


def _values(automaton, logs, rows, within):
    """The log probability of every string of `rows` tokens that can be gone on with to an end within so many rows."""
    fronts = [(automaton.starts, 0.0)]
    for row in range(rows):
        following = []
        for states, value in fronts:
            tokens = {t for s in states for _, n in automaton.moves[s] for t in range(V) if automaton.holds(n, t)}
            following += [(advanced(automaton, states, token), value + logs[row, token]) for token in tokens]
        room = max(within - row - 1, 0)
        fronts = [one for one in following if min(automaton.left[s] for s in one[0]) <= room]
        fronts = sorted(fronts, key=lambda one: -one[1])[:4000]
    return [value for _, value in fronts]


@pytest.mark.parametrize(
    "pattern", ["a(bc)?", "ab|abc1", "[12](0[ab])?", "-?(0|[1-9][0-2]{0,2})([.][0-2]{1,2})?", "(ab)*c?", "a?b?"]
)
def test_every_string_of_a_pattern_can_be_written_and_no_other(pattern):
    automaton = compiled(Pattern(pattern), VOCABULARY)
    letters = [NUMBERS[letter] for letter in (b"a", b"b", b"c", b"0", b"1", b"2", b"-", b".", b"ab", b"12")]
    for count in range(5):
        for tokens in itertools.product(letters, repeat=count):
            states = automaton.starts
            for token in (*tokens, STOP):
                states = advanced(automaton, states, token)
            assert bool(states) == bool(re.fullmatch(pattern, text_of(tokens))), text_of(tokens)


def test_what_can_be_nothing_else_is_laid_and_not_run():
    form = shaped(template("a, b, {x:[12]}, c"), VOCABULARY)
    steps = list(Toy().session(contract(block_size=9)).stream(prompt([5]), Options(max_tokens=18, steps=9), form))
    laid = steps[0]
    assert [bool(m) for m in laid.masked] == [False] * 9 and len(laid.accepted) == 1  # one value, and all else is laid
    free = Toy().session(contract(block_size=9)).generate(prompt([5]), Options(max_tokens=9, steps=9))
    assert sum(not step.final or len(step.accepted) > 0 for step in steps) < free.steps


def test_a_set_of_one_token_is_forced_and_others_are_not():
    automaton = compiled(Chain((Literal("a"), Pattern("[12]"))), VOCABULARY)
    possible = ways(automaton, automaton.starts, [None, None], 2)
    assert forced(automaton, possible[0]) == NUMBERS[b"a"]
    assert forced(automaton, possible[1]) is None


SCHEMAS = st.deferred(
    lambda: st.one_of(
        st.sampled_from([
            {"type": "boolean"}, {"type": "null"}, {"enum": ["a", "ab", 1, None, True]}, {"const": "12"},
            {"type": "integer", "minimum": -2, "maximum": 21}, {"type": "integer", "exclusiveMinimum": 0},
            {"type": "string", "minLength": 1, "maxLength": 3}, {"type": "string", "pattern": "^[ab]+$"},
            {"type": "string", "pattern": "b1?"}, {"type": ["string", "null"]}, {"type": "number"}, {},
            {"$ref": "#/$defs/one"},
        ]),
        st.tuples(SCHEMAS, st.integers(0, 2), st.integers(0, 1)).map(
            lambda made: {"type": "array", "items": made[0], "minItems": made[1], "maxItems": made[1] + made[2]}
        ),
        st.lists(SCHEMAS, min_size=1, max_size=3).map(lambda schemas: {"anyOf": schemas}),
        st.tuples(st.dictionaries(st.sampled_from("abc"), SCHEMAS, max_size=3), st.sets(st.sampled_from("abc"))).map(
            lambda made: {
                "type": "object",
                "properties": made[0],
                "required": sorted(made[1] & set(made[0])),
                "additionalProperties": False,
            }
        ),
    )
)  # fmt: skip


@SEEDED
@settings(max_examples=ANSWERS or examples(80), deadline=None)
@given(SCHEMAS, decodes())
def test_answers_to_a_schema_parse_and_validate(schema, decode):
    c, chosen, tokens, toy = decode
    whole = {"$defs": {"one": {"type": "string", "enum": ["a", "b"]}}, **schema}
    form = shaped(json_schema(whole), VOCABULARY)
    least = int(form.automaton.left[0])
    chosen["max_tokens"] = least + chosen["max_tokens"] - 1
    result = toy.session(c).generate(prompt(tokens), Options(**chosen), form)
    jsonschema.validate(json.loads(text_of(result.tokens)), whole)


@pytest.mark.parametrize("values", [True, {"type": "integer", "minimum": 0}, {"enum": ["a", None]}])
@settings(max_examples=10)
@given(decode=decodes())
def test_an_object_without_declared_properties_holds_any_names(values, decode):
    c, chosen, tokens, toy = decode
    schema = {"type": "object", "additionalProperties": values}
    form = shaped(json_schema(schema), VOCABULARY)
    result = toy.session(c).generate(prompt(tokens), Options(**(chosen | {"max_tokens": 30})), form)
    jsonschema.validate(json.loads(text_of(result.tokens)), schema)


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6), st.integers(-(10**7), 10**7))
def test_integers_of_a_range(least, width, other):
    regex = f"({integers(least, least + width)})"
    for number in (least, least + width, least - 1, least + width + 1, least + width // 2, other):
        assert bool(re.fullmatch(regex, str(number))) == (least <= number <= least + width)


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("^[0-9]{2}$", ["12"], ["1", "123"]),
        ("b", ["abc", "b"], ["ac"]),
        ("^a|b$", ["a"], []),
        ('^"$', [r"\""], ['"']),
        ("^.$", ["x"], ['"', "xx"]),
    ],
)
def test_patterns_as_json_writes_them(pattern, inside, outside):
    if pattern == "^a|b$":
        with pytest.raises(RequestError, match="at"):
            json_pattern(pattern)
        return
    regex = json_pattern(pattern).replace("\\x{", "\\x{")
    spelled = Vocabulary(
        [bytes([b]) for b in range(128)], lambda t: np.frombuffer(t.encode(), np.uint8), 0, frozenset()
    )
    automaton = compiled(Pattern(regex), spelled)
    for text, holds in [*((t, True) for t in inside), *((t, False) for t in outside)]:
        states = automaton.starts
        for byte in text.encode():
            states = advanced(automaton, states, byte)
        assert any(automaton.left[state] == 0 for state in states) == holds, text


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "object", "patternProperties": {"a": {}}}, "#: patternProperties is not supported"),
        ({"properties": {"x": {"not": {}}}}, "#/properties/x: not is not supported"),
        ({"type": "number", "minimum": 1}, "minimum is not supported"),
        ({"type": "array", "items": {"uniqueItems": True, "if": {}}}, "#/items: if, uniqueItems are not supported"),
        ({"type": "string", "format": "email"}, "format 'email' is not supported, expected one of date"),
        ({"$ref": "#"}, "recursive"),
        ({"$ref": "#/$defs/x"}, "leads nowhere"),
        ({"$ref": "http://x/y"}, "is not supported"),
        (False, "no answer can be valid"),
        ({"enum": [1, 2], "type": "string"}, "no answer can be valid"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no answer can be valid"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "no answer can be valid"),
        ({"required": ["a"], "additionalProperties": False}, "a: required, and no additional property"),
        ({"type": "colour"}, "expected one or several of object"),
        ([1], "expected a schema"),
        ({"type": "string", "pattern": "("}, "is not a regular expression"),
        ({"type": "string", "pattern": r"(a)\1"}, "groupref, which is not supported"),
        ({"const": "zzz"}, "tokens spells"),
        ({"type": "string", "pattern": "^z+$"}, "can be written under the pattern"),
    ],
)
def test_schemas_that_cannot_be_kept_to(schema, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        shaped(json_schema(schema), VOCABULARY)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected text and values"),
        ("a {x", "opens at 2 has no end"),
        ("a {x:[0-9]{2}", "has no end"),
        ("a } b", "closes at 2 that none has opened"),
        ("{:int}", "a value without a name"),
        ("{x:itn}", "type 'itn', expected a regular expression or one of"),
    ],
)
def test_templates_that_are_wrong(text, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        template(text)


def test_a_template_with_braces_of_all_kinds():
    assert template("{{a}} {n:[0-9]{2}}") == Chain((Literal("{a} "), Pattern("[0-9]{2}")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 2}, "the shortest answer of this shape has 3 tokens, and 2 are wanted"),
        ({"temperature": 0.5}, "temperature: got 0.5, expected 0"),
        ({"replace_above": 0.9}, "settled rows of an answer of a given shape stay"),
    ],
)
def test_options_that_do_not_go_with_a_shape(options, message):
    form = shaped(language_of(template="{x:[12]}{y:[12]}{z:[12]}"), VOCABULARY)
    with pytest.raises(RequestError, match=re.escape(message)):
        Toy().session(contract()).generate(prompt([5]), Options(**options), form)


def test_one_of_the_three():
    for asked in ({}, {"template": "a", "choices": ["b"]}):
        with pytest.raises(RequestError, match="expected one of the settings template, choices, schema"):
            language_of(**asked)
    with pytest.raises(RequestError, match="none of them empty"):
        language_of(choices=["a", ""])
