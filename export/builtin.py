"""Bundles of checkpoints that come with a2d's source, exported when they are first asked for.

`__main__` hands them to the commands that want one: the runtime does not know that there is an exporter. In a wheel the
bundles lie ready, and nothing is exported.
"""

from __future__ import annotations

from pathlib import Path

from ..engines.errors import BundleError
from ..runtime.bundle.files import Bundle
from ..runtime.bundle.names import ROOT, installed, is_bundle, made
from .cli import main as export

__all__ = ["slate"]


def slate(quiet: bool = False) -> Path | None:
    """The slate reader's bundle: the wheel's, or that of the source tree's build folder; None where there is neither.

    In a source tree it is exported once, and again when a file of the checkpoint is newer than its bundle, or the
    bundle of another version.
    """
    if is_bundle(installed("slate")):
        return installed("slate")
    checkpoint, bundle = ROOT / "examples" / "slate" / "model", made("slate")
    manifest = bundle / "manifest.json"
    if not (checkpoint / "model.safetensors").is_file():
        return bundle if manifest.is_file() else None
    if not _readable(bundle) or manifest.stat().st_mtime < _changed(checkpoint):
        status = export([str(checkpoint), "-o", str(bundle), "--force", *(["--quiet"] if quiet else [])])
        return bundle if status == 0 else None
    return bundle


def _changed(checkpoint: Path) -> float:
    """Time of the last change of one of a checkpoint's files."""
    return max(file.stat().st_mtime for file in checkpoint.iterdir())


def _readable(bundle: Path) -> bool:
    try:
        Bundle.open(bundle)
    except BundleError:
        return False
    return True
