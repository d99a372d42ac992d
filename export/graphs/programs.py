"""How pieces make graphs: the backbone, denoise, sample and vision graphs as programs, written once.

A program is run by a `Machine`. One machine stamps traced pieces into an ONNX graph, another computes them in torch:
what is exported and what it is compared with cannot drift apart. Programs know pieces by name, not what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from .decoder import DecoderShape
from .denoise import BELIEVED, HALVINGS, SETTLED
from .experts import ROUTED
from .siglip import SiglipShape
from .vision import VisionShape

__all__ = ["OWN", "PROGRAMS", "Machine", "Network", "Port", "Program"]

V = TypeVar("V")

OWN = "own"
"""Stands for the dtype of the variant in a port."""


@dataclass(frozen=True)
class Network:
    """Everything that shapes the graphs of one checkpoint."""

    decoder: DecoderShape
    forbidden: tuple[int, ...]
    tower: VisionShape | SiglipShape | None = None

    @property
    def graphs(self) -> tuple[str, ...]:
        """Names of its graphs, in the order in which rows go through them."""
        return tuple(name for name in PROGRAMS if name != "vision" or self.tower is not None)


@dataclass(frozen=True)
class Port:
    """An input or output of a graph: dtype (numpy's name, or OWN) and axes, where a string is dynamic."""

    dtype: str
    axes: tuple[int | str, ...]


class Machine(Protocol[V]):
    """Whatever can apply pieces to values."""

    def apply(self, piece: str, inputs: Mapping[str, V], prefix: str = "") -> tuple[V, ...]:
        """Apply a piece; each of its weights is the tensor named `prefix` and the weight's own name."""

    def each(self, piece: str, count: V, inputs: Mapping[str, V], shared: Mapping[str, V], prefix: str = "") -> V:
        """Apply a piece `count []` times: the i-th time to the i-th row of every one of `inputs`, and to `shared`.

        Gives its one output of all times, stacked.
        """


@dataclass(frozen=True)
class Program:
    """One graph: its ports, and how it is computed."""

    inputs: Callable[[Network], dict[str, Port]]
    outputs: Callable[[Network], dict[str, Port]]
    run: Callable[[Network, Machine[Any], Mapping[str, Any]], dict[str, Any]]


def _backbone_inputs(network: Network) -> dict[str, Port]:
    s = network.decoder
    past = Port(OWN, (1, s.kv_heads, "context", s.head_dim))
    ports = {
        "tokens": Port("int64", (1, "rows")),
        "positions": Port("int64", (3, 1, "rows") if s.rope_axes else (1, "rows")),
        "visible": Port("bool", (1, 1, "rows", "keys")),
    }
    if s.features:
        ports |= {"features": Port("float32", (1, "rows", s.hidden)), "is_feature": Port("bool", (1, "rows"))}
    return ports | {f"past_{kind}_{i}": past for i in range(s.layers) for kind in ("key", "value")}


def _backbone_outputs(network: Network) -> dict[str, Port]:
    s = network.decoder
    new = Port(OWN, (1, s.kv_heads, "rows", s.head_dim))
    names = [f"new_{kind}_{i}" for i in range(s.layers) for kind in ("key", "value")]
    return {"hidden": Port(OWN, (1, "rows", s.hidden)), **dict.fromkeys(names, new)}


def _backbone(network: Network, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    made: dict[str, V] = {}
    first = {name: value for name, value in feeds.items() if not name.startswith("past_")}
    x, cos, sin, bias = machine.apply("embed", first)
    for i in range(network.decoder.layers):
        past = {"past_key": feeds[f"past_key_{i}"], "past_value": feeds[f"past_value_{i}"]}
        shared = {"x": x, "cos": cos, "sin": sin, "bias": bias}
        sparse, prefix = network.decoder.sparse(i), f"layers.{i}."
        half = "attention" if sparse else "layer"
        x, made[f"new_key_{i}"], made[f"new_value_{i}"] = machine.apply(half, shared | past, prefix)
        if sparse:
            x = _mixed(machine, x, prefix)
    (made["hidden"],) = machine.apply("final", {"x": x})
    return made


def _mixed(machine: Machine[V], x: V, prefix: str) -> V:
    routed = dict(zip(ROUTED, machine.apply("route", {"x": x}, prefix), strict=True))
    tile = {"tile": routed["tiles"], "members": routed["members"]}
    made = machine.each("expert", routed["count"], tile, {"rows": routed["rows"]}, prefix)
    given = {name: routed[name] for name in ("rows", "weights", "places")}
    (x,) = machine.apply("combine", {"x": x, "made": made, **given}, prefix)
    return x


def _denoise_inputs(network: Network) -> dict[str, Port]:
    hidden = network.decoder.hidden
    return {
        "hidden": Port(OWN, (1, "rows", hidden)),
        "carry": Port(OWN, (1, 1, hidden)),
        "gather": Port("int64", (1, "block")),
        "tokens": Port("int64", (1, "block")),
        "masked": Port("bool", (1, "block")),
        "count": Port("int64", (1,)),
        "threshold": Port("float32", (1,)),
    }


def _sample_inputs(network: Network) -> dict[str, Port]:
    return _denoise_inputs(network) | {
        "noise": Port("float32", (1, "block")),
        "temperature": Port("float32", (1,)),
        "top_k": Port("int64", (1,)),
        "top_p": Port("float32", (1,)),
    }


def _denoise_outputs(_: Network) -> dict[str, Port]:
    kinds = ("int64", "bool", "int64", "int64", "float32", "float32", "float32")
    return {
        name: Port(kind, (1,) if name == "left" else (1, "block")) for name, kind in zip(SETTLED, kinds, strict=True)
    }


def _sample_outputs(network: Network) -> dict[str, Port]:
    return _denoise_outputs(network) | {name: Port("float32", (1, "block")) for name in BELIEVED}


def _denoise(_: Network, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    logits = _logits(machine, feeds)
    (proposed,) = machine.apply("greedy", {"logits": logits})
    return _settled(machine, feeds, logits, proposed)


def _sample(_: Network, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    logits = _logits(machine, feeds)
    tempered = {"logits": logits, "temperature": feeds["temperature"], "top_k": feeds["top_k"]}
    scaled, *start = machine.apply("temper", tempered)
    cut = _bisected(machine, scaled, *start)
    weight, *start = machine.apply("nucleus", {"scaled": scaled, "low": cut, "top_p": feeds["top_p"]})
    cut = _bisected(machine, scaled, weight, *start)
    last = {"scaled": scaled, "weight": weight, "low": cut, "top_p": feeds["top_p"], "noise": feeds["noise"]}
    proposed, kept = machine.apply("draw", last)
    believed = machine.apply("believe", {"scaled": scaled, "kept": kept, "proposed": proposed})
    return _settled(machine, feeds, logits, proposed) | dict(zip(BELIEVED, believed, strict=True))


def _logits(machine: Machine[V], feeds: Mapping[str, V]) -> V:
    (logits,) = machine.apply("project", {name: feeds[name] for name in ("hidden", "carry", "gather")})
    return logits


def _bisected(machine: Machine[V], scaled: V, weight: V, wanted: V, low: V, high: V) -> V:
    for _ in range(HALVINGS):
        ends = {"low": low, "high": high}
        low, high = machine.apply("halve", {"scaled": scaled, "weight": weight, "wanted": wanted, **ends})
    return low


def _settled(machine: Machine[V], feeds: Mapping[str, V], logits: V, proposed: V) -> dict[str, V]:
    block = {name: feeds[name] for name in ("tokens", "masked", "count", "threshold")}
    made = machine.apply("settle", {"logits": logits, "proposed": proposed, **block})
    return dict(zip(SETTLED, made, strict=True))


def _windowed_inputs(network: Network) -> dict[str, Port]:
    assert isinstance(network.tower, VisionShape)
    return {
        "pixels": Port("float32", ("patches", network.tower.patch_values)),
        "positions": Port("int64", ("patches", 2)),
        "real": Port("bool", ("patches",)),
        "order": Port("int64", ("groups",)),
    }


def _windowed_outputs(network: Network) -> dict[str, Port]:
    return {"features": Port("float32", ("groups", network.decoder.hidden))}


def _windowed(network: Network, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    tower = network.tower
    assert isinstance(tower, VisionShape)
    first = {name: feeds[name] for name in ("pixels", "positions", "real")}
    x, cos, sin, window_bias, full_bias = machine.apply("patches", first, "vision.")
    kinds = {True: ("full_block", full_bias), False: ("window_block", window_bias)}
    for i in range(tower.depth):
        block, bias = kinds[i in tower.full_attention]
        (x,) = machine.apply(block, {"x": x, "cos": cos, "sin": sin, "bias": bias}, f"vision.blocks.{i}.")
    (features,) = machine.apply("merge", {"x": x, "order": feeds["order"]}, "vision.")
    return {"features": features}


def _cropped_inputs(network: Network) -> dict[str, Port]:
    assert isinstance(network.tower, SiglipShape)
    return {"pixels": Port("float32", (network.tower.patches, network.tower.patch_values))}


def _cropped_outputs(network: Network) -> dict[str, Port]:
    assert isinstance(network.tower, SiglipShape)
    return {"features": Port("float32", (network.tower.patches + 1, network.decoder.hidden))}


def _cropped(network: Network, machine: Machine[V], feeds: Mapping[str, V]) -> dict[str, V]:
    assert isinstance(network.tower, SiglipShape)
    (x,) = machine.apply("crop_patches", {"pixels": feeds["pixels"]}, "vision.")
    for i in range(network.tower.depth):
        (x,) = machine.apply("crop_block", {"x": x}, f"vision.blocks.{i}.")
    (features,) = machine.apply("crop_projector", {"x": x}, "vision.")
    return {"features": features}


_TOWERS = {
    VisionShape: Program(_windowed_inputs, _windowed_outputs, _windowed),
    SiglipShape: Program(_cropped_inputs, _cropped_outputs, _cropped),
}
"""The vision graph by the kind of tower."""


def _tower(network: Network) -> Program:
    assert network.tower is not None
    return _TOWERS[type(network.tower)]


PROGRAMS = {
    "backbone": Program(_backbone_inputs, _backbone_outputs, _backbone),
    "denoise": Program(_denoise_inputs, _denoise_outputs, _denoise),
    "sample": Program(_sample_inputs, _sample_outputs, _sample),
    "vision": Program(
        lambda network: _tower(network).inputs(network),
        lambda network: _tower(network).outputs(network),
        lambda network, machine, feeds: _tower(network).run(network, machine, feeds),
    ),
}
"""The graphs of a bundle by name; `vision` only where the network has a tower."""
