"""Bundles of checkpoints that come with a2d's source, exported when they are first asked for.

`__main__` hands them to the commands that want one: the runtime does not know that there is an exporter.
"""

from __future__ import annotations

from pathlib import Path

from ..engines.errors import BundleError
from ..runtime.bundle.files import Bundle
from .cli import main as export

__all__ = ["slate"]

ROOT = Path(__file__).parent.parent


def slate(quiet: bool = False) -> Path | None:
    """The slate reader's bundle, in the source tree's build folder; None where a2d runs without its source.

    Exported once, and again when the checkpoint is newer than its bundle, or the bundle of another version.
    """
    checkpoint, bundle = ROOT / "examples" / "slate" / "model", ROOT / "build" / "slate.a2d"
    weights, manifest = checkpoint / "model.safetensors", bundle / "manifest.json"
    if not weights.is_file():
        return bundle if manifest.is_file() else None
    if not _readable(bundle) or manifest.stat().st_mtime < weights.stat().st_mtime:
        status = export([str(checkpoint), "-o", str(bundle), "--force", *(["--quiet"] if quiet else [])])
        return bundle if status == 0 else None
    return bundle


def _readable(bundle: Path) -> bool:
    try:
        Bundle.open(bundle)
    except BundleError:
        return False
    return True
