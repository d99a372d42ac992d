"""A studio whose products are looked at while it films: each forward's activations go to the stratum of its timestep.

The clean commit is a stratum of its own, for its keys and values are all that lasts. Knows engines and statistics; not
what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...engines import Array, Buffer, Engine, Feeds, load_engine
from ...runtime.film.contract import FilmContract
from ...runtime.film.positions import sinusoid
from ...runtime.film.studio import Studio
from ...runtime.inputs.tokenizer import Text
from ..collect.histogram import Histogram
from ..collect.observer import ObservedEngine, Observer
from ..collect.row_kinds import Place

__all__ = ["observed_studio", "studio_of"]

Seen = dict[str, dict[str, Histogram]]

COMMIT, PROMPT = "commit", "prompt"
"""Strata besides those of the steps."""


class _Staged(ObservedEngine):
    """An observed engine that names the stratum of every forward before it is run."""

    def __init__(
        self, graph: str, engine: Engine, taps: Mapping[str, str], observer: Observer, steps: Mapping[bytes, str]
    ) -> None:
        super().__init__(graph, engine, taps, observer)
        self._steps = steps

    def run(
        self, feeds: Feeds, outputs: Sequence[str] | None = None, keep: Sequence[str] = ()
    ) -> dict[str, Array | Buffer]:
        """See `Engine.run`."""
        self._observer.place.parts[self._graph] = [(self._stratum(feeds), slice(None))]
        return super().run(feeds, outputs, keep)

    def _stratum(self, feeds: Feeds) -> str:
        time: Any = feeds.get("time")
        return PROMPT if time is None else self._steps.get(np.asarray(time)[0, 0].tobytes(), COMMIT)


def studio_of(folder: Path, files: Mapping[str, str], contract: FilmContract, precision: str) -> Studio:
    """A studio on the graphs of one precision, on the CPU."""
    engines = cache(lambda graph: load_engine("onnxruntime", folder / files[graph], precision=precision, threads=1))
    return _studio(engines, folder, contract, "encode_first" in files)


def observed_studio(
    folder: Path, files: Mapping[str, str], taps: Mapping[str, Mapping[str, str]], contract: FilmContract
) -> tuple[Studio, Seen]:
    """A studio on float graphs, and the statistics that grow while it films: weight name, stratum, histogram.

    `taps`: outputs of `files` that are inputs of products, by graph; see `observer.tap`.
    """
    observer = Observer(Place(None), {0.0: {}})
    lists = [contract.schedule.first, contract.schedule.rest]
    steps = {sinusoid([t], contract.network.freq_dim)[0].tobytes(): f"t {t:g}" for s in lists for t in s.timesteps}

    @cache
    def engine(graph: str) -> Any:
        plain = load_engine("onnxruntime", folder / files[graph], precision="fp32", threads=1)
        if graph not in taps:
            return plain
        return _Staged(graph, plain, taps[graph], observer, steps)

    return _studio(engine, folder, contract, "encode_first" in files), observer.seen.setdefault(0.0, {})


def _studio(engine: Callable[[str], Engine], folder: Path, contract: FilmContract, pictures: bool) -> Studio:
    return Studio(engine, contract, "float32", Text(folder / contract.text.tokenizer), pictures)
