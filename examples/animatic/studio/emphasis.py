"""Places of a frame that the prompt speaks of most, figures and things, so that a small one is not lost in a backdrop.

The weights say how much each latent counts in the loss. They change what is learned first, not what is right: where
the network looks for the mean of what may be, a weight of the place moves nothing.
Knows scenes and where they put what; nothing of networks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .backdrop import FEET
from .camera import FRAMES, HEIGHT, WIDTH, views
from .clip import TALL, staged, thing_place
from .scene import Scene

__all__ = ["emphasis"]

CELL, PACK = 8, 4
SHARE = 0.5
"""Of the loss, for the cells of figures and things, where MOST allows it."""
MOST = 6.0
HALF = 0.2
"""Half a figure's width, arms out, in units of its height."""


def emphasis(scene: Scene, latents: int) -> NDArray[np.float32]:
    """Weights [latents, h, w] with a mean of 1 over each latent frame, for the first so many of a clip."""
    camera, made = views(scene), np.empty((latents, HEIGHT // CELL, WIDTH // CELL), np.float32)
    for index in range(latents):
        frame = max(0, PACK * index - PACK // 2)
        inside = np.zeros(made.shape[1:], bool)
        tall = TALL[scene.size] * camera[frame].zoom
        standing = [actor.x for actor in staged(scene, frame / (FRAMES - 1))]
        if scene.thing != "none" and scene.action != "exchange":
            standing.append(thing_place(scene))
        for at in standing:
            x, y = camera[frame].place(at, FEET[scene.size])
            inside[_cells(y - 1.05 * tall, y), _cells(x - HALF * tall, x + HALF * tall)] = True
        made[index] = _weighed(inside)
    return made


def _cells(low: float, high: float) -> slice:
    return slice(max(0, int(low // CELL)), max(0, int(high // CELL) + 1))


def _weighed(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    area = float(inside.mean())
    if area in {0.0, 1.0}:
        return np.ones(inside.shape, np.float32)
    much = min(MOST, max(1.0, SHARE / (1 - SHARE) * (1 - area) / area))
    weights = np.where(inside, much, 1.0)
    return np.asarray(weights / weights.mean(), np.float32)
