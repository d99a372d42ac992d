"""A model whose activations are looked at while it decodes.

Its graphs have the inputs of every product with weights as further outputs; an observer takes them in forward by
forward, told by `strata.Place` which rows are what, and nothing is kept but statistics. Knows engines and statistics;
not what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines import Array, Buffer, Engine, Feeds, Memory, Signature
from ...engines.errors import NumericsError
from ...runtime.bundle.files import Bundle
from ...runtime.bundle.manifest import FileRecord
from ...runtime.decode.cache import Cache
from ...runtime.decode.forward import Forward, Request
from ...runtime.decode.runner import Answer, Runner
from ...runtime.decode.session import Session
from ...runtime.deploy.placement import Placement
from ...runtime.model import Model
from ..source.source import SOURCE, Source
from .histogram import Histogram
from .row_kinds import VISION, Parts, Place
from .taps import tap

__all__ = ["ObservedEngine", "ObservedModel", "Observer", "Strata"]

Channels = Mapping[str, NDArray[np.float32]]

Strata = Mapping[str, Callable[[Feeds], Parts]]
"""Graph to a function that tells the strata of a forward's rows by its feeds."""

SCRATCH = "tap."
"""Prefix of graphs that are looked into, and are no part of a bundle."""


@dataclass
class Observer:
    """Statistics of the activations, growing with layers and strata, never with samples."""

    place: Place
    views: Mapping[float, Channels]
    """Strength of smoothing to what each channel is divided by; 0 is the activation as it is."""
    strata: Strata = field(default_factory=dict)
    """Strata of graphs that the loop does not tell of by `place`."""
    sample: str = ""
    """Name of the sample that is decoded now, for messages."""
    channels: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Weight name to the largest magnitude of each input channel."""
    seen: dict[float, dict[str, dict[str, Histogram]]] = field(default_factory=dict)
    """Strength, weight name, stratum."""

    def enter(self, graph: str, feeds: Feeds) -> None:
        """A forward is about to be run."""
        if graph in self.strata:
            self.place.parts[graph] = self.strata[graph](feeds)

    def take(self, graph: str, name: str, values: NDArray[np.float32]) -> None:
        """One product's input `[..., K]` of one forward. Raises NumericsError: not finite, with layer and sample."""
        rows = np.abs(values.reshape(-1, values.shape[-1]))
        most = rows.max(0, initial=0.0)
        if not np.isfinite(most).all():
            raise NumericsError(
                f"{graph}, input of {name}: an activation is not finite, in sample {self.sample!r}. Calibration needs "
                "finite activations: leave that sample out, or check the checkpoint for NaN"
            )
        old = self.channels.get(name)
        self.channels[name] = most if old is None else np.maximum(old, most)
        for strength, factors in self.views.items():
            self._file(strength, name, graph, rows / factors[name] if name in factors else rows)

    def _file(self, strength: float, name: str, graph: str, rows: NDArray[Any]) -> None:
        strata = self.seen.setdefault(strength, {}).setdefault(name, {})
        for stratum, index in self.place.parts.get(graph, [(VISION, slice(None))]):
            strata.setdefault(stratum, Histogram()).add(rows[index])


class ObservedEngine:
    """An engine that tells an observer what it computed on the way."""

    def __init__(self, graph: str, engine: Engine, taps: Mapping[str, str], observer: Observer) -> None:
        self._graph, self._engine, self._taps, self._observer = graph, engine, taps, observer
        self.outputs: Mapping[str, Signature] = {n: s for n, s in engine.outputs.items() if n not in taps}

    @property
    def inputs(self) -> Mapping[str, Signature]:
        """See `Engine.inputs`."""
        return self._engine.inputs

    @property
    def memory(self) -> Memory:
        """See `Engine.memory`."""
        return self._engine.memory

    @property
    def describe(self) -> str:
        """See `Engine.describe`."""
        return self._engine.describe

    @property
    def busy_seconds(self) -> float:
        """See `Engine.busy_seconds`."""
        return self._engine.busy_seconds

    def run(
        self, feeds: Feeds, outputs: Sequence[str] | None = None, keep: Sequence[str] = ()
    ) -> dict[str, Array | Buffer]:
        """See `Engine.run`."""
        wanted = [*(self.outputs if outputs is None else outputs)]
        self._observer.enter(self._graph, feeds)
        made = self._engine.run(feeds, [*wanted, *self._taps], keep)
        for output, name in self._taps.items():
            self._observer.take(self._graph, name, np.asarray(made[output], np.float32))
        return {name: made[name] for name in wanted}


@dataclass(frozen=True)
class _ObservedRunner:
    """Says which rows are about to be run."""

    runner: Runner
    place: Place

    @property
    def cache(self) -> Cache:
        """See `Runner.cache`."""
        return self.runner.cache

    def run(self, request: Request) -> Answer:
        """See `Runner.run`."""
        if isinstance(request, Forward) and request.rows is not None:
            self.place.enter(request.rows, request.keep, self.cache.length + (request.at or 0))
        return self.runner.run(request)


class ObservedModel(Model):
    """A bundle whose graphs are taps: `session()` decodes as any, and the observer is told."""

    def __init__(self, bundle: Bundle, placement: Placement, taps: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__(bundle, placement)
        self._taps = taps
        self._observed: dict[str, Any] = {}
        self.observer = self.watch({})

    @staticmethod
    def of(
        bundle: Bundle, folder: Path, graphs: Collection[str] | None = None, left_out: Collection[str] = ()
    ) -> ObservedModel:
        """The bundle's source variant, whose files lie in `folder`, with `graphs` (None is all) looked into.

        `left_out`: see `tap`. The graphs that are looked into are files in the folder, to be removed by the caller.
        """
        variant = bundle.variant(SOURCE)
        source = Source(folder, variant.graphs)
        tapped = {g: SCRATCH + f for g, f in variant.graphs.items() if graphs is None or g in graphs}
        taps = {graph: tap(source, graph, folder / file, left_out) for graph, file in tapped.items()}
        manifest = replace(
            bundle.manifest,
            variants={SOURCE: replace(variant, graphs={**variant.graphs, **tapped})},
            files=bundle.manifest.files | dict.fromkeys(tapped.values(), FileRecord(0, "0" * 64)),
        )
        return ObservedModel(Bundle(folder, manifest), Placement("onnxruntime", "cpu", SOURCE, threads=1), taps)

    def watch(self, views: Mapping[float, Channels], strata: Strata | None = None) -> Observer:
        """A new observer, told of everything from here on."""
        words = self.manifest.words
        place = Place(None if words is None else words.decode.mask_token_id)
        self.observer = Observer(place, views, strata or {})
        self._observed.clear()
        self._features.clear()  # an image that was seen before is to be seen again
        return self.observer

    def engine(self, graph: str) -> Engine:
        """See `Model.engine`."""
        plain = super().engine(graph)
        if graph not in self._observed:
            self._observed[graph] = ObservedEngine(graph, plain, self._taps.get(graph, {}), self.observer)
        made: Engine = self._observed[graph]
        return made

    def session(self, exact: bool = False, beside: Session | None = None) -> Session:
        """See `Model.session`."""
        session = super().session(exact, beside)
        place = self.observer.place
        session.wrap = lambda runner: _ObservedRunner(runner, place)
        return session
