"""Update rules: the constants against the published algorithms, run with numbers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from film_contracts import SIGMAS

from a2d.runtime.film.contract import StepList
from a2d.runtime.film.solvers import RULES, step_list


def applied(made: StepList, x: np.ndarray, velocities: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """x after each step."""
    seen = []
    for s in range(len(made)):
        x = made.keep[s] * x + sum(c * velocities[k] for k, c in enumerate(made.velocity[s])) + made.noise[s] * noise[s]
        seen.append(x)
    return np.stack(seen)


def drawn(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(count)
    return chance.normal(size=6), chance.normal(size=(count, 6)), chance.normal(size=(count, 6))


def of(rule: str, sigmas) -> StepList:
    return step_list(rule, [1000 * sigma for sigma in sigmas[:-1]], sigmas)


@pytest.mark.parametrize("sigmas", SIGMAS.values(), ids=SIGMAS)
def test_dmd_is_the_clean_latents_and_fresh_noise(sigmas):
    x, v, e = drawn(len(sigmas) - 1)
    wanted, made = x, []
    for s, (now, after) in enumerate(pairwise(sigmas)):
        wanted = (1 - after) * (wanted - now * v[s]) + after * e[s]
        made.append(wanted)
    np.testing.assert_allclose(applied(of("dmd", sigmas), x, v, e), made, rtol=1e-14)


@pytest.mark.parametrize("sigmas", SIGMAS.values(), ids=SIGMAS)
def test_euler_moves_along_the_velocity(sigmas):
    x, v, e = drawn(len(sigmas) - 1)
    wanted = x + np.cumsum(np.diff(sigmas)[:, None] * v, axis=0)
    np.testing.assert_allclose(applied(of("euler", sigmas), x, v, e), wanted, rtol=1e-14)


UNIPC = {
    "four": (
        (0.9998, 0.937265, 0.833055, 0.624687, 0.0),
        [
            [-0.062534], [-0.026651, -0.140094], [-0.027461, 0.004177, -0.351828],
            [-0.027461, 0.004177, -0.351828, -0.624687],
        ],
    ),
    "five": (
        (0.9997998476028442, 0.9521540403366089, 0.8820932507514954, 0.7689347267150879, 0.5552467703819275, 0.0),
        [
            [-0.04764580567805865],
            [-0.02042513936127557, -0.0972814642699904],
            [-0.023149255410186285, -0.016273557100565765, -0.19144231286711172],
            [-0.024619570621028243, -0.026847333690166612, -0.015039431284181129, -0.37804674292036466],
            [
                -0.024619570621028243, -0.026847333690166612, -0.015039431284181129, -0.37804674292036466,
                -0.5552467703819275,
            ],
        ],
    ),
}  # fmt: skip
"""Noise levels, and the coefficients of v_k in x after each step that diffusers' UniPCMultistepScheduler has there: it
is run on unit vectors. The first list is LongLive 2's, to six digits."""


@pytest.mark.parametrize(("sigmas", "rows"), UNIPC.values(), ids=UNIPC)
def test_unipc_has_the_coefficients_of_the_published_scheduler(sigmas, rows):
    count = len(sigmas) - 1
    made = applied(of("unipc", sigmas), np.zeros(count), np.eye(count), np.zeros((count, count)))
    for s, row in enumerate(rows):
        np.testing.assert_allclose(made[s, : s + 1], row, atol=2e-6 if count == 4 else 1e-7)


def test_unipc_of_one_and_two_steps_is_a_jump_to_the_end():
    x, v, e = drawn(1)
    np.testing.assert_allclose(applied(of("unipc", (0.9, 0.0)), x, v, e)[-1], x - 0.9 * v[0], rtol=1e-14)
    assert of("unipc", (0.9, 0.5, 0.0)).keep == (1.0, 1.0)


def test_noise_levels_that_a_rule_cannot_take_are_refused():
    with pytest.raises(ValueError, match="unipc takes noise levels below 1: got 1"):
        of("unipc", (1.0, 0.5, 0.0))
    with pytest.raises(ValueError, match=r"rule: got 'magic', expected one of dmd, euler, unipc"):
        of("magic", (1.0, 0.0))


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_a_meaning_and_ends_a_block(rule):
    meaning, function = RULES[rule]
    keep, velocity, noise = function((0.999, 0.7, 0.3, 0.0))
    assert meaning and noise[-1] == 0 and len(keep) == len(velocity) == len(noise) == 3
