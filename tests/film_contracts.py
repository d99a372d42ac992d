"""Contracts of imaginary checkpoints that film."""

from __future__ import annotations

from a2d.runtime.film.contract import FilmContract, LatentSpec, NetworkSpec, Schedule, StepList, TextSpec
from a2d.runtime.film.solvers import step_list

SIGMAS = {
    4: (1.0, 0.9375, 0.8333333134651184, 0.625, 0.0),
    2: (1.0, 0.8333333134651184, 0.0),
    1: (1.0, 0.0),
}
"""The published lists of Self-Forcing, by count, warped by a shift of 5."""


def steps(count: int, rule: str = "dmd") -> StepList:
    sigmas = SIGMAS[count]
    return step_list(rule, [1000 * sigma for sigma in sigmas[:-1]], sigmas)


def contract(**changes) -> FilmContract:
    """A contract of blocks of 3 in 4 steps, with what is asked changed."""
    values = {
        "latent": LatentSpec(channels=4, spatial=8, temporal=4),
        "network": NetworkSpec(layers=2, heads=2, head_dim=12, rope_axes=(4, 4, 4), freq_dim=16),
        "text": TextSpec("tokenizer.json", dim=8, length=32, eos_id=1, clean="wan"),
        "schedule": Schedule(steps(4), steps(4), {"2": steps(2), "1": steps(1)}),
        "block_frames": 3,
        "frames": 21,
        "height": 32,
        "width": 48,
        "fps": 16.0,
    }
    return FilmContract(**(values | changes))
