"""One export from beginning to end: checkpoint directory in, bundle directory out, or an error and nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version

from .. import __version__
from ..engines.paths import real_path
from ..runtime.bundle.manifest import SCHEMA, Manifest, ModelShape, TextFiles, Variant, Words
from ..runtime.bundle.staging import Staging, check_space
from ..runtime.heap import unpooled
from .checkpoint.turns import special_tokens
from .export_plan import Job, Plan, plan
from .parity.stock import held_against_stock, stock_rows
from .parity.tolerances import table
from .parity.variant import prove
from .report import decided, done
from .variants import builder_of, require_parity, write_variant

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
    readers = {"transformers": version("transformers")}
    stock = stock_rows(job, readers, partial(held_against_stock, made), say)
    with Staging(job.bundle, job.force) as staging:
        builder = builder_of(made)
        text = _text_files(made, staging)
        variants = {p.name: write_variant(made, p, builder, staging, partial(prove, made)) for p in job.precisions}
        rows = {name: variant.parity for name, variant in variants.items()}
        say(table(rows))
        require_parity(rows)
        variants = {name: replace(v, parity=(*stock, *v.parity)) for name, v in variants.items()}
        manifest = _manifest(made, text, variants, staging)
        staging.publish(manifest.dumps())
    say(done(made, manifest))
    return manifest


def _text_files(made: Plan, staging: Staging) -> TextFiles:
    checkpoint, asked = made.checkpoint, made.asking
    tokenizer = template = None
    if checkpoint.tokenizer is not None:
        tokenizer = "tokenizer.json"
        staging.add(tokenizer, (checkpoint.path / tokenizer).read_bytes())
    text = made.chat_template
    if text is not None:
        template = "chat_template.jinja"
        staging.add(template, text.encode())
    special, sentences = special_tokens(checkpoint), asked.sentences or ()
    return TextFiles(tokenizer, template, special, asked.prompt, sentences, asked.unknown)


def _manifest(made: Plan, text: TextFiles, variants: dict[str, Variant], staging: Staging) -> Manifest:
    s = made.family.shape
    return Manifest(
        schema=SCHEMA,
        producer=f"a2d {__version__}",
        name=made.job.name or real_path(made.job.checkpoint).name,
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
