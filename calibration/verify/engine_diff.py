"""Places where the engines of a bundle begin to differ from its graphs: one real step of each graph, value by value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engines import Engine
from ...engines.protocol import Array, Buffer, Feeds
from ...runtime.bundle.files import Bundle
from ...runtime.decode.options import Options
from ...runtime.deploy.placement import Placement
from ...runtime.deploy.precisions import NARROW
from ...runtime.model import Model
from ..collect.samples import Sample

if TYPE_CHECKING:
    from ...engines.tensorrt.builder.compare_layers import Difference

__all__ = ["differing", "worst"]

STEPS = 3
"""Settings of the decode that is looked at: a prompt, a merged commit or none, and steps in a block."""


def differing(bundle: Bundle, variant: str, engine: str, half: bool, sample: Sample) -> Iterator[tuple[str, Any]]:
    """Each graph that a decode of `sample` runs, with the differences of its values in the order of the graph.

    Raises EngineError without a GPU (engine `onnxruntime` needs none), or without Polygraphy.
    """
    from ...engines.tensorrt.builder.compare_layers import differences  # noqa: PLC0415 - needs onnx, which a device has not

    for graph, feeds in _recorded(bundle, variant, sample).items():
        path = bundle.file(bundle.variant(variant).graphs[graph])
        narrow = NARROW.get(graph, ()) if half else ()
        yield graph, differences(engine, path, feeds, half=half, narrow=narrow)


def worst(found: Sequence[Difference], count: int) -> list[Difference]:
    """The values that differ most, in the order of the graph: the first of them is where to look."""
    largest = sorted(found, key=lambda difference: -difference.error)[:count]
    return [difference for difference in found if difference in largest]


def _recorded(bundle: Bundle, variant: str, sample: Sample) -> dict[str, dict[str, Array]]:
    """Feeds that each graph was given last, in the first steps of a decode."""
    model = _Watched(bundle, Placement("onnxruntime", "cpu", variant, threads=1))
    steps = model.session().stream(sample.rows(model), Options(max_tokens=64))
    for _ in islice(steps, STEPS):
        pass
    steps.close()
    return {name: watcher.feeds for name, watcher in model.watchers.items() if watcher.feeds}


class _Watcher:
    """An engine whose feeds are remembered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.feeds: dict[str, Array] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(
        self, feeds: Feeds, outputs: Sequence[str] | None = None, keep: Sequence[str] = ()
    ) -> Mapping[str, Array | Buffer]:
        self.feeds = {name: np.array(f if isinstance(f, np.ndarray) else f.numpy()) for name, f in feeds.items()}
        return self._engine.run(feeds, outputs, keep)


class _Watched(Model):
    """A model whose engines are watched."""

    def __init__(self, bundle: Bundle, placement: Placement) -> None:
        self.watchers: dict[str, _Watcher] = {}
        super().__init__(bundle, placement)

    def engine(self, graph: str) -> Engine:
        """See `Model.engine`."""
        if graph not in self.watchers:
            self.watchers[graph] = _Watcher(super().engine(graph))
        return self.watchers[graph]  # type: ignore[return-value]
