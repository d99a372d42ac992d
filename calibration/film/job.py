"""One calibration of a bundle that films from beginning to end: bundle in, bundle with quantized variants out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from ...engines.cpu import this_cpu
from ...engines.errors import BundleError, ParityError, RequestError
from ...runtime.bundle.files import Bundle
from ...runtime.bundle.manifest import FileRecord, Manifest, ParityRow, Variant
from ...runtime.bundle.staging import Staging, check_space
from ...runtime.console.lines import Progress, size, span
from ...runtime.deploy.placement import Placement
from ...runtime.film.contract import FilmContract
from ...runtime.heap import release
from ...runtime.model import Model
from ..collect.histogram import Histogram
from ..collect.observer import ObservedModel
from ..collect.recording import Recording
from ..quantize.adopt import adopt
from ..quantize.assign import Decision, decide
from ..quantize.recipes import Recipe
from ..quantize.summary import CALIBRATION, summary
from ..source.smoothquant import Smoothed
from ..source.source import SOURCE, Source
from .kinds import FilmKind, kind_of
from .loss import Loss
from .recipes import LOSS, film_recipes
from .shots import Shot, load_prompts

__all__ = ["FilmJob", "calibrate_film"]

JUDGED = 2
"""Shots that are run again in the new precision, forward by forward."""

Seen = dict[str, dict[str, Histogram]]
"""Statistics by weight name and stratum."""


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

    def check(self) -> None:
        """Raise RequestError for what can be known to be wrong before anything is computed."""
        film_recipes(self.precisions)
        if self.shots < 1:
            raise RequestError(f"samples: got {self.shots}, expected at least 1")
        if self.data is not None:
            load_prompts(self.data, self.shots)

    def chosen(self, kind: FilmKind) -> list[Shot]:
        """The shots. Raises RequestError."""
        return kind.built_in(self.shots) if self.data is None else load_prompts(self.data, self.shots)


def calibrate_film(job: FilmJob, say: Callable[[str], None] = lambda _: None) -> Manifest:
    """Write the bundle, and tell `say` what was found.

    Raises A2DError: BundleError (reading, writing), RequestError (data, names), NumericsError, and ParityError for a
    precision whose forwards err by more than LOSS. Nothing half written is left then, nor on KeyboardInterrupt.
    """
    job.check()
    bundle = Bundle.open(job.bundle)
    contract = bundle.manifest.film
    if contract is None or SOURCE not in bundle.manifest.variants:
        held = ", ".join(bundle.manifest.variants)
        raise BundleError(f"{bundle.path} holds {held}; expected a bundle that films, exported in {SOURCE} as well")
    kind, old = kind_of(contract), bundle.variant(SOURCE)
    shots, recipes = job.chosen(kind), film_recipes(job.precisions, kind.recipes)
    kept = [n for n in (bundle.manifest.variants if job.keep is None else job.keep) if n not in job.precisions]
    check_space(job.output, len(recipes) * old.weights_bytes // 2)
    with Staging(job.output, job.force) as staging:
        adopt(bundle, staging, kept, job.consume)
        source = Source(staging.path, old.graphs)
        say(_expected(_model(bundle.manifest, staging, SOURCE), kind, shots))
        seen = _recorded(job, bundle, source, kind, shots)
        release()
        variants, decisions = {n: bundle.manifest.variants[n] for n in kept}, dict[str, Decision]()
        for recipe in recipes:
            made, decisions[recipe.name] = _variant(job, contract, recipe, old, staging, source, seen, say)
            judged = _judged(kind, recipe.name, made, bundle.manifest, staging, shots)
            say("\n".join(_line(recipe.name, row) for row in judged))
            variants[recipe.name] = replace(made, parity=judged)
        recording = Recording("films", len(shots), seen={0.0: seen})
        staging.add(CALIBRATION, summary(recording, decisions).encode())
        for path in [p for p in staging.path.iterdir() if p.name not in staging.records()]:
            path.unlink()
        manifest = replace(bundle.manifest, variants=variants, files=staging.records())
        staging.publish(manifest.dumps())
    say(f"{job.output}: {', '.join(manifest.variants)}")
    return manifest


def _model(manifest: Manifest, staging: Staging, name: str, variant: Variant | None = None) -> Model:
    """One precision in the folder that is written, on the CPU; `variant` is one that the manifest lacks."""
    if variant is not None:
        new = dict.fromkeys((*variant.graphs.values(), variant.weights), FileRecord(0, "0" * 64))
        manifest = replace(manifest, variants=manifest.variants | {name: variant}, files=manifest.files | new)
    return Model(Bundle(staging.path, manifest), Placement("onnxruntime", "cpu", name, threads=1))


def _expected(model: Model, kind: FilmKind, shots: list[Shot]) -> str:
    """Words on how long it will take, from a part of the first shot."""
    lasts = len(shots) * kind.seconds(model, shots[0])
    return f"filming {len(shots)} shots: about {span(lasts)} on this machine"


def _recorded(job: FilmJob, bundle: Bundle, source: Source, kind: FilmKind, shots: list[Shot]) -> Seen:
    """Statistics of every product that is to be quantized, by stratum, of all shots filmed by the real loop."""
    high = next(iter(kind.recipes.values())).high
    left_out = [name for name in source.tables if any(fnmatch(name, pattern) for pattern in high)]
    model = ObservedModel.of(bundle, source.folder, kind.observed, left_out)
    observer = model.watch({0.0: {}})
    with Progress("calibrating", len(shots), "shots", job.quiet) as progress:
        for shot in shots:
            observer.sample = shot.prompt
            kind.show(model, shot)
            progress.add()
    return observer.seen.setdefault(0.0, {})


def _variant(
    job: FilmJob,
    contract: FilmContract,
    recipe: Recipe,
    old: Variant,
    staging: Staging,
    source: Source,
    seen: Seen,
    say: Callable[[str], None],
) -> tuple[Variant, Decision]:
    weights = Smoothed(source, {})
    # Here, because it weighs as much as a small model, and is not to while one is being recorded.
    from ..quantize.variant import write_quantized  # noqa: PLC0415

    written = write_quantized(
        recipe, weights, staging, lambda codes: decide(codes, seen, recipe.merge, "all"), job.quiet
    )
    say(_told(written.decision, old, written.file.file.size))
    stepped = {str(source.tensors[name].offset) for name in source.held(contract.denoiser)}
    read = sum(size_ for key, size_ in written.file.sizes.items() if key.split(".")[0] in stepped)
    return written.variant(old, read), written.decision


def _told(decision: Decision, old: Variant, held: int) -> str:
    recipe, forms = decision.recipe, [layer.form for layer in decision.layers.values()]
    lines = [
        f"{recipe.name}: {size(held)}, {held / old.weights_bytes:.2f} of {SOURCE}; "
        f"{forms.count('high')} of {len(forms)} products stay high; on {this_cpu().name}",
        "  layers by expected error of their output:",
    ]
    lines += [f"    {layer.error:7.2%}  {layer.name}, {layer.form}" for layer in decision.worst_first()[:5]]
    if scaled := [layer for layer in decision.layers.values() if layer.asked]:
        worst = max(scaled, key=lambda layer: layer.shared)
        times = f"{worst.shared:.2f} times the squared error of a scale for each"
        lines.append(f"  one scale for all strata: {times}, in {worst.name}")
    return "\n".join(lines)


def _judged(
    kind: FilmKind, name: str, variant: Variant, manifest: Manifest, staging: Staging, shots: list[Shot]
) -> tuple[ParityRow, ...]:
    """Errors of single forwards against the source. Raises ParityError where one is too large."""
    source, other = _model(manifest, staging, SOURCE), _model(manifest, staging, name, variant)
    kind.tried(other, shots[0])
    rows = tuple(_row(loss) for loss in kind.losses(source, other, shots[:JUDGED]))
    del source, other
    release()
    if any(row.verdict == "FAIL" for row in rows):
        raise ParityError(
            f"{name} errs by more than {LOSS:.0%} in one forward:\n"
            + "\n".join(_line(name, row) for row in rows)
            + "\nNo bundle was written. Calibrate with prompts of your own, or choose another precision."
        )
    return rows


def _row(loss: Loss) -> ParityRow:
    verdict = "PASS" if loss.largest <= LOSS else "FAIL"
    return ParityRow(loss.graph, f"{loss.kind}, root mean square", loss.largest, loss.mean, verdict)


def _line(name: str, row: ParityRow) -> str:
    return f"{name:6} {row.graph:9} {row.check:45} {row.max_error:9.1e} {row.mean_error:9.1e}  {row.verdict}"
