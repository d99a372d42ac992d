"""One export from beginning to end: checkpoint directory in, bundle directory out, or an error and nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version

from .. import __version__
from ..engines.errors import ParityError
from ..runtime.bundle.manifest import SCHEMA, Manifest, ModelShape, ParityRow, TextFiles, Variant, Words
from ..runtime.bundle.staging import Staging, check_space
from ..runtime.console.progress import Progress
from ..runtime.heap import release, unpooled
from .checkpoint.sources import assemble
from .checkpoint.turns import special_tokens
from .export_plan import Job, Plan, plan
from .parity.stock import held_against_stock
from .parity.tolerances import FAIL, table, worst
from .parity.variant import checked_in, prove
from .precision import Precision
from .report import decided, done
from .write.graph_models import Builder
from .write.weight_file import CONFIG_KEY, WeightFile, graph_name, save_graph

__all__ = ["Job", "export"]


def export(job: Job, say: Callable[[str], None] = lambda _: None) -> Manifest:
    """Write the bundle, and tell `say` what was decided and found.

    Raises A2DError: CheckpointError, ContractError, BundleError (writing), ParityError. Nothing is left behind then,
    nor on KeyboardInterrupt.
    """
    unpooled()
    made = plan(job)
    say(decided(made))
    check_space(job.bundle, made.disk_bytes)
    stock = _stock_rows(made, say)
    with Staging(job.bundle, job.force) as staging:
        builder = _builder(made)
        text = _text_files(made, staging)
        variants = {p.name: _variant(made, p, builder, staging) for p in job.precisions}
        rows = {name: variant.parity for name, variant in variants.items()}
        say(table(rows))
        _require_parity(rows)
        variants = {name: replace(v, parity=(*stock, *v.parity)) for name, v in variants.items()}
        manifest = _manifest(made, text, variants, staging)
        staging.publish(manifest.dumps())
    say(done(made, manifest))
    return manifest


def _stock_rows(made: Plan, say: Callable[[str], None]) -> tuple[ParityRow, ...]:
    """The reading held against transformers' own. Raises ParityError where they differ."""
    if made.job.parity == "own":
        say("parity: a2d's own reading of the checkpoint is the reference; what it misreads is not found")
        return ()
    with Progress("parity with transformers", 1, "step", made.job.quiet):
        found = held_against_stock(made)
    rows = {"stock": found.rows} if found.rows else {}
    if rows:
        say(table(rows))
    for note in found.notes:
        say(f"parity: {note}")
    if worst(found.rows) == FAIL:
        listed = "\n".join(f"  {difference}" for difference in found.differences)
        raise ParityError(
            f"{made.job.checkpoint}: a2d does not read it as transformers {version('transformers')} does:\n"
            f"{table(rows)}\n{listed}\nNo bundle was written. Check that config.json, the processor's and the "
            "tokenizer's files belong together, and report it. Where a2d is known to be right, [parity=own] leaves "
            "transformers out."
        )
    return tuple(found.rows)


def _builder(made: Plan) -> Builder:
    """Traces the pieces, in the precisions asked for and those that these are checked in."""
    wanted = {p.name: p for asked in made.job.precisions for p in (asked, checked_in(asked))}
    with Progress("tracing", 1, "step", made.job.quiet):
        builder = Builder(made.network, tuple(wanted.values()), cache=made.job.cache)
    release(cycles=False)
    return builder


def _variant(made: Plan, precision: Precision, builder: Builder, staging: Staging) -> Variant:
    weights = _weights(made, precision, staging)
    names: dict[str, str] = {}
    for graph in builder.graphs:
        model = weights.link(builder.build(graph, precision), made.family.aliases)
        # Where the graph came from, for whoever opens it; a2d's runtime does not look.
        model.metadata_props[CONFIG_KEY] = json.dumps(made.checkpoint.config)
        save_graph(model, graph, precision, staging)
        names[graph] = graph_name(graph, precision)
    return Variant(
        graphs=names,
        weights=weights.name,
        weights_bytes=staging.file(weights.name).size,
        step_bytes=made.step_bytes(precision),
        kv_dtype=precision.kv_dtype,
        parity=prove(made, precision, weights, builder),
    )


def _weights(made: Plan, precision: Precision, staging: Staging) -> WeightFile:
    weights = WeightFile(precision, staging)
    sizes = {n: sum(made.checkpoint.entry(x).bytes for x in s.names) for n, s in made.family.sources.items()}
    with Progress(f"weights {precision.name}", sum(sizes.values()), quiet=made.job.quiet) as progress:
        for name, source in made.family.sources.items():
            weights.write(name, assemble(source, made.checkpoint.read, source.dtype(precision.dtype)))
            progress.add(sizes[name])
    staging.file(weights.name).close()
    return weights


def _require_parity(rows: Mapping[str, tuple[ParityRow, ...]]) -> None:
    if worst(row for some in rows.values() for row in some) != FAIL:
        return
    raise ParityError(
        f"the exported graphs do not compute what the checkpoint computes:\n{table(rows)}\n"
        "No bundle was written. Where fp16 shows inf, activations overflow: use bf16 or fp32. Otherwise report it."
    )


def _text_files(made: Plan, staging: Staging) -> TextFiles:
    checkpoint = made.checkpoint
    tokenizer = template = None
    if checkpoint.tokenizer is not None:
        tokenizer = "tokenizer.json"
        staging.add(tokenizer, (checkpoint.path / tokenizer).read_bytes())
    text = made.chat_template
    if text is not None:
        template = "chat_template.jinja"
        staging.add(template, text.encode())
    return TextFiles(tokenizer, template, special_tokens(checkpoint), made.asking.prompt)


def _manifest(made: Plan, text: TextFiles, variants: dict[str, Variant], staging: Staging) -> Manifest:
    s = made.family.shape
    return Manifest(
        schema=SCHEMA,
        producer=f"a2d {__version__}",
        name=made.job.name or made.job.checkpoint.resolve().name,
        family=made.family.name,
        variants=variants,
        files=staging.records(),
        words=Words(
            model=ModelShape(s.layers, s.hidden, s.kv_heads, s.head_dim, s.vocab, made.max_context),
            decode=made.resolved.contract,
            text=text,
            vision=made.vision,
        ),
    )
