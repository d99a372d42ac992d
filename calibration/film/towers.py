"""Calibration of networks of two towers, each by strata of its own: never those of one with those of the other.

    reading      prompt; negative prompt; and where the bundle writes words, what its loop tells of them
    denoising    first 3 steps, middle, last 3 steps; conditional or unconditional; noisy or clean rows

One scale serves all steps, and fits the outer ones worst; so few rows are clean that pooled they would not count.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...engines import Feeds
from ...runtime.decode.cache import Cache
from ...runtime.decode.options import Options
from ...runtime.film.condition import PIECE, piece_feeds
from ...runtime.film.contract import FilmContract
from ...runtime.film.film import Film
from ...runtime.film.loop import Step
from ...runtime.film.network import Part
from ...runtime.film.options import FilmOptions
from ...runtime.film.positions import sinusoid
from ...runtime.film.towers import TowerNetwork
from ...runtime.model import Model
from ..collect.observer import ObservedModel
from ..collect.recording import decode
from ..collect.row_kinds import Parts
from ..collect.samples import built_in
from ..source.source import Source
from .loss import Errors, Loss
from .shots import Shot, small_size

__all__ = ["losses", "seconds", "show", "sized", "tried"]

OUTER = 3
"""Steps at either end that are strata of their own."""

LATENTS = (5, 3)
"""Latent frames of a shot, in turn."""

GUIDED = 4.0
"""Scale of guidance where the contract has none: it may be asked for."""

READ = 24
"""Tokens of an answer."""

PROMPT, NEGATIVE = "prompt", "negative prompt"
"""Strata of what is read for a film."""

ROWS = 4096
"""Rows of the vocabulary that are multiplied at once."""


def sized(contract: FilmContract, shot: Shot) -> FilmOptions:
    """Options of a shot: guided, short, in the contract's shape at a size that a CPU can film."""
    assert contract.towers is not None, "the contract is that of two towers"
    height, width = small_size(contract, contract.towers.patch**2)
    own = contract.towers.guidance.scale
    latents = min(LATENTS[shot.seed % len(LATENTS)], contract.latent_frames(contract.frames))
    return FilmOptions(
        frames=contract.pixel_frames(latents),
        height=height,
        width=width,
        seed=shot.seed,
        guidance=own if own != 1 else GUIDED,
    )


def bands(contract: FilmContract) -> dict[bytes, str]:
    """Name of the band of each step, by the step's time as it is fed."""
    assert contract.towers is not None, "the contract is that of two towers"
    steps, scale = contract.schedule.first.timesteps, np.float32(contract.towers.time_scale)
    fed = [sinusoid([float(np.float32(t) * scale)], contract.network.freq_dim).tobytes() for t in steps]
    return {key: band(i, len(steps)) for i, key in enumerate(fed)}


