"""Files that a prompt, a command or a clip crosses: those of the four rooms of which a function is entered.

Counted with `sys.setprofile` in all threads. What runs because a module is imported does not count (class bodies,
tables), nor do dataclasses' own methods, which stand in no file.

    python tests/walk.py run BUNDLE --image FRAME     the whole command, flags and opening the bundle included
    python tests/walk.py log CLIP --bundle BUNDLE -o OUT
    python tests/walk.py prompt BUNDLE FRAME          from a prompt and a picture to text, in a model that is open
    python tests/walk.py marker BUNDLE CLIP           from a clip's frames to an EDL's markers, in a reader that is open
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import a2d

ROOT = Path(a2d.__file__).parent
ROOMS = ("engines", "runtime", "calibration", "export")
OPTIMIZED = 1
"""Flag of code that is a function's, and not a class body's or a module's."""


@cache
def place(code: CodeType) -> str | None:
    """File of a function in the rooms, relative to the package."""
    path = Path(code.co_filename)
    if not code.co_flags & OPTIMIZED or not path.is_relative_to(ROOT):
        return None
    name = path.relative_to(ROOT).as_posix()
    return name if name.startswith(ROOMS) else None


def imported(frame: FrameType | None) -> bool:
    """The frame runs because a module is imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def crossed() -> Iterator[set[str]]:
    """The files that are crossed while the context lasts."""
    found: set[str] = set()

    def enter(frame: FrameType, event: str, _: Any) -> None:
        name = place(frame.f_code) if event == "call" else None
        if name is not None and name not in found and not imported(frame):
            found.add(name)

    threading.setprofile(enter)
    sys.setprofile(enter)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def command(*words: str) -> set[str]:
    """Files of a whole command."""
    from a2d.__main__ import main

    with crossed() as found:
        assert main(list(words)) == 0
    return found


def prompt(bundle: str, frame: str) -> set[str]:
    """Files of one prompt with one picture, up to its text, where the bundle is open and its engines are loaded."""
    model = a2d.load(bundle)
    model.generate(images=[frame])
    with crossed() as found:
        assert model.generate(images=[frame]).text
    return found


def marker(bundle: str, clip: str) -> set[str]:
    """Files of a clip's frames, up to the markers of an EDL, where the bundle is open and its engines are loaded."""
    from a2d.runtime.decode.options import Options
    from a2d.runtime.footage.pipeline import Pipeline
    from a2d.runtime.footage.reader import Reader
    from a2d.runtime.footage.sampling import Sampling
    from a2d.runtime.footage.writers import writer
    from a2d.runtime.footage.writers.log import Log, Totals

    reader, edl = Reader(a2d.load(bundle), None, Options()), writer(".edl")

    def walked() -> str:
        clips = [clip for _, clip, _ in Pipeline([Path(clip)], Sampling(), lambda: reader, 1, quiet=True)]
        return "".join(map(str, edl(Log("log", lambda: iter(clips), Totals.of(iter(clips), 0.0), 0.0))))

    walked()
    with crossed() as found:
        assert "|M:" in walked()
    return found


WALKS: dict[str, Callable[..., set[str]]] = {"prompt": prompt, "marker": marker}

if __name__ == "__main__":
    name, *words = sys.argv[1:]
    files = WALKS[name](*words) if name in WALKS else command(name, *words)
    print(*sorted(files), f"{len(files)} files", sep="\n")
