"""One export of a checkpoint that films from beginning to end: diffusers directory in, bundle out, or an error."""

from __future__ import annotations

import json
from collections.abc import Callable

from ... import __version__
from ...engines.errors import ParityError
from ...runtime.bundle.manifest import SCHEMA, Manifest, Variant
from ...runtime.bundle.staging import Staging, check_space
from ...runtime.console.progress import Progress, size
from ...runtime.heap import release, unpooled
from ..checkpoint.sources import assemble
from ..export_plan import Job
from ..parity.tolerances import FAIL, table, worst
from ..parity.variant import checked_in
from ..precision import Precision
from ..write.graph_models import Builder
from ..write.weight_file import CONFIG_KEY, WeightFile, graph_name, save_graph
from .parity import prove_film
from .plan import FilmPlan, plan_film

__all__ = ["export_film"]


def export_film(job: Job, say: Callable[[str], None] = lambda _: None) -> Manifest:
    """Write the bundle, and tell `say` what was decided and found.

    Raises A2DError: CheckpointError, ContractError, BundleError (writing), ParityError. Nothing is left behind then,
    nor on KeyboardInterrupt.
    """
    unpooled()
    made = plan_film(job)
    say(made.decided())
    check_space(job.bundle, made.disk_bytes)
    with Staging(job.bundle, job.force) as staging:
        builder = _builder(made)
        for name, content in made.resolved.files.items():
            staging.add(name, content)
        variants = {p.name: _variant(made, p, builder, staging) for p in job.precisions}
        rows = {name: variant.parity for name, variant in variants.items()}
        say(table(rows))
        if worst(row for some in rows.values() for row in some) == FAIL:
            raise ParityError(
                f"the exported graphs do not compute what the checkpoint computes:\n{table(rows)}\n"
                "No bundle was written. Where fp16 shows inf, activations overflow: use bf16 or fp32. Otherwise report "
                "it."
            )
        manifest = Manifest(
            schema=SCHEMA,
            producer=f"a2d {__version__}",
            name=job.checkpoint.resolve().name,
            family=made.family.name,
            variants=variants,
            files=staging.records(),
            words=made.resolved.words,
            film=made.resolved.contract,
        )
        staging.publish(manifest.dumps())
    total = sum(record.bytes for record in manifest.files.values())
    say(f'{job.bundle}: {size(total)} in {len(manifest.files) + 1} files\nnext: a2d film {job.bundle} [prompt="..."]')
    return manifest


def _builder(made: FilmPlan) -> Builder:
    """Traces the pieces, in the precisions asked for and those that these are checked in."""
    wanted = {p.name: p for asked in made.job.precisions for p in (asked, checked_in(asked))}
    with Progress("tracing", 1, "step", made.job.quiet):
        builder = Builder(made.family.network, tuple(wanted.values()), cache=made.job.cache)
    release(cycles=False)
    return builder


def _variant(made: FilmPlan, precision: Precision, builder: Builder, staging: Staging) -> Variant:
    weights = _weights(made, precision, staging)
    names: dict[str, str] = {}
    for graph in builder.graphs:
        model = weights.link(builder.build(graph, precision), made.family.aliases)
        model.metadata_props[CONFIG_KEY] = json.dumps(made.pipeline.config)
        save_graph(model, graph, precision, staging)
        names[graph] = graph_name(graph, precision)
    return Variant(
        graphs=names,
        weights=weights.name,
        weights_bytes=staging.file(weights.name).size,
        step_bytes=made.step_bytes(precision),
        kv_dtype=precision.kv_dtype,
        parity=prove_film(made, precision, weights, builder),
    )


def _weights(made: FilmPlan, precision: Precision, staging: Staging) -> WeightFile:
    weights = WeightFile(precision, staging)
    sizes = {n: sum(made.pipeline.entry(x).bytes for x in s.names) for n, s in made.family.sources.items()}
    with Progress(f"weights {precision.name}", sum(sizes.values()), quiet=made.job.quiet) as progress:
        for name, source in made.family.sources.items():
            weights.write(name, assemble(source, made.pipeline.read, source.dtype(precision.dtype)))
            progress.add(sizes[name])
    staging.file(weights.name).close()
    return weights
