"""A language as an automaton over token ids: states, and for each the sets of tokens that lead on.

Fixed text is one chain of tokens, as the tokenizer writes it; a pattern may be any tokens whose bytes it matches, by
outlines-core's index of its regular expression. So an automaton may go on in several ways with one token: it is not
deterministic. States from which no end can be reached are left out. Knows no model, and not how probable a token is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError
from .language import Chain, Common, Either, Language, Literal, Pattern, Repeat

__all__ = ["Automaton", "Vocabulary", "compiled"]

Index: TypeAlias = "tuple[int, set[int], dict[int, dict[int, NDArray[np.int64]]]]"
"""First state, last states, and moves: from each state the tokens that lead to another."""

END = b"\0"
"""Mark behind a pattern's texts, which no text holds."""

MOST_STATES = 100_000
"""States of an automaton at most: a schema may ask for a million items."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that answers are made of."""

    tokens: Sequence[bytes]
    """Bytes that each token stands for, by its id; empty for those that stand for none."""
    encode: Callable[[str], NDArray[np.int64]]
    stop: int
    """Token that ends an answer."""
    barred: frozenset[int]
    """Tokens that no answer may hold."""

    @property
    def width(self) -> int:
        """Bytes of a set of tokens."""
        return -(-len(self.tokens) // 8)


@dataclass(frozen=True)
class Automaton:
    """States from 0; `moves[s]` are pairs of a following state and the number of the set of tokens that leads there."""

    starts: frozenset[int]
    moves: Sequence[Sequence[tuple[int, int]]]
    sets: NDArray[np.uint8]
    """`[M, W]`, a bit a token."""
    only: NDArray[np.int64]
    """`[M]`; the token of a set of one, -1 for larger ones."""
    left: NDArray[np.int64]
    """Tokens up to the end of the shortest text, from each state; the stop token is none of the text."""

    def holds(self, number: int, token: int) -> bool:
        """The set holds the token."""
        return bool(self.sets[number, token // 8] >> (token % 8) & 1)


@dataclass
class _Net:
    """An automaton while it is put together."""

    vocabulary: Vocabulary
    edges: list[dict[int, list[NDArray[np.int64]]]] = field(default_factory=list)
    silent: list[list[int]] = field(default_factory=list)
    """States that are entered without a token."""
    indices: dict[tuple[str, ...], Index] = field(default_factory=dict)

    def state(self) -> int:
        """A new state."""
        if len(self.edges) == MOST_STATES:
            raise RequestError(f"the shape has more than {MOST_STATES} states; ask for shorter values or fewer items")
        self.edges.append({})
        self.silent.append([])
        return len(self.edges) - 1

    def add(self, language: Language, start: int) -> int:
        """Put a language behind state `start`; returns the state behind it."""
        return ADDED[type(language)](self, language, start)

    def literal(self, language: Literal, start: int) -> int:
        """See `add`."""
        for token in _spelled(language.text, self.vocabulary):
            following = self.state()
            self.edges[start].setdefault(following, []).append(np.array([token]))
            start = following
        return start

    def pattern(self, language: Pattern, start: int) -> int:
        """See `add`."""
        return self._matched((language.regex,), start)

    def common(self, language: Common, start: int) -> int:
        """See `add`."""
        return self._matched(language.regexes, start)

    def _matched(self, regexes: tuple[str, ...], start: int) -> int:
        """Put the texts that all of these match behind state `start`."""
        first, ends, moves = self._index(regexes)
        states = {name: self.state() for name in {first, *ends, *moves}}
        for name, following in moves.items():
            for target, tokens in following.items():
                self.edges[states[name]].setdefault(states[target], []).append(tokens)
        self.silent[start].append(states[first])
        end = self.state()
        for name in ends:
            self.silent[states[name]].append(end)
        return end

    def _index(self, regexes: tuple[str, ...]) -> Index:
        if regexes not in self.indices:
            *before, last = regexes
            index = _indexed(last, self.vocabulary)
            self.indices[regexes] = _both(self._index(tuple(before)), index) if before else index
        return self.indices[regexes]

    def chain(self, language: Chain, start: int) -> int:
        """See `add`."""
        for part in language.parts:
            start = self.add(part, start)
        return start

    def either(self, language: Either, start: int) -> int:
        """See `add`."""
        end = self.state()
        for part in language.parts:
            opened = self.state()
            self.silent[start].append(opened)
            self.silent[self.add(part, opened)].append(end)
        return end

    def repeat(self, language: Repeat, start: int) -> int:
        """See `add`."""
        for _ in range(language.least):
            start = self.add(language.part, start)
        end = self.state()
        if language.most is None:
            loop = self.state()
            self.silent[start].append(loop)
            self.silent[self.add(language.part, loop)].append(loop)
            self.silent[loop].append(end)
            return end
        for _ in range(language.most - language.least):
            self.silent[start].append(end)
            start = self.add(language.part, start)
        self.silent[start].append(end)
        return end


ADDED: dict[type[Any], Callable[[_Net, Any, int], int]] = {
    Literal: _Net.literal,
    Pattern: _Net.pattern,
    Common: _Net.common,
    Chain: _Net.chain,
    Either: _Net.either,
    Repeat: _Net.repeat,
}
"""Kind of language to what puts it into an automaton."""


def compiled(language: Language, vocabulary: Vocabulary) -> Automaton:
    """The automaton of a language. Raises RequestError where no string of tokens is in it."""
    net = _Net(vocabulary)
    start = net.state()
    end = net.add(language, start)
    done = net.state()
    net.edges[end][done] = net.edges[done][done] = [np.array([vocabulary.stop])]
    closures = _closures(net.silent)
    moves = [_joined(net.edges[inner] for inner in closure) for closure in closures]
    left = _left(moves, [end in closure or number == done for number, closure in enumerate(closures)])
    if left[start] < 0:
        raise RequestError("no string of this model's tokens has that shape: its vocabulary cannot write it")
    return _packed(moves, left, start, vocabulary)


def _packed(
    moves: Sequence[Mapping[int, NDArray[np.int64]]],
    left: NDArray[np.int64],
    start: int,
    vocabulary: Vocabulary,
) -> Automaton:
    numbers: dict[bytes, int] = {}
    sets: list[NDArray[np.int64]] = []
    packed: list[list[tuple[int, int]]] = []
    for following in moves:
        packed.append([])
        for target, tokens in following.items():
            if left[target] < 0 or not len(tokens):
                continue
            key = tokens.tobytes()
            if key not in numbers:
                numbers[key] = len(sets)
                sets.append(tokens)
            packed[-1].append((target, numbers[key]))
    bits = np.zeros((len(sets), 8 * vocabulary.width), np.bool_)
    for number, tokens in enumerate(sets):
        bits[number, tokens] = True
    only = np.array([tokens[0] if len(tokens) == 1 else -1 for tokens in sets], np.int64)
    return Automaton(frozenset([start]), packed, np.packbits(bits, axis=1, bitorder="little"), only, left)


def _closures(silent: Sequence[Sequence[int]]) -> list[list[int]]:
    """For each state, all that are reached without a token, itself among them."""
    made = []
    for state in range(len(silent)):
        closure, stack = {state}, [state]
        while stack:
            new = [following for following in silent[stack.pop()] if following not in closure]
            closure |= set(new)
            stack += new
        made.append(sorted(closure))
    return made


def _joined(edges: Any) -> dict[int, NDArray[np.int64]]:
    """Edges of several states as those of one."""
    gathered: dict[int, list[NDArray[np.int64]]] = {}
    for following in edges:
        for target, tokens in following.items():
            gathered.setdefault(target, []).extend(tokens)
    return {
        target: tokens[0] if len(tokens) == 1 else np.unique(np.concatenate(tokens))
        for target, tokens in gathered.items()
    }


def _left(moves: Sequence[Mapping[int, NDArray[np.int64]]], ends: Sequence[bool]) -> NDArray[np.int64]:
    """Fewest tokens from each state to an end; -1 where there is no way."""
    before: list[list[int]] = [[] for _ in moves]
    for state, following in enumerate(moves):
        for target, tokens in following.items():
            if len(tokens):
                before[target].append(state)
    left = np.full(len(moves), -1, np.int64)
    front = [state for state, is_end in enumerate(ends) if is_end]
    left[front] = 0
    while front:
        found = {state for target in front for state in before[target] if left[state] < 0}
        left[list(found)] = left[front[0]] + 1
        front = list(found)
    return left


def _spelled(text: str, vocabulary: Vocabulary) -> list[int]:
    """Tokens of a fixed text: the tokenizer's own, or the longest that fit where those do not spell it."""
    own = [int(token) for token in vocabulary.encode(text)] if text else []
    wanted = text.encode()
    if b"".join(vocabulary.tokens[token] for token in own) == wanted and not vocabulary.barred & set(own):
        return own
    return _longest(wanted, vocabulary, text)


def _longest(wanted: bytes, vocabulary: Vocabulary, text: str) -> list[int]:
    ids = {
        spelled: number
        for number, spelled in enumerate(vocabulary.tokens)
        if spelled and number not in vocabulary.barred
    }
    made, at = [], 0
    while at < len(wanted):
        end = next((end for end in range(len(wanted), at, -1) if wanted[at:end] in ids), None)
        if end is None:
            raise RequestError(f"no string of this model's tokens spells {text!r}: {wanted[at : at + 4]!r} is in none")
        made.append(ids[wanted[at:end]])
        at = end
    return made


def _indexed(regex: str, vocabulary: Vocabulary) -> Index:
    """The index of outlines-core. Raises RequestError for what it does not take."""
    try:
        import outlines_core  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise RequestError('values held to a pattern need outlines-core: pip install "a2d-runtime[shapes]"') from error

    spelled: dict[bytes, list[int]] = {}
    for number, token in enumerate(vocabulary.tokens):
        if token and END not in token and number not in vocabulary.barred and number != vocabulary.stop:
            spelled.setdefault(token, []).append(number)
    # Its index has no move from the end of a text to a state that is none (0.2.14: `ab(cd)?` loses `abcd`). Behind
    # every text stands a mark, so that no text ends before it: where the mark may stand, a text may end.
    mark = len(vocabulary.tokens)
    spelled[END] = [mark]
    try:
        index = outlines_core.Index(f"(?:{regex})\\x00", outlines_core.Vocabulary(vocabulary.stop, spelled))
    except Exception as error:  # its errors share no base class
        if "incompatible with the regex" in str(error):
            raise RequestError(
                f"no string of this model's tokens can be written under the pattern {regex!r}"
            ) from error
        raise RequestError(f"the pattern {regex!r} is not taken: {error}") from error
    every = index.get_transitions()
    ends = {state for state, following in every.items() if following.get(mark) in index.get_final_states()}
    none = (vocabulary.stop, mark)
    return index.get_initial_state(), ends, {state: _by_target(following, none) for state, following in every.items()}


def _both(one: Index, other: Index) -> Index:
    """The index of the texts of both: its states are pairs, and a token leads on where it does in either."""
    start = (one[0], other[0])
    numbers, found = {start: 0}, [start]
    moves: dict[int, dict[int, NDArray[np.int64]]] = {}
    for number, (left, right) in enumerate(found):  # which grows meanwhile
        moves[number] = {}
        for target, tokens in one[2].get(left, {}).items():
            for beside, others in other[2].get(right, {}).items():
                if len(common := np.intersect1d(tokens, others, assume_unique=True)):
                    pair = (target, beside)
                    if pair not in numbers:
                        numbers[pair] = len(found)
                        found.append(pair)
                    moves[number][numbers[pair]] = common
    ends = {number for (left, right), number in numbers.items() if left in one[1] and right in other[1]}
    return 0, ends, moves


def _by_target(following: Mapping[int, int], none: tuple[int, ...]) -> dict[int, NDArray[np.int64]]:
    """Tokens by the state that they lead to, but for those in `none`."""
    tokens = np.fromiter(following.keys(), np.int64, len(following))
    targets = np.fromiter(following.values(), np.int64, len(following))
    real = ~np.isin(tokens, none)
    return {int(target): np.sort(tokens[(targets == target) & real]) for target in np.unique(targets[real])}
