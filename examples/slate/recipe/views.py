"""One sample of any drawing path, in the model's input size: a pure function of (stream, index) and of the assets.

Knows which paths there are and how often each is drawn; each path draws by itself.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from . import frame
from .camera import fit
from .frame import Sample

__all__ = ["PATHS", "view"]

PATHS = {"classic": 0.3, "boards": 0.7}
"""Share of each path. `classic` is the one of the evaluation sets, in frames of 224 by 112; `boards` is `staged`."""


def view(stream: str, index: int, d: float, size: tuple[int, int], held_out: bool = False, path: str = "") -> Sample:
    """Sample `index` of a stream at difficulty d in a frame of this size; without `path`, one is drawn.

    Raises KeyError for an unknown path.
    """
    rng = Random(f"view/{stream}/{index}")
    if path and path not in PATHS:
        raise KeyError(f"no drawing path {path!r}; there are {', '.join(PATHS)}")
    if (path or rng.choices(list(PATHS), list(PATHS.values()))[0]) == "classic":
        return _fitted(frame.sample(stream, index, d, held_out=held_out), size)
    from .staged import staged  # noqa: PLC0415 - the first path needs no Skia

    return _fitted(staged(rng, d, size, held_out), size)


def _fitted(sample: Sample, size: tuple[int, int]) -> Sample:
    """The same sample in a frame of this size."""
    pixels, scale, (left, top) = fit(sample.pixels, size)
    marks = tuple(replace(m, x=m.x * scale + left, y=m.y * scale + top) for m in sample.marks)
    return replace(sample, pixels=pixels, marks=marks)
