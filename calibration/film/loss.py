"""Error of quantized graphs in one forward: each step of a shot's first block from the same noise, and its commit.

Over a whole clip small errors grow into another picture, so a clip says nothing about a precision; one forward does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.film.contract import FilmContract
from ...runtime.film.film import Film
from ...runtime.film.loop import Step
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


Made = dict[str, list[NDArray[np.float32]]]
"""Velocities by step, and the keys and values of all layers."""


def losses(reference: Studio, other: Studio, shots: list[Shot], contract: FilmContract) -> list[Loss]:
    """Errors of the first block's forwards of each shot, by `other` against `reference`.

    Every forward gets the latents that the reference came to, so that errors of different steps do not add up.
    """
    errors: dict[str, list[float]] = {}
    for shot in shots:
        options = sized(contract, shot.seed)
        forwards, made = _decoded(reference.film(shot.prompt, options=options))
        again = _repeated(other.film(shot.prompt, options=options), forwards)
        for kind, found in made.items():
            errors.setdefault(kind, []).extend(_error(a, b) for a, b in zip(found, again[kind], strict=True))
    return [Loss(kind, max(found), float(np.mean(found))) for kind, found in errors.items()]


def _decoded(film: Film) -> tuple[list[Part], Made]:
    """Every forward of a film's first block, the clean one last, and what came of them."""
    (first, *_), script = film.clip.blocks, film.script
    latents, velocities = [script.noise.start(first)], []

    def taken(step: Step) -> None:
        latents.append(step.latents)
        velocities.append(step.velocity)

    film.on_step = taken
    next(film)
    timesteps = [*script.steps(first).timesteps, script.commit_timestep]
    forwards = [Part(first, x, t) for x, t in zip(latents, timesteps, strict=True)]
    return forwards, {"velocity": velocities, **_committed(film, forwards[-1])}


def _repeated(film: Film, forwards: list[Part]) -> Made:
    """Outputs of the same forwards by another film's network."""
    *noisy, clean = forwards
    return {"velocity": [film.network.velocity(part) for part in noisy], **_committed(film, clean)}


def _committed(film: Film, clean: Part) -> Made:
    """Keys and values of a clean block, by layer."""
    network = film.network
    assert isinstance(network, FrameNetwork), "a job refuses other networks"
    network.commit(clean)
    held = network.kept().held
    assert held is not None, "a commit holds its block"
    new = {name: np.asarray(buffer.numpy(), np.float32) for name, buffer in held.new.items()}
    keys, values = ([v for name, v in new.items() if kind in name] for kind in ("key", "value"))
    return {"keys": keys, "values": values}


def _error(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Root mean square of the difference as a share of the reference's."""
    scale = float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(a - b, dtype=np.float64)))) / max(scale, 1e-30)
