"""Installed libraries that engines run on, and their flavours. Reads metadata; imports none of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from ..install import DISTRIBUTION
from ..tensorrt.libraries import LIBRARIES

__all__ = ["MODULES", "Package", "Packages", "installed"]

MODULES = {
    "a2d": (DISTRIBUTION,),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"),
    **{name: library.distributions for name, library in LIBRARIES.items()},
    "cuda": ("cuda-bindings",),
}
"""Python module to the packages that bring it, the plain one first."""


@dataclass(frozen=True)
class Package:
    """One installed package."""

    module: str
    distribution: str
    version: str

    @property
    def cuda(self) -> int | None:
        """The CUDA that its name says it was built for: 13 of `tensorrt-cu13`."""
        found = re.search(r"-cu(\d+)$", self.distribution)
        return int(found[1]) if found else None


@dataclass(frozen=True)
class Packages:
    """Installed packages with their versions."""

    found: tuple[Package, ...]
    unnamed: tuple[str, ...] = ()
    """Modules that are there, but belong to no package that is known here."""
    nvinfer: str | None = None
    """Version of TensorRT's library among the system's own, as a Jetson has it; None if there is none."""
    toolkit: str | None = None
    """Version of the CUDA toolkit in its usual place."""

    def of(self, module: str) -> tuple[Package, ...]:
        """The packages that bring `module`."""
        return tuple(package for package in self.found if package.module == module)

    def has(self, module: str) -> bool:
        """True where Python would find the module."""
        return bool(self.of(module)) or module in self.unnamed

    def version(self, module: str) -> str | None:
        """The module's version; None if there is none, or if it does not tell without being imported."""
        return next((package.version for package in self.of(module)), None)

    def cuda(self, module: str) -> int | None:
        """The CUDA that the module was built for, where a package's name tells."""
        return max((package.cuda for package in self.of(module) if package.cuda is not None), default=None)

    def clash(self, module: str) -> str | None:
        """Why the module's packages cannot all be meant: they write into one folder, and the last one wins."""
        packages = self.of(module)
        flavours = {package.cuda for package in packages if package.cuda is not None}
        mixed = module == "onnxruntime" and len(packages) > 1
        if not mixed and len(flavours) < 2 and len({package.version for package in packages}) < 2:
            return None
        names = [f"{package.distribution} {package.version}" for package in packages]
        away = " ".join(package.distribution for package in packages)
        return (
            f"{' and '.join(names)} are both installed as {module!r}, and overwrite each other: pip uninstall {away}, "
            "then install the one you want"
        )


def installed(root: Path, lookup: Callable[[str], str] = metadata.version) -> Packages:
    """Packages that are installed here, the system's own libraries below `root`."""
    found = [
        Package(module, name, version)
        for module, names in MODULES.items()
        for name in names
        if (version := _version(name, lookup)) is not None
    ]
    named = {package.module for package in found}
    here = root == Path(root.anchor) and lookup is metadata.version
    unnamed = tuple(m for m in MODULES if here and m not in named and m not in ("a2d", "cuda") and _importable(m))
    return Packages(tuple(found), unnamed, _nvinfer(root), _toolkit(root))


def _version(name: str, lookup: Callable[[str], str]) -> str | None:
    try:
        return lookup(name)
    except metadata.PackageNotFoundError:
        return None


def _importable(module: str) -> bool:
    try:
        return util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _nvinfer(root: Path) -> str | None:
    files = sorted(root.glob("usr/lib/*-linux-gnu/libnvinfer.so.*.*.*"))
    return files[-1].name.removeprefix("libnvinfer.so.") if files else None


def _toolkit(root: Path) -> str | None:
    try:
        text = (root / "usr/local/cuda/version.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]+)"', text)
    return found[1] if found else None
