"""The graphs between latents and pixels: `pixels_first`, `pixels_next` and `encode_first`, whatever the autoencoder.

An autoencoder is one row of a table. Its states, if it has any, are counted and measured by running it without numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from .film_shapes import TinyShape, WanVaeShape
from .kind import DYNAMIC, OWN, Axes, Case, Kind, Machine, Piece, Port, random_feeds
from .tiny_vae import TinyEncoder, TinyFirst, TinyNext
from .wan_vae import Encoder, FirstPixels, NextPixels

__all__ = ["AUTOENCODERS", "pixel_kinds", "state_shapes"]


class Pictured(Protocol):
    """A network with an autoencoder."""

    @property
    def pixels(self) -> WanVaeShape | TinyShape:
        """The sizes of its autoencoder."""


PREFIX = "pixels."
"""Of all its weights; what follows is the checkpoint's name."""

SMALL = (4, 6)
"""Height and width of the latents that shapes are found with."""


@dataclass(frozen=True)
class Autoencoder:
    """The modules of one kind of autoencoder, each made of its shape."""

    first: Callable[[Any], nn.Module]
    later: Callable[[Any], nn.Module]
    encoder: Callable[[Any], nn.Module]


AUTOENCODERS: dict[type, Autoencoder] = {
    WanVaeShape: Autoencoder(FirstPixels, NextPixels, Encoder),
    TinyShape: Autoencoder(TinyFirst, TinyNext, TinyEncoder),
}
"""Autoencoders by the class of their shape."""


@cache
def state_shapes(shape: WanVaeShape | TinyShape) -> tuple[tuple[int, int, int], ...]:
    """(channels, frames, factor) of each state; its height and width are the latents' times the factor."""
    with torch.device("meta"):
        module = AUTOENCODERS[type(shape)].first(shape)
        _, *states = module(torch.empty(1, shape.channels, 1, *SMALL))
    return tuple((s.shape[1], s.shape[2], s.shape[3] // SMALL[0]) for s in states)


def _axes(network: Pictured) -> Axes:
    sizes = {"frames": 3, "shown": 3 * network.pixels.frames, "latent_h": SMALL[0], "latent_w": SMALL[1]}
    for _, _, factor in state_shapes(network.pixels):
        sizes |= {f"high_{factor}": SMALL[0] * factor, f"wide_{factor}": SMALL[1] * factor}
    sizes |= {"height": SMALL[0] * network.pixels.spatial, "width": SMALL[1] * network.pixels.spatial}
    return {name: (size, DYNAMIC) for name, size in sizes.items()}


def _states(network: Pictured, kind: str) -> dict[str, Port]:
    return {
        f"{kind}_state_{i}": Port(OWN, (1, channels, frames, f"high_{factor}", f"wide_{factor}"))
        for i, (channels, frames, factor) in enumerate(state_shapes(network.pixels))
    }


def _latents(network: Pictured, frames: int | str) -> dict[str, Port]:
    return {"latents": Port("float32", (1, network.pixels.channels, frames, "latent_h", "latent_w"))}


def _image(_: Pictured) -> dict[str, Port]:
    return {"image": Port("float32", (1, "height", "width", 3))}


def _piece(
    name: str,
    make: Callable[[Any], nn.Module],
    inputs: Callable[[Pictured], Mapping[str, Port]],
    outputs: tuple[str, ...],
) -> Piece:
    return Piece(name, lambda n: make(n.pixels), inputs, outputs, _axes)


def _kind(
    piece: Piece, outputs: Callable[[Pictured], dict[str, Port]], cases: Callable[[Pictured], Iterator[Case]]
) -> Kind:
    def run(_: Pictured, machine: Machine[Any], feeds: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(piece.outputs, machine.apply(piece, dict(feeds), PREFIX), strict=True))

    return Kind(lambda n: dict(piece.inputs(n)), outputs, run, lambda n, *_: cases(n))


def pixel_kinds(network: Pictured) -> dict[str, Kind]:
    """The three graphs by name."""
    row, new = AUTOENCODERS[type(network.pixels)], tuple(_states(network, "new"))
    first = _piece("pixels_first", row.first, lambda n: _latents(n, 1), ("pixels", *new))
    later = _piece("pixels_next", row.later, lambda n: _latents(n, "frames") | _states(n, "past"), ("pixels", *new))
    encoder = _piece("encode_first", row.encoder, _image, ("latents",))
    return {
        "pixels_first": _kind(first, lambda n: _shown(1) | _states(n, "new"), _first_cases),
        "pixels_next": _kind(later, lambda n: _shown("shown") | _states(n, "new"), _next_cases),
        "encode_first": _kind(encoder, lambda n: _latents(n, 1), _encode_cases),
    }


def _shown(frames: int | str) -> dict[str, Port]:
    return {"pixels": Port("float32", (1, frames, "height", "width", 3))}


def _sizes(network: Pictured, height: int, width: int, frames: int) -> dict[str, int]:
    spatial = network.pixels.spatial
    sizes = {"frames": frames, "latent_h": height, "latent_w": width}
    sizes |= {"height": height * spatial, "width": width * spatial}
    for _, _, factor in state_shapes(network.pixels):
        sizes |= {f"high_{factor}": height * factor, f"wide_{factor}": width * factor}
    return sizes


def _first_cases(network: Pictured) -> Iterator[Case]:
    rng = np.random.default_rng(3)
    for height, width in ((2, 4), (3, 3)):
        yield Case(f"{height} x {width}", random_feeds(_latents(network, 1), _sizes(network, height, width, 1), rng))


def _next_cases(network: Pictured) -> Iterator[Case]:
    rng, ports = np.random.default_rng(4), _latents(network, "frames") | _states(network, "past")
    for height, width, frames in ((2, 4, 1), (3, 3, 2)):
        feeds = random_feeds(ports, _sizes(network, height, width, frames), rng)
        yield Case(f"{frames} frames of {height} x {width}", feeds)


def _encode_cases(network: Pictured) -> Iterator[Case]:
    rng = np.random.default_rng(5)
    for height, width in ((2, 4), (3, 3)):
        sizes = _sizes(network, height, width, 1)
        image = rng.integers(0, 256, (1, sizes["height"], sizes["width"], 3)) / 255
        yield Case(f"{height} x {width}", {"image": image.astype(np.float32)})
