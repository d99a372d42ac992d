"""Forms of film that this installation can write: movies, pictures, lists of shots. Knows packages, not films."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from ...engines.install import extra

__all__ = ["Forms", "forms_here"]

Forms = dict[str, str]
"""Form to how it is written here, or to what is missing."""


def forms_here(has: Callable[[str], bool] = lambda name: find_spec(name) is not None) -> Forms:
    """Each form of film and its state; nothing is loaded for those that are missing. `has` tells of a package."""
    made: Forms = {"PNG": "yes"}
    if has("av"):
        from .movie import codecs_here  # noqa: PLC0415 - only where the package is there

        made |= {
            ending: codec or "no: this PyAV was built without its codec; write PNG files"
            for ending, codec in codecs_here().items()
        }
    else:
        made["movies"] = f"no: needs av (PyAV); {extra('log')}"
    made["lists of shots"] = "yes" if has("opentimelineio") else f"no: needs opentimelineio; {extra('log')}"
    return made
