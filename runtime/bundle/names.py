"""Bundles that come with a2d, by name: the folders in which a wheel and a checkout keep them.

Knows folders and commands; opens no bundle.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ...engines.errors import BundleError
from ...engines.paths import real_path

__all__ = ["BUILT_IN", "FRAMES", "SHOTS", "BuiltIn", "installed", "is_bundle", "located", "made", "no_bundle"]

ROOT = Path(__file__).parent.parent.parent
"""Folder of the package: the repository's root in a checkout."""

MANIFEST = "manifest.json"

FRAMES = ROOT / "examples" / "slate" / "frames"
"""Frames with their truth that the slate reader has not seen, in a wheel as in a checkout."""

SHOTS = ROOT / "examples" / "animatic" / "shots.csv"
"""A list of shots for the animatic, in a wheel as in a checkout."""


@dataclass(frozen=True)
class BuiltIn:
    """One bundle that comes with a2d."""

    name: str
    does: str
    """Its use, in words that fit a list."""
    command: str
    """Command that makes it in a checkout."""


BUILT_IN = {
    one.name: one
    for one in (
        BuiltIn("slate", "reads film slates: scene, take, roll, date and frame rate", "make build/slate.a2d"),
        BuiltIn("animatic", "films a line of a shot list as a moving sketch", "make build/animatic.a2d"),
    )
}
"""Name to bundle."""


def located(bundle: str | Path) -> Path:
    """Folder of a bundle that was given as a path, or as a text that may be a name of the table.

    A bundle of that name in the working folder goes first. Raises BundleError for a name whose bundle is not here.
    """
    if not isinstance(bundle, str | os.PathLike) or not bundle or "\0" in str(bundle):
        raise BundleError(f"got {bundle!r} as a bundle, expected the path of a folder, or a name: {_names()}")
    name, path = bundle, Path(bundle)
    if not isinstance(name, str) or name not in BUILT_IN or is_bundle(path):
        return path
    found = next((folder for folder in (installed(name), made(name)) if is_bundle(folder)), None)
    if found is None:
        raise BundleError(
            f"{name}: the built-in model is not here: a wheel holds it, and in a checkout `{BUILT_IN[name].command}` "
            f"makes it in {ROOT}"
        )
    return found


def installed(name: str) -> Path:
    """Folder of a built-in bundle in a wheel."""
    return ROOT / "models" / f"{name}.a2d"


def made(name: str) -> Path:
    """Folder of a built-in bundle in a checkout."""
    return ROOT / "build" / f"{name}.a2d"


def is_bundle(path: Path) -> bool:
    """True for a folder with a manifest; whether the manifest is valid is another question."""
    return (path / MANIFEST).is_file()


def no_bundle(path: Path) -> str:
    """A line on a path that is no bundle, with what to do about it."""
    text, name = str(path), real_path(path).name
    from difflib import get_close_matches  # noqa: PLC0415 - for a name that is none

    near = get_close_matches(text, BUILT_IN, 1)
    hub = text.count("/") == 1 and not path.parent.exists() and path.suffix != ".a2d"
    fetch = f"hf download {text} [local_dir={name}], then a2d-export {name} -o {name}.a2d"
    made_by = "a bundle is a folder, made by a2d-export CHECKPOINT -o NAME.a2d"
    found = (
        ((path / MANIFEST).is_symlink(), f"has a link as {MANIFEST}; copy the bundle's files, or export it again"),
        ((path / "config.json").is_file(), f"is a checkpoint; make a bundle of it: a2d-export {path} -o {name}.a2d"),
        (path.is_dir(), f"has no {MANIFEST}; {made_by}"),
        (path.exists(), f"is not a folder; {made_by}"),
        (bool(near), f"is not a folder; did you mean the built-in model {', '.join(near)}?"),
        (hub, f"is not a folder. If it is a Hugging Face id: a2d downloads nothing; {fetch}"),
        (True, f"is not a folder; {made_by}, or has a name: {_names()}"),
    )
    return f"{path}: {next(said for holds, said in found if holds)}"


def _names() -> str:
    return ", ".join(f"{one.name} ({one.does})" for one in BUILT_IN.values())