def band(step: int, steps: int) -> str:
    """Name of a step's band."""
    if step < min(OUTER, steps // 2):
        return f"first {min(OUTER, steps // 2)} steps"
    return f"last {OUTER} steps" if step >= steps - OUTER else "middle steps"


def _parts(names: dict[bytes, str], which: str, feeds: Feeds) -> Parts:
    time, noisy = np.asarray(feeds["time"], np.float32), np.asarray(feeds["noisy"], np.float32).reshape(-1)
    name = f"{names[time.tobytes()]}, {which}"
    kinds = (("noisy", np.flatnonzero(noisy)), ("clean", np.flatnonzero(noisy == 0)))
    return [(f"{name}, {kind}", rows) for kind, rows in kinds if len(rows)]


def show(model: ObservedModel, shot: Shot) -> None:
    """Film a shot while it is observed, and answer a question where the bundle writes words. Pixels are not made."""
    observer, names = model.observer, bands(model.studio.contract)
    film = _read(model, shot)
    unwanted = _network(film).unwanted

    def of_pass(feeds: Feeds) -> Parts:
        away = unwanted is not None and feeds["condition_key_0"] is unwanted.condition.feeds["condition_key_0"]
        return _parts(names, "unconditional" if away else "conditional", feeds)

    observer.strata = {"velocity": of_pass}
    _steps_of(film)
    if model.manifest.words is not None:
        decode(model, built_in(model, shot.seed + 1, 0).samples[-1], Options(max_tokens=READ), observer)


def _read(model: ObservedModel, shot: Shot) -> Film:
    """Read both prompts of a shot, each as a stratum of its own; what was read before is not read again."""
    options, place = sized(model.studio.contract, shot), model.observer.place
    place.parts["backbone"] = [(PROMPT, slice(None))]
    model.film(shot.prompt, options=replace(options, guidance=1.0))
    place.parts["backbone"] = [(NEGATIVE, slice(None))]
    return model.film(shot.prompt, image=shot.image, options=options)


def _steps_of(film: Film) -> list[Part]:
    """Take every step, and make no pixels; returns the latents that each step began with."""
    (block,), steps = film.clip.blocks, film.script.first
    latents = [film.script.noise.start(block)]

    def taken(step: Step) -> None:
        latents.append(step.latents)
        if step.step == step.steps - 1:
            film.cancel()

    film.on_step = taken
    for _ in film:
        pass
    return [Part(block, x, t) for x, t in zip(latents, steps.timesteps, strict=False)]


def seconds(model: Model, shot: Shot) -> float:
    """Time that a shot takes, from its second step."""
    film, ends = _film(model, shot), list[float]()

    def taken(step: Step) -> None:
        ends.append(time.perf_counter())
        if step.step == 1:
            film.cancel()

    film.on_step = taken
    for _ in film:
        pass
    return len(film.script.first) * (ends[-1] - ends[0])


def tried(model: Model, shot: Shot) -> None:
    """Film two steps to pixels, and write: a graph that the checker takes may still be one that no kernel does."""
    contract = model.studio.contract
    options = replace(sized(contract, shot), frames=contract.pixel_frames(2), steps=2)
    for _ in model.film(shot.prompt, image=shot.image, options=options):
        pass
    if model.manifest.words is not None:
        model.generate(shot.prompt, max_tokens=2)


def losses(reference: Model, other: Model, shots: list[Shot]) -> list[Loss]:
    """Errors of single forwards of both towers, by `other` against `reference`.

    Velocities are those of either prompt by itself, from the latents that the reference came to, in the steps at both
    ends of each band.
    """
    errors = Errors()
    for shot in shots:
        ours, theirs = _film(reference, shot), _film(other, shot)
        parts = _steps_of(ours)
        for one, another in zip(_passes(_network(ours)), _passes(_network(theirs)), strict=True):
            for kind in ("key", "value"):
                errors.add("backbone", f"{kind}s of a prompt", _attended(one, kind), _attended(another, kind))
            for i in _checked(len(parts)):
                made = ([network.velocity(parts[i])] for network in (one, another))
                errors.add("velocity", f"velocity, {band(i, len(parts))}", *made)
        errors.add("backbone", "logits", *([_logits(model, reference, shot.prompt)] for model in (reference, other)))
    return errors.losses()


def _checked(steps: int) -> list[int]:
    """The first and the last step of each band."""
    names = [band(i, steps) for i in range(steps)]
    return [i for i, name in enumerate(names) if name not in names[:i] or name not in names[i + 1 :]]


def _film(model: Model, shot: Shot) -> Film:
    return model.film(shot.prompt, image=shot.image, options=sized(model.studio.contract, shot))


def _network(film: Film) -> TowerNetwork:
    assert isinstance(film.network, TowerNetwork), "the contract is that of two towers"
    return film.network


def _passes(network: TowerNetwork) -> list[TowerNetwork]:
    """The network over each prompt by itself."""
    passes = [network.wanted, *([] if network.unwanted is None else [network.unwanted])]
    return [replace(network, wanted=one, unwanted=None) for one in passes]


def _attended(network: TowerNetwork, kind: str) -> list[NDArray[np.float32]]:
    """Keys or values of its prompt, by layer."""
    feeds = network.wanted.condition.feeds
    return [np.asarray(buffer.numpy(), np.float32) for name, buffer in feeds.items() if kind in name]


def _logits(model: Model, reference: Model, text: str) -> NDArray[np.float32]:
    """Logits `[V, R]` of the rows of a text, by the reference's own table: it stays high."""
    studio, engine = model.studio, model.engine("backbone")
    tokens = np.asarray(studio.text.encode(text), np.int64)[:PIECE]
    feeds = piece_feeds(tokens, 0, Cache(studio.shape, engine.memory), engine)
    hidden = np.asarray(engine.run(feeds, ["hidden"])["hidden"], np.float32)[0]
    table = Source(reference.bundle.path, dict(reference.variant.graphs)).mapped("lm_head")
    pieces = [table[i : i + ROWS] @ hidden.T for i in range(0, len(table), ROWS)]
    return np.concatenate(pieces)
