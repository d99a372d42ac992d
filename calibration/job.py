"""One calibration from beginning to end: bundle directory in, bundle directory with quantized variants out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..engines import load_engine
from ..engines.cpu import faster, slow
from ..engines.errors import BundleError, RequestError
from ..engines.paths import real_path
from ..engines.protocol import Signature
from ..engines.targets import require
from ..runtime.bundle.files import Bundle
from ..runtime.bundle.manifest import Manifest, Variant
from ..runtime.bundle.staging import Staging, check_space
from ..runtime.console.lines import size, span
from ..runtime.decode.options import Options
from ..runtime.heap import release
from .collect import samples
from .collect.duration import answer_tokens, expected_seconds
from .collect.observer import ObservedModel
from .collect.recording import FIRST, Kept, Recording, key_of, record
from .quantize.adopt import adopt
from .quantize.assign import Decision, decide
from .quantize.merge import MERGES
from .quantize.recipes import Recipe
from .quantize.summary import CALIBRATION, summary
from .source.smoothquant import Smoothed
from .source.source import SOURCE, Source

__all__ = ["Job", "calibrate"]

STRATA = ("all", "prefill")

QUANTIZING = 25e-9
"""Seconds for a byte of the source, of one precision: measured on a core of a Sapphire Rapids (AVX-512, VNNI)."""

TOLD = {"relief": "relieved: wider numbers", "high": f"stays {SOURCE}", "weights": "weights alone"}
"""Words for what became of a layer; the rest are called by their form."""


@dataclass(frozen=True)
class Job:
    """One calibration, as it is asked for."""

    bundle: Path
    output: Path
    recipes: tuple[Recipe, ...]
    keep: tuple[str, ...] | None = None
    """Precisions of the bundle that its successor holds as well; None is all."""
    data: Path | None = None
    prompt: str | None = None
    samples: int = 64
    seed: int = 0
    options: Options = field(default_factory=Options)
    """Options that samples are decoded with while they are recorded."""
    capped: bool = True
    """Answers are no longer than it takes to show every kind of row (`answer_tokens`)."""
    merge: str | None = None
    """None is each recipe's own."""
    strata: str = "all"
    target: str = "cpu"
    threads: int | None = 1
    consume: bool = False
    """The bundle was made to be calibrated: its files are moved, not copied."""
    force: bool = False
    quiet: bool = False

    def check(self) -> None:
        """Raise RequestError for what can be known to be wrong before anything is computed."""
        for recipe in self.recipes:
            require(self.target, recipe.name)
        if self.merge is not None and self.merge not in MERGES:
            rows = "\n".join(f"  {name:<11} {what}" for name, (_, what) in MERGES.items())
            raise RequestError(f"the setting merge: got {self.merge!r}, expected one of\n{rows}")
        if self.strata not in STRATA:
            raise RequestError(f"the setting strata: got {self.strata!r}, expected one of {', '.join(STRATA)}")
        if self.data is not None:
            samples.load(self.data, self.prompt, self.samples, self.seed)


