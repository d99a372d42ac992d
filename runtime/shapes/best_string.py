"""The most probable string of an automaton over a row of distributions, by dynamic programming on its states.

DINGO (Suresh et al. 2025, 2505.23061). For each row and each set of tokens that leads from one state to another, only
the most probable token of the set can be part of the best string; so a row is asked of as many tokens as it has sets.
Rows that hold a token are passed by it alone. Knows no blocks, and not how probabilities are computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from .automaton import Automaton

__all__ = ["Ways", "advanced", "best_string", "forced", "ways"]

Ways: TypeAlias = "list[dict[tuple[int, int], int]]"
"""For each row, the moves (state, following state) that are part of a whole string, with the number of their set."""


def advanced(automaton: Automaton, states: frozenset[int], token: int) -> frozenset[int]:
    """States behind `token`."""
    moves = (move for state in states for move in automaton.moves[state])
    return frozenset(target for target, number in moves if automaton.holds(number, token))


def ways(automaton: Automaton, states: frozenset[int], held: Sequence[int | None], rows: int) -> Ways:
    """The moves that strings from `states` on can make, whose text ends within `rows` rows.

    `held` are the tokens of the rows that are known; the text may be longer than these rows, but not than `rows`.
    """
    found: Ways = []
    front = states
    for row, token in enumerate(held):
        within = max(rows - row - 1, 0)
        found.append({
            (state, target): number
            for state in front
            for target, number in automaton.moves[state]
            if automaton.left[target] <= within and (token is None or automaton.holds(number, token))
        })  # fmt: skip
        front = frozenset(target for _, target in found[-1])
    for row in range(len(found) - 1, 0, -1):  # moves that lead into a dead end are none
        goes_on = {state for state, _ in found[row]}
        found[row - 1] = {move: number for move, number in found[row - 1].items() if move[1] in goes_on}
    return found


def forced(automaton: Automaton, moves: Mapping[tuple[int, int], int]) -> int | None:
    """The token of a row that can hold no other; None where there are several."""
    numbers = set(moves.values())
    if any(automaton.only[number] < 0 for number in numbers):
        return None
    tokens = {int(automaton.only[number]) for number in numbers}
    return tokens.pop() if len(tokens) == 1 else None


def best_string(
    possible: Ways, tokens: Sequence[Mapping[int, int]], weights: Sequence[Mapping[int, float]]
) -> list[int | None]:
    """The set's token for each row of the best string: `tokens` and log probabilities `weights` by row and set.

    A row without weights counts nothing, and None stands for its token.
    """
    best: dict[int, float] = {state: 0.0 for state, _ in possible[0]}
    came: list[dict[int, tuple[int, int]]] = []
    for row, moves in enumerate(possible):
        following: dict[int, float] = {}
        origin: dict[int, tuple[int, int]] = {}
        for (state, target), number in moves.items():
            value = best[state] + weights[row].get(number, 0.0)
            if value > following.get(target, -np.inf):
                following[target], origin[target] = value, (state, number)
        came.append(origin)
        best = following
    state = max(best, key=best.__getitem__)
    chosen: list[int | None] = []
    for row in range(len(possible) - 1, -1, -1):
        state, number = came[row][state]
        chosen.append(tokens[row].get(number))
    return chosen[::-1]
