"""a2d: the on-device runtime for autoregressive-to-diffusion models.

>>> import a2d
>>> model = a2d.load("slate.a2d")
>>> print(model.generate("Read the slate.", images=["frame.png"], steps=4).text)

The repository root is this package. Its rooms: `a2d.export` (checkpoint to bundle), `a2d.runtime` (bundle to
tokens), `a2d.engines` (run one graph), `a2d.calibration` (precisions from the real decode loop).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "A2DError",
    "Film",
    "FilmBlock",
    "FilmOptions",
    "Generation",
    "Model",
    "Options",
    "PixelsResult",
    "Prompt",
    "Reading",
    "Result",
    "Session",
    "Snapshot",
    "Step",
    "TextResult",
    "load",
    "over_dataset",
]

if TYPE_CHECKING:
    from .engines.errors import A2DError
    from .runtime.decode.block import Prompt, Step
    from .runtime.decode.options import Options
    from .runtime.decode.result import Result, TextResult
    from .runtime.decode.session import Generation, Session
    from .runtime.each import Reading
    from .runtime.farm.dataset import over_dataset
    from .runtime.film.film import Film, FilmBlock, Snapshot
    from .runtime.film.options import FilmOptions
    from .runtime.film.result import PixelsResult
    from .runtime.load import load
    from .runtime.model import Model

_HOMES = {
    "A2DError": "a2d.engines.errors",
    "Film": "a2d.runtime.film.film",
    "FilmBlock": "a2d.runtime.film.film",
    "FilmOptions": "a2d.runtime.film.options",
    "Generation": "a2d.runtime.decode.session",
    "Model": "a2d.runtime.model",
    "Options": "a2d.runtime.decode.options",
    "PixelsResult": "a2d.runtime.film.result",
    "Prompt": "a2d.runtime.decode.sequence",
    "Reading": "a2d.runtime.each",
    "Result": "a2d.runtime.decode.result",
    "Session": "a2d.runtime.decode.session",
    "Snapshot": "a2d.runtime.film.film",
    "Step": "a2d.runtime.decode.block",
    "TextResult": "a2d.runtime.decode.result",
    "load": "a2d.runtime.load",
    "over_dataset": "a2d.runtime.farm.dataset",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for: `import a2d` alone costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'a2d' has no attribute {name!r}; it offers {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion and `help(a2d)`."""
    return [*__all__, "__all__", "__doc__", "__name__", "__path__", "__version__"]
