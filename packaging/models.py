"""The built-in models as a wheel carries them, one folder for each: the slate reader in fp16 and in int8, calibrated on
rendered frames, and the animatic in fp16.

    python packaging/models.py build/models

Wants the extra `export`. A model whose folder is newer than its checkpoint is left as it is. fp16 is
what a CPU decodes by default (it computes in fp32), int8 a third of fp32's size; docs/quantization.md has what is lost.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from a2d.__main__ import export_main
from a2d.engines.errors import BundleError
from a2d.runtime.bundle.files import MANIFEST, Bundle

ROOT = Path(__file__).parent.parent
SAMPLES = 64
"""Frames to calibrate on."""


@dataclass(frozen=True)
class Source:
    """One built-in model's checkpoint, and samples for its calibration."""

    checkpoint: Path
    precisions: str
    samples: Callable[[Path], Path] | None = None
    """Writes samples for a calibration into a folder, and returns their index."""


def slates(folder: Path) -> Path:
    """Rendered slates of the set hard, with the question that the reader is asked."""
    sys.path.insert(0, str(ROOT / "examples" / "slate"))
    from PIL import Image  # noqa: PLC0415
    from recipe.sets import frames  # noqa: PLC0415
    from recipe.words import QUESTION  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, sample in enumerate(frames("hard", SAMPLES)):
        file = f"{number:03}.png"
        Image.fromarray(sample.pixels).save(folder / file)
        rows.append({"prompt": QUESTION, "images": [file]})
    index = folder / "samples.jsonl"
    index.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return index


SOURCES = {
    "slate": Source(ROOT / "examples" / "slate" / "model", "fp16,int8", slates),
    "animatic": Source(ROOT / "examples" / "animatic" / "model", "fp16"),
}
"""Name of a built-in model to its source."""


def build(name: str, folder: Path) -> int:
    """The bundle of one model in `folder`; returns the exit status."""
    source, bundle = SOURCES[name], folder / f"{name}.a2d"
    if _fresh(bundle, source.checkpoint):
        print(f"{bundle} is newer than {source.checkpoint}")
        return 0
    flags = ["--precision", source.precisions, "--force"]
    if source.samples is not None:
        flags += ["--data", str(source.samples(folder / ".samples" / name)), "--samples", str(SAMPLES)]
    return export_main([str(source.checkpoint), "-o", str(bundle), *flags])


def _fresh(bundle: Path, checkpoint: Path) -> bool:
    """True for a bundle of this version's schema that is newer than its checkpoint."""
    newest = max(file.stat().st_mtime for file in checkpoint.rglob("*"))
    try:
        return Bundle.open(bundle).file(MANIFEST).stat().st_mtime > newest
    except BundleError:
        return False


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    return max(build(name, folder) for name in SOURCES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