def calibrate(job: Job, say: Callable[[str], None] = lambda _: None) -> Manifest:
    """Write the bundle, and tell `say` what was found.

    Raises A2DError: BundleError (reading, writing), RequestError (data, names), NumericsError. Nothing half written
    is left then; what was recorded so far is kept beside the output, and the same command goes on from there.
    """
    job.check()
    bundle = Bundle.open(job.bundle)
    variant = _source(bundle)
    made_anew = {recipe.name for recipe in job.recipes}
    kept = [n for n in (bundle.manifest.variants if job.keep is None else job.keep) if n not in made_anew]
    check_space(job.output, len(job.recipes) * variant.weights_bytes // 2)
    with Staging(job.output, job.force) as staging:
        adopt(bundle, staging, kept, job.consume)
        recording = _recording(job, bundle, staging, say)
        release()  # the model that was observed
        say(_quantizing(job, variant))
        made = {r.name: _variant(job, r, bundle, staging, recording, say) for r in job.recipes}
        staging.add(CALIBRATION, summary(recording, {name: d for name, (_, d) in made.items()}).encode())
        manifest = _manifest(bundle, staging, kept, {name: v for name, (v, _) in made.items()})
        _try(staging.path, manifest, job)
        _clear(staging, manifest)
        staging.publish(manifest.dumps())
    _kept_file(job).remove()
    say(_done(job, manifest))
    return manifest


def _source(bundle: Bundle) -> Variant:
    if SOURCE not in bundle.manifest.variants:
        held = ", ".join(bundle.manifest.variants)
        raise BundleError(
            f"{bundle.path} holds {held}; calibration decodes in {SOURCE}: a2d-export CHECKPOINT [precision={SOURCE}]"
        )
    return bundle.variant(SOURCE)


def _recording(job: Job, bundle: Bundle, staging: Staging, say: Callable[[str], None]) -> Recording:
    """Statistics of the samples: those of the bundle if they are of the same, or else new ones."""
    strengths = tuple(sorted({r.smooth for r in job.recipes if _is_recorded(r)}))
    if not strengths:
        return Recording("none")
    files, model = bundle.manifest.files, ObservedModel.of(bundle, staging.path)
    data, options = samples.chosen(model, job.data, job.prompt, job.samples, job.seed), _options(job, bundle)
    for note in (*data.notes, *_unseen(bundle, data)):
        say(note)
    variant = bundle.variant(SOURCE)
    hashes = {name: files[name].sha256 for name in (*variant.graphs.values(), variant.weights)}
    key, kept = key_of(hashes, data, options, strengths), _kept_file(job)
    found = _cached(bundle, key)
    if found is not None:
        say(f"calibration of {found.samples} samples found in {bundle.path}; nothing is recorded anew")
        return found
    source = Source(staging.path, variant.graphs)
    begun = kept.load(key) or Recording(key)
    say(_expected(model, data, options, begun, any(strengths)))
    made = record(model, source, data, options, begun, strengths, kept, job.quiet, say)
    if made.left_out:
        say(f"{len(made.left_out)} samples do not fit the context and were left out: {', '.join(made.left_out[:4])}")
    return made


def _quantizing(job: Job, variant: Variant) -> str:
    seconds = len(job.recipes) * (1 + variant.weights_bytes * QUANTIZING)
    names = ", ".join(recipe.name for recipe in job.recipes)
    return f"quantizing {size(variant.weights_bytes)} of weights to {names}: about {span(seconds)} on this machine"


def _options(job: Job, bundle: Bundle) -> Options:
    """The job's, with a length for answers."""
    enough = answer_tokens(job.options.block_size or bundle.manifest.decode.block_size)
    return replace(job.options, max_tokens=min(job.options.max_tokens, enough)) if job.capped else job.options


def _expected(model: ObservedModel, data: samples.Data, options: Options, begun: Recording, twice: bool) -> str:
    """The time that it will take, for people who wait."""
    left = len(data.samples) - begun.samples
    seconds = expected_seconds(model, data, options, 1 / FIRST if twice and not begun.factors else 0.0)
    lasts = "" if seconds is None else f": about {span(seconds * left / len(data.samples))} on this machine"
    return f"decoding {left} samples, up to {options.max_tokens} tokens each{lasts}"


def _unseen(bundle: Bundle, data: samples.Data) -> list[str]:
    """A warning where the model sees pictures and no sample has one."""
    if bundle.manifest.vision is None or any(sample.images for sample in data.samples):
        return []
    return ["warning: no sample has a picture: the vision tower was not seen, and its products stay in float"]


def _is_recorded(recipe: Recipe) -> bool:
    return recipe.activations is not None


def _cached(bundle: Bundle, key: str) -> Recording | None:
    if CALIBRATION not in bundle.manifest.files:
        return None
    raw = json.loads(bundle.file(CALIBRATION).read_text(encoding="utf-8"))
    found = Recording.of(raw.get("recording"))
    return found if found is not None and found.key == key else None


def _kept_file(job: Job) -> Kept:
    output = real_path(job.output)
    return Kept(output.parent / f".{output.name}.recording.json")


def _variant(
    job: Job, recipe: Recipe, bundle: Bundle, staging: Staging, recording: Recording, say: Callable[[str], None]
) -> tuple[Variant, Decision]:
    old = bundle.variant(SOURCE)
    source = Source(staging.path, old.graphs)
    weights = Smoothed(source, recording.factors.get(recipe.smooth, {}))
    seen = recording.seen.get(recipe.smooth, {})
    # Here, because it weighs as much as a small model, and is not to while one is being recorded.
    from .quantize.variant import write_quantized  # noqa: PLC0415

    how = job.merge or recipe.merge
    written = write_quantized(recipe, weights, staging, lambda codes: decide(codes, seen, how, job.strata), job.quiet)
    made, decision = written.variant(old, _step_bytes(written.file.sizes, source)), written.decision
    release()
    say(_told(decision, old, made))
    if job.target == "cpu" and (note := slow(recipe.name)):
        say(f"warning: {note}")
    if job.target == "cpu" and (note := faster(recipe.name)):
        say(f"note: {note}")
    return made, decision


def _step_bytes(sizes: Mapping[str, int], source: Source) -> int:
    """Bytes that a step reads, as the exporter counts them: all but the vision tower and a table for lookups alone."""
    looked_up = _key_of(source, "embedding") if _key_of(source, "embedding") != _key_of(source, "lm_head") else None
    skipped = {_key_of(source, name) for name in source.tensors if name.startswith("vision.")} | {looked_up}
    return sum(bytes_ for key, bytes_ in sizes.items() if key.split(".")[0] not in skipped)


def _key_of(source: Source, name: str) -> str:
    return str(source.tensors[name].offset) if name in source.tensors else ""


def _told(decision: Decision, old: Variant, made: Variant) -> str:
    recipe, high = decision.recipe, [n for n, layer in decision.layers.items() if layer.form == "high"]
    lines = [
        f"{recipe.name}: {size(made.weights_bytes)}, {made.weights_bytes / old.weights_bytes:.2f} of {SOURCE}",
        f"  stays high: {', '.join(high) if 0 < len(high) <= 6 else f'{len(high)} of {len(decision.layers)} products'}",
        "  layers by the error that would be expected of their output, and what became of them:",
    ]
    lines += [
        f"    {layer.error:7.2%}  {layer.name}, {TOLD.get(layer.form, layer.form)}"
        for layer in decision.worst_first()[:5]
    ]
    return "\n".join(lines)


def _manifest(bundle: Bundle, staging: Staging, kept: Iterable[str], made: dict[str, Variant]) -> Manifest:
    variants = {name: bundle.manifest.variants[name] for name in kept}
    return replace(bundle.manifest, variants=variants | made, files=staging.records())


def _try(path: Path, manifest: Manifest, job: Job) -> None:
    """Run every new graph once: one that the checker takes may still be one that no kernel does."""
    spec = manifest.vision
    window = 1 if spec is None else (spec.window_size // spec.patch_size) ** 2
    sizes = {"keys": 2, "patches": window}  # of one row behind a cached one, and of one window; else one
    for recipe in job.recipes:
        for file in manifest.variants[recipe.name].graphs.values():
            engine = load_engine("onnxruntime", path / file, precision=recipe.name, threads=job.threads)
            engine.run({name: _filled(port, sizes) for name, port in engine.inputs.items()})
            del engine
            release()


def _filled(port: Signature, sizes: Mapping[str, int]) -> np.ndarray[Any, np.dtype[Any]]:
    """Zeros for an input; true where it asks yes or no."""
    shape = [size if isinstance(size, int) else sizes.get(size, 1) for size in port.shape]
    return np.ones(shape, port.dtype) if port.dtype == "bool" else np.zeros(shape, port.dtype)


def _clear(staging: Staging, manifest: Manifest) -> None:
    """Remove what was needed on the way only."""
    for path in staging.path.iterdir():
        if path.name not in manifest.files:
            path.unlink()


def _done(job: Job, manifest: Manifest) -> str:
    data = "" if job.data is None else f" data={job.data}"
    against = f" against={SOURCE}" if SOURCE in manifest.variants else ""
    first = job.recipes[0].name
    held = f"{job.output}: {', '.join(manifest.variants)}"
    return f"{held}\nnext: a2d verify {job.output} [precision={first}{against}{data}]"
