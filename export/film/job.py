"""One export of a checkpoint that films from beginning to end: diffusers directory in, bundle out, or an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from ... import __version__
from ...engines.paths import real_path
from ...runtime.bundle.manifest import SCHEMA, Manifest
from ...runtime.bundle.staging import Staging, check_space
from ...runtime.console.lines import size
from ...runtime.heap import unpooled
from ..export_plan import Job
from ..parity.stock import stock_rows
from ..parity.tolerances import table
from ..variants import builder_of, require_parity, write_variant
from .parity import prove_film
from .plan import plan_film
from .stock import LIBRARIES, film_held_against_stock

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
    stock = stock_rows(job, _readers(), partial(film_held_against_stock, made), say)
    with Staging(job.bundle, job.force) as staging:
        builder = builder_of(made)
        for name, content in made.resolved.files.items():
            staging.add(name, content)
        variants = {p.name: write_variant(made, p, builder, staging, partial(prove_film, made)) for p in job.precisions}
        rows = {name: variant.parity for name, variant in variants.items()}
        say(table(rows))
        require_parity(rows)
        variants = {name: replace(v, parity=(*stock, *v.parity)) for name, v in variants.items()}
        manifest = Manifest(
            schema=SCHEMA,
            producer=f"a2d {__version__}",
            name=real_path(job.checkpoint).name,
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


def _readers() -> dict[str, str]:
    """The checkpoint's libraries and their versions, as far as they are installed."""
    made = {}
    for name in LIBRARIES:
        try:
            made[name] = version(name)
        except PackageNotFoundError:
            continue
    return made
