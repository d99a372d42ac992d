"""`a2d inspect`: what a bundle holds, and whether it is whole."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ..bundle.files import Bundle
from ..bundle.manifest import Manifest
from ..inputs.patches import VisionSpec
from ..schema import to_json
from .arguments import Parser, guarded

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(prog="a2d inspect", description="Print what a bundle holds, and check every file of it.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--json", action="store_true", help="print the manifest itself")
    return guarded("a2d inspect", lambda: _inspect(parser.parse_args(argv)))


def _inspect(arguments: argparse.Namespace) -> int:
    bundle = Bundle.open(arguments.bundle)
    bundle.check()
    print(bundle.manifest.dumps() if arguments.json else "\n".join(_lines(bundle.manifest)))
    return 0


def _lines(m: Manifest) -> Iterator[str]:
    yield f"{m.name}: {m.family}, exported by {m.producer} (schema {m.schema})"
    yield "  model    " + ", ".join(f"{name} {value:,}" for name, value in to_json(m.model).items())
    decode = {name: value for name, value in to_json(m.decode).items() if value not in (None, [])}
    yield "  decode   " + ", ".join(f"{name} {value}" for name, value in decode.items())
    yield f"  text     {m.text.tokenizer or 'token ids only'}{', chat template' if m.text.chat_template else ''}"
    if m.text.default_prompt is not None:
        yield f"  prompt   {m.text.default_prompt!r} where none is given"
    if m.vision is not None:
        yield f"  vision   {_frames(m.vision)}, patches of {m.vision.patch_size}"
    for precision, variant in m.variants.items():
        yield f"  {precision:<8} {_size(variant.weights_bytes)} of weights; {', '.join(variant.graphs)}"
        for row in variant.parity:
            errors = f"max {row.max_error:.1e} mean {row.mean_error:.1e}"
            yield f"           {row.graph:<9} {row.check:<44} {errors} {row.verdict}"
    total = sum(record.bytes for record in m.files.values())
    yield f"  files    {len(m.files)}, {_size(total)}, all as the manifest says"


def _frames(spec: VisionSpec) -> str:
    box = spec.letterbox
    if box is not None:
        return f"letterboxed to {box.width} x {box.height} pixels"
    if spec.crops is not None:
        return f"in crops of {spec.crops.size} x {spec.crops.size} pixels, {spec.crops.most} of them in features"
    return f"{spec.min_pixels:,} to {spec.max_pixels:,} pixels"


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
