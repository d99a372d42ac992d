"""`a2d inspect`: what a bundle holds, and whether it is whole."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..bundle.files import Bundle
from ..bundle.manifest import Manifest, Words
from ..deploy.engine_set import engine_sets
from ..film.contract import FilmContract
from ..film.options import FilmOptions, settled
from ..inputs.patches import VisionSpec
from ..schema import to_json
from .arguments import Parser, add_bundle, guarded

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(prog="a2d inspect", description="Print what a bundle holds, and check every file of it.")
    add_bundle(parser)
    parser.add_argument("--json", action="store_true", help="print the manifest itself")
    return guarded("a2d inspect", lambda: _inspect(parser.parse_args(argv)))


def _inspect(arguments: argparse.Namespace) -> int:
    bundle = Bundle.open(arguments.bundle)
    bundle.check()
    print(bundle.manifest.dumps() if arguments.json else "\n".join([*_lines(bundle.manifest), *_engines(bundle.path)]))
    return 0


def _lines(m: Manifest) -> Iterator[str]:
    yield f"{m.name}: {m.family}, exported by {m.producer} (schema {m.schema})"
    yield from () if m.words is None else _words(m.words)
    yield from () if m.film is None else _film(m.film)
    for precision, variant in m.variants.items():
        yield f"  {precision:<8} {_size(variant.weights_bytes)} of weights; {', '.join(variant.graphs)}"
        for row in variant.parity:
            errors = f"max {row.max_error:.1e} mean {row.mean_error:.1e}"
            yield f"           {row.graph:<13} {row.check:<44} {errors} {row.verdict}"
    total = sum(record.bytes for record in m.files.values())
    yield f"  files    {len(m.files)}, {_size(total)}, all as the manifest says"


def _words(w: Words) -> Iterator[str]:
    yield from _wrapped("model", [f"{name} {value:,}" for name, value in to_json(w.model).items()])
    decode = {name: value for name, value in to_json(w.decode).items() if value not in (None, [])}
    yield from _wrapped("decode", [f"{name} {value}" for name, value in decode.items()])
    yield f"  text     {w.text.tokenizer or 'token ids only'}{', chat template' if w.text.chat_template else ''}"
    if w.text.default_prompt is not None:
        yield f"  prompt   {w.text.default_prompt!r} where none is given"
    for sentence in w.text.sentences:
        yield f"  answers  {textwrap.shorten(repr(sentence), 110, placeholder=' ...')}"
    if w.vision is not None:
        yield f"  vision   {_frames(w.vision)}, patches of {w.vision.patch_size}"


def _engines(bundle: Path) -> Iterator[str]:
    """Sets of engines that were built into the bundle."""
    for built in engine_sets(bundle / "engines"):
        r = built.record
        gpus = ",".join(map(str, r.sms))
        yield f"  engines  {r.library} for sm {gpus}, {r.precision}, context {r.context:,}"


def _wrapped(head: str, parts: Sequence[str]) -> Iterator[str]:
    """Parts by comma, in lines that a terminal holds."""
    yield from textwrap.wrap(", ".join(parts), 110, initial_indent=f"  {head:<9}", subsequent_indent=" " * 11)


def _film(f: FilmContract) -> Iterator[str]:
    n, s = f.network, f.schedule
    yield f"  film     {f.frames} frames of {f.height}x{f.width} at {f.fps:g} a second, unless asked otherwise"
    yield f"  network  layers {n.layers}, heads {n.heads}, head_dim {n.head_dim}"
    if f.towers is None:
        seen = "all before it" if f.window is None else f"{f.window} latent frames, {f.sink} of them the first ones"
        yield f"  blocks   {f.block_frames} latent frames; a block sees {seen}; commits are {f.commit}"
    else:
        yield f"  blocks   one, the whole clip; guidance {f.towers.guidance.scale:g} unless asked otherwise"
        key = "a key of its own" if f.towers.own_key else "the reader's own key"
        yield f"  prompt   up to {f.text.length:,} tokens, read by the tower of words; rows attend {key}"
    others = f"; or in {', '.join(s.others)}" if s.others else "; or in any number" if s.sampler else ""
    yield f"  steps    {len(s.first)} in the first block, {len(s.rest)} in the others{others}"
    for name in f.presets:
        yield from _wrapped("preset" if name == next(iter(f.presets)) else "", [f"{name}: {_preset(f, name)}"])
    yield f"  licence  {f.licence or 'of the weights: the checkpoint says nothing'}"


def _preset(f: FilmContract, name: str) -> str:
    """A row of the table, its values with the contract's where it has none of its own."""
    made = settled(f, FilmOptions(preset=name))
    guided = f", guidance {made.guidance.scale:g}" if f.towers is not None else ""
    decoder = ", the small decoder" if made.small_decoder else ""
    size = f"{made.frames} frames of {made.height}x{made.width} at {made.fps:g} a second"
    return f"{size}, {len(made.rest)} steps{guided}{decoder}: {f.presets[name].what}"


def _frames(spec: VisionSpec) -> str:
    box = spec.letterbox
    if box is not None:
        return f"letterboxed to {box.width} x {box.height} pixels"
    if spec.crops is not None:
        return f"in crops of {spec.crops.size} x {spec.crops.size} pixels, {spec.crops.most} of them in features"
    return f"{spec.min_pixels:,} to {spec.max_pixels:,} pixels"


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
