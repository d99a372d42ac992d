"""Calibration of causal networks: a stratum for each timestep and one for clean commits; losses of a first block.

The clean commit is a stratum of its own, for its keys and values are all that lasts.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines import Feeds
from ...runtime.film.contract import FilmContract
from ...runtime.film.film import Film
from ...runtime.film.loop import Step
from ...runtime.film.network import FrameNetwork, Part
from ...runtime.film.options import FilmOptions
from ...runtime.film.positions import sinusoid
from ...runtime.model import Model
from ..collect.observer import ObservedModel, Strata
from ..collect.row_kinds import Parts
from .loss import Errors, Loss
from .shots import Shot, small_size

__all__ = ["losses", "seconds", "show", "sized", "strata", "tried"]

COMMIT, PROMPT = "commit", "prompt"
"""Strata besides those of the steps."""

BLOCKS = 3
"""Blocks of a shot: the first, one that sees its keys and values, and one that sees more."""


def sized(contract: FilmContract, shot: Shot) -> FilmOptions:
    """Options of a shot: a few blocks with separate commits, in the contract's shape at a size that a CPU can film."""
    height, width = small_size(contract)
    latents = (contract.first_frames or contract.block_frames) + (BLOCKS - 1) * contract.block_frames
    frames = contract.pixel_frames(latents)
    return FilmOptions(frames=frames, height=height, width=width, seed=shot.seed, commit="separate")


def strata(contract: FilmContract) -> Strata:
    """Strata by a forward's timestep; those of the encoder have none."""
    lists = [contract.schedule.first, contract.schedule.rest]
    steps = {sinusoid([t], contract.network.freq_dim)[0].tobytes(): f"t {t:g}" for s in lists for t in s.timesteps}

    def of_frames(feeds: Feeds) -> Parts:
        time: Any = feeds["time"]
        return [(steps.get(np.asarray(time)[0, 0].tobytes(), COMMIT), slice(None))]

    return {"frames": of_frames, "text": lambda _: [(PROMPT, slice(None))]}


def show(model: ObservedModel, shot: Shot) -> None:
    """Film a shot while it is observed."""
    model.observer.strata = strata(model.studio.contract)
    for _ in _film(model, shot):
        pass


def seconds(model: Model, shot: Shot) -> float:
    """Time that a shot takes, from its second block."""
    blocks = _film(model, shot)
    next(blocks)  # engines are loaded, and memory is touched
    start = time.perf_counter()
    next(blocks)
    return BLOCKS * (time.perf_counter() - start)


def tried(model: Model, shot: Shot) -> None:
    """Film with merged commits: a graph that the checker takes may still be one that no kernel does."""
    options = replace(sized(model.studio.contract, shot), commit="merged")
    for _ in zip(model.film(shot.prompt, image=shot.image, options=options), range(2), strict=False):
        pass


def losses(reference: Model, other: Model, shots: list[Shot]) -> list[Loss]:
    """Errors of the first block's forwards of each shot, by `other` against `reference`.

    Every forward gets the latents that the reference came to, so that errors of different steps do not add up.
    """
    errors = Errors()
    for shot in shots:
        forwards, made = _decoded(_film(reference, shot))
        again = _repeated(_film(other, shot), forwards)
        for kind, found in made.items():
            errors.add("frames", f"{kind} of the first block", found, again[kind])
    return errors.losses()


Made = dict[str, list[NDArray[np.float32]]]
"""Velocities by step, and the keys and values of all layers."""


def _film(model: Model, shot: Shot) -> Film:
    return model.film(shot.prompt, image=shot.image, options=sized(model.studio.contract, shot))


def _decoded(film: Film) -> tuple[list[Part], Made]:
    """Every forward of a film's first block, the clean one last, and what came of them."""
    script = film.script
    first = next(block for block in film.clip.blocks if not block.given)
    latents, velocities = [script.noise.start(first)], []

    def taken(step: Step) -> None:
        latents.append(step.latents)
        velocities.append(step.velocity)

    film.on_step = taken
    for block in film:
        if block.block == first:
            break
    timesteps = [*script.steps(first).timesteps, script.commit_timestep]
    forwards = [Part(first, x, t) for x, t in zip(latents, timesteps, strict=True)]
    return forwards, {"velocity": velocities, **_committed(film, forwards[-1])}


def _repeated(film: Film, forwards: list[Part]) -> Made:
    """Outputs of the same forwards by another film's network."""
    *noisy, clean = forwards
    if film.clip.blocks[0].given:
        next(film)
        assert film.script.picture is not None, "a block that is given comes with a picture"
        film.network.commit(Part(film.clip.blocks[0], film.script.picture, film.script.commit_timestep))
    return {"velocity": [film.network.velocity(part) for part in noisy], **_committed(film, clean)}


def _committed(film: Film, clean: Part) -> Made:
    """Keys and values of a clean block, by layer."""
    network = film.network
    assert isinstance(network, FrameNetwork), "the contract is a causal network's"
    network.commit(clean)
    held = network.kept().held
    assert held is not None, "a commit holds its block"
    new = {name: np.asarray(buffer.numpy(), np.float32) for name, buffer in held.new.items()}
    keys, values = ([v for name, v in new.items() if kind in name] for kind in ("key", "value"))
    return {"keys": keys, "values": values}
