"""One precision of a checkpoint written into a bundle: its weights once, the graphs that point to them, the verdict.

Serves checkpoints that write words and those that film. Knows no family, no contract and no manifest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..engines.errors import ParityError
from ..runtime.bundle.graph_index import index_of
from ..runtime.bundle.manifest import ParityRow, Variant
from ..runtime.bundle.staging import Staging
from ..runtime.bundle.weight_index import GraphIndex
from ..runtime.console.lines import Progress
from ..runtime.heap import release
from .checkpoint.safetensors_file import Entry
from .checkpoint.sources import Sourced, TensorReader, assemble
from .export_plan import Job
from .graphs.film_shapes import FilmNetwork, TowersNetwork
from .graphs.shapes import Network
from .parity.tolerances import FAIL, table, worst
from .parity.variant import checked_in
from .precision import Precision
from .write.graph_models import Builder
from .write.weight_file import CONFIG_KEY, TorchWeightFile, graph_name, save_graph

__all__ = ["Planned", "Prove", "builder_of", "require_parity", "write_variant"]


class Tensors(TensorReader, Protocol):
    """An opened checkpoint, as far as its weights go."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its configuration, as graphs keep it."""

    def entry(self, name: str) -> Entry:
        """Place, dtype and shape of a tensor."""


class Planned(Protocol):
    """The decisions about one export, as far as variants go."""

    @property
    def job(self) -> Job:
        """The request."""

    @property
    def checkpoint(self) -> Tensors:
        """The place where tensors come from."""

    @property
    def family(self) -> Sourced:
        """The tensors that each parameter is made of."""

    @property
    def network(self) -> Network | FilmNetwork | TowersNetwork:
        """The shape of the graphs."""

    def step_bytes(self, precision: Precision) -> int:
        """Bytes of weights that one denoising step reads."""


Prove = Callable[[Precision, TorchWeightFile, Builder], tuple[ParityRow, ...]]
"""Compares the graphs of a written precision with the checkpoint."""


def builder_of(plan: Planned) -> Builder:
    """Traces the pieces, in the precisions asked for and those that these are checked in."""
    wanted = {p.name: p for asked in plan.job.precisions for p in (asked, checked_in(asked))}
    with Progress("tracing", 1, "step", plan.job.quiet):
        builder = Builder(plan.network, tuple(wanted.values()), cache=plan.job.cache)
    release(cycles=False)
    return builder


def write_variant(plan: Planned, precision: Precision, builder: Builder, staging: Staging, prove: Prove) -> Variant:
    """Write weights and graphs of one precision, and compare them with the checkpoint."""
    weights = _weights(plan, precision, staging)
    names, index = dict[str, str](), dict[str, GraphIndex]()
    for graph in builder.graphs:
        model = weights.link(builder.build(graph, precision), plan.family.aliases)
        # Where the graph came from, for whoever opens it; a2d's runtime does not look.
        model.metadata_props[CONFIG_KEY] = json.dumps(plan.checkpoint.config)
        save_graph(model, graph, precision, staging)
        names[graph], index[graph] = graph_name(graph, precision), index_of(model)
    return Variant(
        graphs=names,
        weights=weights.file.name,
        weights_bytes=weights.file.size,
        step_bytes=plan.step_bytes(precision),
        kv_dtype=precision.kv_dtype,
        index=index,
        parity=prove(precision, weights, builder),
    )


def _weights(plan: Planned, precision: Precision, staging: Staging) -> TorchWeightFile:
    weights, sources = TorchWeightFile.new(precision, staging), plan.family.sources
    sizes = {n: sum(plan.checkpoint.entry(x).bytes for x in s.names) for n, s in sources.items()}
    with Progress(f"weights {precision.name}", sum(sizes.values()), quiet=plan.job.quiet) as progress:
        for name, source in sources.items():
            weights.write(name, assemble(source, plan.checkpoint.read, source.dtype(precision.dtype)))
            progress.add(sizes[name])
    weights.file.close()
    return weights


def require_parity(rows: Mapping[str, tuple[ParityRow, ...]]) -> None:
    """Raise ParityError, with the table, where a graph of a precision differs from the checkpoint."""
    if worst(row for some in rows.values() for row in some) != FAIL:
        return
    raise ParityError(
        f"the exported graphs do not compute what the checkpoint computes:\n{table(rows)}\n"
        "No bundle was written. Where fp16 shows inf, activations overflow: use bf16 or fp32. Otherwise report it."
    )
