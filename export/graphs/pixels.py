"""The graphs between latents and pixels: `pixels_first`, `pixels_next` and `encode_first`, whatever the autoencoder,
and the decoders of a second one for drafts.

An autoencoder is one row of a table. Its states, if it has any, are counted and measured by running it without numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from .film_shapes import TinyShape, WanVaeShape
from .kind import DYNAMIC, OWN, Axes, Case, Kind, Machine, Piece, Port, random_feeds
from .tiny_vae import TinyEncoder, TinyFirst, TinyNext
from .wan_vae import Encoder, FirstPixels, NextPixels

__all__ = ["AUTOENCODERS", "pixel_kinds", "state_shapes"]


Shape = WanVaeShape | TinyShape
ShapeOf = Callable[[Any], Shape]
"""A function from the sizes of a network to those of its autoencoder."""

PREFIX, DRAFT_PREFIX = "pixels.", "pixels_draft."
"""Prefixes of the weights of the autoencoder and of the one for drafts; the checkpoint's name follows."""

SMALL = (4, 6)
"""Height and width, in latents, of the run that finds the sizes of states."""


@dataclass(frozen=True)
class Autoencoder:
    """A kind of autoencoder: functions from its shape to the modules of its graphs."""

    first: Callable[[Any], nn.Module]
    later: Callable[[Any], nn.Module]
    encoder: Callable[[Any], nn.Module]


AUTOENCODERS: dict[type, Autoencoder] = {
    WanVaeShape: Autoencoder(FirstPixels, NextPixels, Encoder),
    TinyShape: Autoencoder(TinyFirst, TinyNext, TinyEncoder),
}
"""Autoencoders by the class of their shape."""


@cache
def state_shapes(shape: Shape) -> tuple[tuple[int, int, int], ...]:
    """List (channels, frames, factor) of each state; its height and width are the latents' times the factor."""
    with torch.device("meta"):
        module = AUTOENCODERS[type(shape)].first(shape)
        _, *states = module(torch.empty(1, shape.channels, 1, *SMALL))
    return tuple((s.shape[1], s.shape[2], s.shape[3] // SMALL[0]) for s in states)


def _axes(shape: Shape) -> Axes:
    sizes = {"frames": 3, "shown": 3 * shape.frames, "latent_h": SMALL[0], "latent_w": SMALL[1]}
    for _, _, factor in state_shapes(shape):
        sizes |= {f"high_{factor}": SMALL[0] * factor, f"wide_{factor}": SMALL[1] * factor}
    sizes |= {"height": SMALL[0] * shape.spatial, "width": SMALL[1] * shape.spatial}
    return {name: (size, DYNAMIC) for name, size in sizes.items()}


def _states(shape: Shape, kind: str) -> dict[str, Port]:
    return {
        f"{kind}_state_{i}": Port(OWN, (1, channels, frames, f"high_{factor}", f"wide_{factor}"))
        for i, (channels, frames, factor) in enumerate(state_shapes(shape))
    }


def _latents(shape: Shape, frames: int | str) -> dict[str, Port]:
    return {"latents": Port("float32", (1, shape.channels, frames, "latent_h", "latent_w"))}


def _image(_: Shape) -> dict[str, Port]:
    return {"image": Port("float32", (1, "height", "width", 3))}


def _shown(frames: int | str) -> dict[str, Port]:
    return {"pixels": Port("float32", (1, frames, "height", "width", 3))}


@dataclass(frozen=True)
class Graph:
    """A graph of an autoencoder: functions from its shape to module, ports and cases."""

    make: Callable[[Any], nn.Module]
    inputs: Callable[[Shape], Mapping[str, Port]]
    outputs: Callable[[Shape], Mapping[str, Port]]
    cases: Callable[[Shape], Iterator[Case]]


def _graphs(row: Autoencoder) -> dict[str, Graph]:
    return {
        "pixels_first": Graph(
            row.first, lambda s: _latents(s, 1), lambda s: _shown(1) | _states(s, "new"), _first_cases
        ),
        "pixels_next": Graph(
            row.later,
            lambda s: _latents(s, "frames") | _states(s, "past"),
            lambda s: _shown("shown") | _states(s, "new"),
            _next_cases,
        ),
        "encode_first": Graph(row.encoder, _image, lambda s: _latents(s, 1), _encode_cases),
    }


def _kind(name: str, graph: Graph, of: ShapeOf, shape: Shape, prefix: str) -> Kind:
    outputs = tuple(graph.outputs(shape))
    piece = Piece(name, lambda n: graph.make(of(n)), lambda n: graph.inputs(of(n)), outputs, lambda n: _axes(of(n)))

    def run(_: Any, machine: Machine[Any], feeds: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, machine.apply(piece, dict(feeds), prefix), strict=True))

    return Kind(
        lambda n: dict(graph.inputs(of(n))), lambda n: dict(graph.outputs(of(n))), run, lambda n, *_: graph.cases(of(n))
    )


def pixel_kinds(network: Any) -> dict[str, Kind]:
    """List the three graphs of the autoencoder by name, and the two of the decoder for drafts if there is one."""
    whole, draft = network.pixels, getattr(network, "draft", None)
    made = {n: _kind(n, g, lambda n: n.pixels, whole, PREFIX) for n, g in _graphs(AUTOENCODERS[type(whole)]).items()}
    if draft is None:
        return made
    decoders = {n: g for n, g in _graphs(AUTOENCODERS[type(draft)]).items() if n != "encode_first"}
    return made | {f"{n}_draft": _kind(f"{n}_draft", g, _drafted, draft, DRAFT_PREFIX) for n, g in decoders.items()}


def _drafted(network: Any) -> Shape:
    shape: Shape = network.draft
    return shape


def _sizes(shape: Shape, height: int, width: int, frames: int) -> dict[str, int]:
    sizes = {"frames": frames, "latent_h": height, "latent_w": width}
    sizes |= {"height": height * shape.spatial, "width": width * shape.spatial}
    for _, _, factor in state_shapes(shape):
        sizes |= {f"high_{factor}": height * factor, f"wide_{factor}": width * factor}
    return sizes


def _first_cases(shape: Shape) -> Iterator[Case]:
    rng = np.random.default_rng(3)
    for height, width in ((2, 4), (3, 3)):
        yield Case(f"{height} x {width}", random_feeds(_latents(shape, 1), _sizes(shape, height, width, 1), rng))


def _next_cases(shape: Shape) -> Iterator[Case]:
    rng, ports = np.random.default_rng(4), _latents(shape, "frames") | _states(shape, "past")
    for height, width, frames in ((2, 4, 1), (3, 3, 2)):
        feeds = random_feeds(ports, _sizes(shape, height, width, frames), rng)
        yield Case(f"{frames} frames of {height} x {width}", feeds)


def _encode_cases(shape: Shape) -> Iterator[Case]:
    rng = np.random.default_rng(5)
    for height, width in ((2, 4), (3, 3)):
        sizes = _sizes(shape, height, width, 1)
        image = rng.integers(0, 256, (1, sizes["height"], sizes["width"], 3)) / 255
        yield Case(f"{height} x {width}", {"image": image.astype(np.float32)})
