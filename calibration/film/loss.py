"""Error of quantized graphs in one forward: each step of a shot's first block from the same noise, and its commit.

Over a whole clip small errors grow into another picture, so a clip says nothing about a precision; one forward does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.film.contract import FilmContract
from ...runtime.film.film import Film
from ...runtime.film.network import FrameNetwork, Part
from ...runtime.film.studio import Studio
from .shots import Shot, sized

__all__ = ["Loss", "losses"]


@dataclass(frozen=True)
class Loss:
    """Errors of one kind of output."""

    kind: str
    largest: float
    """Of all forwards, as a share of the output by root mean square."""
    mean: float


@dataclass(frozen=True)
class _Forwards:
    """Inputs of every forward of a first block: its latents before each step, and clean."""

    latents: list[NDArray[np.float32]]
    timesteps: list[float]


Made = dict[str, list[NDArray[np.float32]]]
"""Velocities by step, and the keys and values of all layers."""


def losses(reference: Studio, other: Studio, shots: list[Shot], contract: FilmContract) -> list[Loss]:
    """Errors of the first block's forwards of each shot, by `other` against `reference`.

    Every forward gets the latents that the reference came to, so that errors of different steps do not add up.
    """
    errors: dict[str, list[float]] = {}
    for shot in shots:
        options = sized(contract, shot.seed)
        forwards = _decoded(reference.film(shot.prompt, options=options))
        made = _made(reference.film(shot.prompt, options=options), forwards)
        again = _made(other.film(shot.prompt, options=options), forwards)
        for kind, found in made.items():
            errors.setdefault(kind, []).extend(_error(a, b) for a, b in zip(found, again[kind], strict=True))
    return [Loss(kind, max(found), float(np.mean(found))) for kind, found in errors.items()]


def _decoded(film: Film) -> _Forwards:
    """The inputs that a decode comes to."""
    (first, *_), script = film.clip.blocks, film.script
    latents, steps = [script.noise.start(first)], script.steps(first)
    film.on_step = lambda step: latents.append(step.latents)
    next(film)
    return _Forwards(latents, [*steps.timesteps, script.commit_timestep])


def _made(film: Film, forwards: _Forwards) -> Made:
    """Outputs of the same forwards by a film's network."""
    (first, *_), network = film.clip.blocks, film.network
    assert isinstance(network, FrameNetwork), "a job refuses other networks"
    parts = [Part(first, x, t) for x, t in zip(forwards.latents, forwards.timesteps, strict=True)]
    velocities = [network.velocity(part) for part in parts[:-1]]
    network.commit(parts[-1])
    held = network.kept().held
    assert held is not None, "a commit holds its block"
    new = {name: np.asarray(buffer.numpy(), np.float32) for name, buffer in held.new.items()}
    keys, values = ([v for name, v in new.items() if kind in name] for kind in ("key", "value"))
    return {"velocity": velocities, "keys": keys, "values": values}


def _error(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Root mean square of the difference as a share of the reference's."""
    scale = float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(a - b, dtype=np.float64)))) / max(scale, 1e-30)
