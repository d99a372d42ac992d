"""Shots of a list filmed in several numbers of steps: the clips, what each cost, and one block step by step.

Knows how films are compared; not how they are shown.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..console.lines import Progress
from ..dailies.shot_list import ListedShot
from ..film.contract import StepList
from ..film.film import Film
from ..film.loop import Step
from ..film.pixels import PixelStream
from ..model import Model

__all__ = ["Filmed", "Point", "Take", "curve", "filmed"]

QUALITY = 82
"""Quality of a clip as WebP: a page of three shots stays under a megabyte."""


@dataclass(frozen=True)
class Take:
    """A shot in one number of steps."""

    steps: int
    clip: bytes
    """An animated WebP, without end."""
    frames: int
    seconds: float
    """Time of making it, prompt and pixels included."""
    forwards: int
    distance: float
    """Mean difference from the take with the most steps, of the same noise, in 255ths."""


@dataclass(frozen=True)
class Filmed:
    """One shot of the list."""

    prompt: str
    takes: tuple[Take, ...]
    """One for each number of steps, fewest first."""
    chosen: int
    """The bundle's own number of steps."""
    strip: tuple[bytes, ...]
    """The last frame of the first block after each of these steps, as PNG: what the network then takes for it."""
    width: int
    height: int

    @property
    def shown(self) -> Take:
        """The take in the bundle's own number of steps, or the one that comes nearest."""
        return min(self.takes, key=lambda take: abs(take.steps - self.chosen))


@dataclass(frozen=True)
class Point:
    """A number of steps over all shots."""

    steps: int
    seconds: float
    distance: float


def filmed(model: Model, shots: Sequence[ListedShot], quiet: bool) -> list[Filmed]:
    """Each shot in every number of steps that the bundle has."""
    assert model.manifest.film is not None, "Model.film refuses a bundle that does not film"
    counts = sorted(int(name) for name in model.manifest.film.schedule.others)
    with Progress("filming", len(shots) * len(counts), "takes", quiet=quiet) as progress:
        return [_filmed(model, shot, counts, progress) for shot in shots]


def curve(films: Sequence[Filmed]) -> list[Point]:
    """Time and distance by number of steps, the means of all shots."""
    together = list(zip(*(film.takes for film in films), strict=True))
    return [
        Point(some[0].steps, _mean([t.seconds for t in some]), _mean([t.distance for t in some])) for some in together
    ]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _filmed(model: Model, shot: ListedShot, counts: Sequence[int], progress: Progress) -> Filmed:
    made: dict[int, tuple[Film, NDArray[np.uint8]]] = {}
    for steps in counts:
        film = model.film(shot.prompt, seed=shot.seed or 0, seconds=shot.seconds, steps=steps)
        made[steps] = film, np.concatenate([block.frames for block in film])
        progress.add()
    best = made[counts[-1]][1].astype(np.float32)
    contract = model.manifest.film
    assert contract is not None, "it has just filmed"
    return Filmed(
        prompt=shot.prompt,
        takes=tuple(_take(steps, film, frames, best) for steps, (film, frames) in made.items()),
        chosen=len(contract.schedule.first),
        strip=_strip(model, shot, contract.schedule.first),
        width=best.shape[2],
        height=best.shape[1],
    )


def _take(steps: int, film: Film, frames: NDArray[np.uint8], best: NDArray[np.float32]) -> Take:
    result = film.result
    distance = float(np.abs(frames - best).mean())
    return Take(steps, _webp(frames, film.fps), len(frames), film.seconds.total, result.forwards, distance)


def _strip(model: Model, shot: ListedShot, steps: StepList) -> tuple[bytes, ...]:
    """The first block after each step, decoded by itself."""
    taken: list[Step] = []
    film = model.film(shot.prompt, seed=shot.seed or 0, seconds=shot.seconds, on_step=taken.append)
    next(film)
    return tuple(_png(_decoded(model, step, steps)) for step in taken)


def _decoded(model: Model, step: Step, steps: StepList) -> NDArray[np.float32]:
    """The last frame of what the network takes for the clean block; where noise is added anew, of the block."""
    latents = step.latents
    if not steps.noise[step.step]:
        latents = np.asarray(latents - steps.sigmas[step.step + 1] * step.velocity, np.float32)
    stream = PixelStream(model.engine)  # decoders remember: each picture gets a fresh one
    frames = list(stream.decode(step.block, latents))[-1]
    return np.asarray(frames[-1], np.float32)


def _png(pixels: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    Image.fromarray((255 * pixels + 0.5).astype(np.uint8)).save(file, "PNG", optimize=True)
    return file.getvalue()


def _webp(frames: NDArray[np.uint8], fps: float) -> bytes:
    file, pictures = io.BytesIO(), [Image.fromarray(frame) for frame in frames]
    pictures[0].save(
        file, "WEBP", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, quality=QUALITY
    )
    return file.getvalue()
