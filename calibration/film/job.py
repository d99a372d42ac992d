"""One calibration of a bundle that films from beginning to end: bundle in, bundle with quantized variants out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...engines.cpu import this_cpu
from ...engines.errors import BundleError, ParityError, RequestError
from ...runtime.bundle.files import Bundle
from ...runtime.bundle.manifest import Manifest, ParityRow, Variant
from ...runtime.bundle.staging import Staging, check_space
from ...runtime.console.progress import Progress, size, span
from ...runtime.film.contract import FilmContract
from ...runtime.film.studio import Studio
from ...runtime.heap import release
from ..collect.observer import tap
from ..quantize.adopt import adopt
from ..quantize.assign import Decision, decide
from ..quantize.recipes import Recipe
from ..quantize.smoothquant import Smoothed
from ..quantize.source import SOURCE, Source
from .loss import Loss, losses
from .observed import Seen, observed_studio, studio_of
from .recipes import LOSS, film_recipes
from .shots import BLOCKS, Shot, built_in, load_prompts, sized

__all__ = ["FilmJob", "calibrate_film"]

OBSERVED = ("text", "frames")
"""Graphs whose products are looked at; `frames_merged` has the same weights."""

JUDGED = 2
"""Shots whose first block is run again in the new precision."""

STEPPED = ("layers.", "rows_in.", "rows_out.", "times.")
"""Beginnings of the names of weights that every denoising step reads."""


@dataclass(frozen=True)
class FilmJob:
    """A request."""

    bundle: Path
    output: Path
    precisions: tuple[str, ...]
    keep: tuple[str, ...] | None = None
    """Precisions of the bundle that its successor holds as well; None is all."""
    data: Path | None = None
    """Prompts, one a line or JSON; None films shots that a2d brings."""
    shots: int = 8
    consume: bool = False
    """The bundle was made to be calibrated: its files are moved, not copied."""
    force: bool = False
    quiet: bool = False

    def check(self) -> list[Shot]:
        """The shots. Raises RequestError for what can be known to be wrong before anything is computed."""
        film_recipes(self.precisions)
        if self.shots < 1:
            raise RequestError(f"samples: got {self.shots}, expected at least 1")
        return built_in(self.shots) if self.data is None else load_prompts(self.data, self.shots)


def calibrate_film(job: FilmJob, say: Callable[[str], None] = lambda _: None) -> Manifest:
    """Write the bundle, and tell `say` what was found.

    Raises A2DError: BundleError (reading, writing), RequestError (data, names), NumericsError, and ParityError for a
    precision whose forwards err by more than LOSS. Nothing half written is left then, nor on KeyboardInterrupt.
    """
    shots, bundle = job.check(), Bundle.open(job.bundle)
    contract = bundle.manifest.film
    if contract is None or SOURCE not in bundle.manifest.variants:
        held = ", ".join(bundle.manifest.variants)
        raise BundleError(f"{bundle.path} holds {held}; expected a bundle that films, exported in {SOURCE} as well")
    if contract.towers is not None:
        raise BundleError(
            f"{bundle.path}: its two towers are not calibrated yet, only causal networks are; use a float precision"
        )
    source_variant, recipes = bundle.variant(SOURCE), film_recipes(job.precisions)
    kept = [n for n in (bundle.manifest.variants if job.keep is None else job.keep) if n not in job.precisions]
    check_space(job.output, len(recipes) * source_variant.weights_bytes // 2)
    with Staging(job.output, job.force) as staging:
        adopt(bundle, staging, kept, job.consume)
        source = Source(staging.path, source_variant.graphs)
        say(_expected(source, contract, shots))
        seen = _recorded(job, source, contract, shots)
        release()
        made = {r.name: _variant(job, r, source_variant, staging, source, seen, say) for r in recipes}
        variants = {n: bundle.manifest.variants[n] for n in kept}
        for name, variant in made.items():
            judged = _judged(name, variant, source_variant, staging, contract, shots)
            say("\n".join(_line(name, row) for row in judged))
            variants[name] = replace(variant, parity=judged)
        for path in [p for p in staging.path.iterdir() if p.name not in staging.records()]:
            path.unlink()
        manifest = replace(bundle.manifest, variants=variants, files=staging.records())
        staging.publish(manifest.dumps())
    say(f"{job.output}: {', '.join(manifest.variants)}")
    return manifest


def _expected(source: Source, contract: FilmContract, shots: list[Shot]) -> str:
    """Words on how long it will take, from the second block of the first shot."""
    studio, shot = studio_of(source.folder, source.graphs, contract, SOURCE), shots[0]
    blocks = iter(studio.film(shot.prompt, options=sized(contract, shot.seed)))
    next(blocks)  # engines are loaded, and memory is touched
    start = time.perf_counter()
    next(blocks)
    lasts = BLOCKS * len(shots) * (time.perf_counter() - start)
    release()
    return f"filming {len(shots)} shots of {BLOCKS} blocks: about {span(lasts)} on this machine"


def _recorded(job: FilmJob, source: Source, contract: FilmContract, shots: list[Shot]) -> Seen:
    """Statistics of every product, by stratum, of all shots filmed by the real loop."""
    files = dict(source.graphs)
    taps = {graph: tap(source, graph, source.folder / f"tap.{files[graph]}") for graph in OBSERVED}
    files |= {graph: f"tap.{files[graph]}" for graph in OBSERVED}
    studio, seen = observed_studio(source.folder, files, taps, contract)
    with Progress("calibrating", len(shots), "shots", job.quiet) as progress:
        for shot in shots:
            for _ in studio.film(shot.prompt, options=sized(contract, shot.seed)):
                pass
            progress.add()
    for name in [f for f in files.values() if f.startswith("tap.")]:
        (source.folder / name).unlink()
    return seen


def _variant(
    job: FilmJob,
    recipe: Recipe,
    old: Variant,
    staging: Staging,
    source: Source,
    seen: Seen,
    say: Callable[[str], None],
) -> Variant:
    weights = Smoothed(source, {})
    # Here, because it weighs as much as a small model, and is not to while one is being recorded.
    from ..quantize.variant import write_quantized  # noqa: PLC0415

    written = write_quantized(
        recipe.name, weights, staging, lambda: decide(recipe, weights, seen, recipe.merge, "all"), job.quiet
    )
    say(_told(written.decision, old, written.file.file.size))
    return written.variant(old, _step_bytes(written.file.sizes, source))


def _step_bytes(sizes: Mapping[str, int], source: Source) -> int:
    """Bytes of weights that a denoising step reads."""
    read = {
        str(tensor.offset)
        for name, tensor in source.tensors.items()
        if name.startswith(STEPPED) and ".cross_kv_" not in name
    }
    return sum(bytes_ for key, bytes_ in sizes.items() if key.split(".")[0] in read)


def _told(decision: Decision, old: Variant, held: int) -> str:
    recipe, forms = decision.recipe, [layer.form for layer in decision.layers.values()]
    lines = [
        f"{recipe.name}: {size(held)}, {held / old.weights_bytes:.2f} of {SOURCE}; "
        f"{forms.count('high')} of {len(forms)} products stay high; on {this_cpu().name}",
        "  layers by expected error of their output:",
    ]
    lines += [f"    {layer.error:7.2%}  {layer.name}" for layer in decision.worst_first()[:5]]
    return "\n".join(lines)


def _judged(
    name: str,
    variant: Variant,
    old: Variant,
    staging: Staging,
    contract: FilmContract,
    shots: list[Shot],
) -> tuple[ParityRow, ...]:
    """Errors of single forwards against the source. Raises ParityError where one is too large."""
    source = studio_of(staging.path, old.graphs, contract, SOURCE)
    other = studio_of(staging.path, variant.graphs, contract, name)
    found = losses(source, other, shots[:JUDGED], contract)
    _merged(other, shots[0], contract)
    rows = tuple(_row(loss) for loss in found)
    release()
    if any(row.verdict == "FAIL" for row in rows):
        raise ParityError(
            f"{name} errs by more than {LOSS:.0%} in one forward:\n"
            + "\n".join(_line(name, row) for row in rows)
            + "\nNo bundle was written. Calibrate with prompts of your own, or choose another precision."
        )
    return rows


def _merged(studio: Studio, shot: Shot, contract: FilmContract) -> None:
    """Film once with merged commits: a graph that the checker takes may still be one that no kernel does."""
    film = studio.film(shot.prompt, options=replace(sized(contract, shot.seed), commit="merged"))
    for _ in zip(film, range(2), strict=False):
        pass


def _row(loss: Loss) -> ParityRow:
    verdict = "PASS" if loss.largest <= LOSS else "FAIL"
    return ParityRow("frames", f"{loss.kind} of the first block, root mean square", loss.largest, loss.mean, verdict)


def _line(name: str, row: ParityRow) -> str:
    return f"{name:6} {row.graph:9} {row.check:45} {row.max_error:9.1e} {row.mean_error:9.1e}  {row.verdict}"
