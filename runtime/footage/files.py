"""The footage that a caller means: files, and folders with footage anywhere below them. Opens none of it.

A folder's clips come in the order in which people count, its own before those of its folders. Hidden files are left
out: macOS leaves `._A001.mov` beside `A001.mov`, which is no clip.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from ...engines.errors import RequestError
from ...engines.paths import real_path
from ..inputs.sources import natural

__all__ = ["RAW", "SUFFIXES", "check_apart", "clips", "empty_folders", "raw_files"]

_CAMERAS = (".mov", ".mp4", ".m4v", ".mkv", ".webm", ".avi", ".mxf", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".vob")
_OTHERS = (".3gp", ".3g2", ".dv", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".gxf", ".lxf", ".y4m", ".nut", ".qt", ".ivf")
# HDV; hard-disk camcorders; programme streams; cameras that see all around, whose files are MP4.
_CAMCORDERS = (".m2t", ".mod", ".tod", ".m2p", ".mpe", ".insv", ".360")
SUFFIXES = (*_CAMERAS, *_OTHERS, *_CAMCORDERS)
"""Endings by which a folder's clips are known, whatever their case. A file that is named itself may have any."""

RAW = {
    ".ari": "ARRIRAW",
    ".arx": "ARRIRAW",
    ".braw": "Blackmagic RAW",
    ".cine": "Phantom Cine",
    ".crm": "Cinema RAW Light",
    ".dng": "CinemaDNG",
    ".mlv": "Magic Lantern",
    ".nev": "N-RAW",
    ".r3d": "REDCODE",
    ".rmf": "Canon RAW",
    ".vrw": "Vision Research",
}
"""Camera raw, which needs its maker's library to be decoded, by its ending."""


def raw_files(sources: Sequence[Path]) -> list[Path]:
    """Absolute paths of camera raw below the folders among `sources`, in the order of `clips`."""
    folders = [absolute(source) for source in sources if source.is_dir()]
    return list(dict.fromkeys(file for folder in folders for file in _below(folder, RAW)))


def empty_folders(sources: Sequence[Path]) -> list[Path]:
    """Folders among `sources` below which there is neither a clip nor camera raw."""
    known = {*SUFFIXES, *RAW}
    return [source for source in sources if source.is_dir() and not any(_below(absolute(source), known))]


def clips(sources: Sequence[Path]) -> list[Path]:
    """Absolute paths of all clips, each once. Raises RequestError for what is not there, or holds no footage."""
    found: dict[Path, None] = {}
    missing, empty = [], []
    for source in map(absolute, sources):
        if not source.exists():
            missing.append(f"{source}: no such file or folder")
            continue
        inside = list(_below(source)) if source.is_dir() else [source]
        empty += [] if inside else [_empty(source)]
        found |= dict.fromkeys(inside)
    if missing or not found:
        raise RequestError("\n".join([*missing, *empty]) or "no footage came; give files or folders")
    return list(found)


def _empty(folder: Path) -> str:
    raw = raw_files([folder])
    held = f"{len(raw)} files of camera raw, which are not read; make proxies, and log those" if raw else "no footage"
    return f"{folder}: {held} in it ({', '.join(SUFFIXES)})"


def check_apart(sources: Sequence[Path], target: Path) -> None:
    """Raise RequestError where the log would be written among footage: into a folder that is to be logged."""
    if target.is_dir():
        raise RequestError(f"{target} is a folder, expected a name that files can be called by: -o {target / 'log'}")
    place = real_path(target).parent
    for source in sources:
        folder = real_path(source)
        if folder.is_dir() and (place == folder or folder in place.parents):
            raise RequestError(
                f"-o {target} lies in the footage folder {source}, which is never written to; choose a place outside"
            )


def absolute(path: Path) -> Path:
    """The path from the root on, its links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps `..`, resolve follows links


def _below(folder: Path, suffixes: Container[str] = SUFFIXES) -> Iterator[Path]:
    entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
    shown = [entry for entry in entries if not entry.name.startswith(".")]
    yield from (Path(e.path) for e in shown if Path(e.name).suffix.lower() in suffixes and e.is_file())
    for entry in shown:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path), suffixes)
