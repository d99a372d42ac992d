"""Records from untrusted JSON: what is accepted, how each violation reads, and that all are listed together."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2d.runtime.schema import SHOWN, Violations, bounds, check, from_json, parse, to_json


@dataclass(frozen=True)
class Inner:
    size: int = field(metadata=bounds(1, 9))
    share: float | None = field(default=None, metadata=bounds(0, 1))


@dataclass(frozen=True)
class Outer:
    name: str
    ready: bool
    inner: Inner
    numbers: tuple[int, ...] = field(default=(), metadata=bounds(-5, 5))
    inners: dict[str, Inner] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    free: float = 0.0
    count: int | None = None

    def __post_init__(self) -> None:
        if self.name == "odd":
            raise ValueError("name: got 'odd', expected an even one")
        if self.name == "worse":
            raise Violations(["name: is worse", "ready: so is this"])


GOOD = {"name": "a", "ready": True, "inner": {"size": 3}}

inner = st.builds(Inner, st.integers(1, 9), st.none() | st.floats(0, 1))
outer = st.builds(
    Outer,
    st.text().filter(lambda name: name not in ("odd", "worse")),
    st.booleans(),
    inner,
    st.lists(st.integers(-5, 5)).map(tuple),
    st.dictionaries(st.text(), inner),
    st.lists(st.text()).map(tuple),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.integers(),
)


@given(outer)
def test_records_survive_json(made):
    assert from_json(Outer, parse(json.dumps(to_json(made)))) == made
    check(made)


def test_defaults_may_be_left_out_and_whole_numbers_are_numbers():
    made = from_json(Outer, GOOD | {"free": 3})
    assert made == Outer("a", True, Inner(3), free=3.0)
    assert isinstance(made.free, float)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"name": 3}, "name: got 3, expected a text"),
        ({"name": None}, "name: got None, expected a text"),
        ({"name": "\ud800"}, "name: got '\\ud800', expected valid Unicode"),
        ({"texts": ["a", "\udfff"]}, "texts[1]: got '\\udfff', expected valid Unicode"),
        ({"inners": {"\udc80": {"size": 1}}}, "inners: got '\\udc80', expected valid Unicode"),
        ({"ready": 1}, "ready: got 1, expected true or false"),
        ({"ready": "yes"}, "ready: got 'yes', expected true or false"),
        ({"inner": [3]}, "inner: got [3], expected an object (Inner)"),
        ({"inner": {}}, "inner.size: missing"),
        ({"inner": {"size": 3, "more": 1}}, "inner: unknown key 'more'"),
        ({"inner": {"size": 10}}, "inner.size: got 10, expected 1 to 9"),
        ({"inner": {"size": 0}}, "inner.size: got 0, expected 1 to 9"),
        ({"inner": {"size": 3.0}}, "inner.size: got 3.0, expected a whole number"),
        ({"inner": {"size": True}}, "inner.size: got True, expected a whole number"),
        ({"inner": {"size": "3"}}, "inner.size: got '3', expected a whole number"),
        ({"inner": {"size": 3, "share": 1.5}}, "inner.share: got 1.5, expected 0 to 1"),
        ({"inner": {"size": 3, "share": "all"}}, "inner.share: got 'all', expected a number"),
        ({"numbers": [1, 6]}, "numbers[1]: got 6, expected -5 to 5"),
        ({"numbers": [1, None]}, "numbers[1]: got None, expected a whole number"),
        ({"numbers": 1}, "numbers: got 1, expected a list"),
        ({"numbers": {"0": 1}}, "numbers: got {'0': 1}, expected a list"),
        ({"inners": []}, "inners: got [], expected an object"),
        ({"inners": {"k": {"size": 12}}}, "inners['k'].size: got 12, expected 1 to 9"),
        ({"inners": {"k": {"size": 1, "\x1b[2J": 1}}}, "inners['k']: unknown key '\\x1b[2J'"),
        ({"count": 1.5}, "count: got 1.5, expected a whole number"),
        ({"free": float("inf")}, "free: got inf, expected a number"),
        ({"free": float("nan")}, "free: got nan, expected a number"),
        ({"name": "odd"}, "the whole: name: got 'odd', expected an even one"),
    ],
)
def test_each_violation_has_its_line(change, line):
    with pytest.raises(Violations) as caught:
        from_json(Outer, GOOD | change)
    assert caught.value.lines == [line]


def test_numbers_beyond_every_float_are_refused():
    for change in ({"free": 10**400}, {"inner": {"size": -(10**400)}}, {"numbers": [10**400]}):
        with pytest.raises(Violations, match="expected a"):
            from_json(Outer, GOOD | change)


@pytest.mark.parametrize("data", [None, 3, "text", [], [GOOD], True])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(Violations, match="the whole: got .* expected an object"):
        from_json(Outer, data)


def test_violations_are_listed_together_and_those_of_a_class_too():
    with pytest.raises(Violations) as caught:
        from_json(Outer, {"name": 3, "inner": {"size": 0, "x": 1}, "y": 2})
    assert [line.split(":")[0] for line in caught.value.lines] == ["the whole", "name", "ready", "inner", "inner.size"]
    with pytest.raises(Violations) as caught:
        from_json(Outer, GOOD | {"name": "worse"})
    assert caught.value.lines == ["name: is worse", "ready: so is this"]


def test_messages_stay_short_whatever_comes():
    error = Violations(["x" * 10**6] * (SHOWN + 5))
    assert len(str(error)) < 20_000
    assert str(error).endswith("  ... and 5 more")
    with pytest.raises(Violations) as caught:
        from_json(Outer, GOOD | {"k" * 10**6: 1, "numbers": ["v" * 10**6] * 1000, "ready": [[[[[]] * 999]]]})
    assert len(str(caught.value)) < 5_000


def test_a_record_made_by_hand_is_held_against_the_same_bounds():
    check(Outer("a", True, Inner(3)))
    with pytest.raises(Violations, match=r"inner\.size: got 0, expected 1 to 9"):
        check(Outer("a", True, Inner(0)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "key 'a' stands 2 times"),
        ('{"x": [{"a": 1, "a": 1, "a": 1}]}', "key 'a' stands 3 times"),
        ('{"a": NaN}', "NaN is not a number of JSON"),
        ("[Infinity]", "Infinity is not a number of JSON"),
        ("-Infinity", "-Infinity is not a number of JSON"),
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("{} {}", "it is not JSON"),
        ("\ufeff{}", "it is not JSON"),
        ("{'a': 1}", "it is not JSON"),
        ("1" * 5000, "it is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_json_without_its_loopholes(text, message):
    with pytest.raises(Violations, match=message):
        parse(text)


def test_many_keys_twice_are_found_in_linear_time():
    pairs = ",".join(f'"{i}":0' for i in range(100_000))
    with pytest.raises(Violations, match="and 99980 more"):  # quadratic, this would take longer than the timeout
        parse(f"{{{pairs},{pairs}}}")
