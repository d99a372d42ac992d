"""TensorRT and TensorRT-RTX: names, releases, ways to install. Imports them by name, and only when asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from ..errors import EngineError
from ..install import extra

__all__ = ["LIBRARIES", "OLDEST", "Library", "imported", "version"]


@dataclass(frozen=True)
class Library:
    """One flavour of TensorRT."""

    name: str
    """Name of its Python module, and of the engine that runs what it builds."""
    title: str
    distributions: tuple[str, ...]
    """Packages that bring it, the plain name first."""
    ahead: bool
    """It builds without a GPU, for GPUs that are named."""
    extra: str
    """The extra of a2d that brings it."""
    elsewhere: str = ""
    """Remark on where it may be already."""

    @property
    def install(self) -> str:
        """Advice for installing it."""
        return "; ".join(filter(None, [extra(self.extra), self.elsewhere]))


LIBRARIES = {
    library.name: library
    for library in (
        Library(
            "tensorrt_rtx",
            "TensorRT-RTX",
            ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
            True,
            "rtx",
        ),
        Library(
            "tensorrt",
            "TensorRT",
            ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
            False,
            "tensorrt",
            "on a Jetson it is part of JetPack (docs/jetson.md)",
        ),
    )
}

OLDEST = (10, 3)
"""The oldest `tensorrt`: the first with strongly typed networks and what else is used here; JetPack 6.2 has it."""


@cache
def imported(name: str) -> Any:
    """The module of a library. Raises EngineError if it is missing, too old, or does not load."""
    library = LIBRARIES[name]
    try:
        module = import_module(name)
    except ImportError as error:
        raise EngineError(f"{library.title} is not installed here: {error}. {library.install}") from error
    except OSError as error:  # its own libraries are loaded by its __init__
        raise EngineError(f"{library.title} is installed, but does not load: {error}. {library.install}") from error
    found = tuple(int(part) for part in str(module.__version__).split(".")[:2])
    if name == "tensorrt" and found < OLDEST:
        raise EngineError(
            f"TensorRT {module.__version__} is here, a2d needs {'.'.join(map(str, OLDEST))}: {library.install}"
        )
    return module


def version(name: str) -> str | None:
    """The version that is installed, without importing it; None if there is none."""
    from importlib import metadata  # noqa: PLC0415 - brings readers of mail, tables and archives; only for a GPU

    for distribution in LIBRARIES[name].distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None
