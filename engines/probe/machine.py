"""Facts of this machine: processor, memory, GPUs, Jetson, libraries. Reads, never changes; loads no vendor's library.

Everything outside Python is asked below a root folder or through a function, so that a test can be any machine.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..cpu import architecture, flag_words
from .driver import Adapter, Driver, ask, library_name
from .jetson import Jetson, jetson_at, text_of
from .packages import Packages, installed

__all__ = ["Facts", "facts", "processor"]

FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "amx_int8": "AMX int8",
    "asimddp": "dot products",
    "i8mm": "int8 products",
    "sve": "SVE",
}
"""Instruction sets that decide how fast int8 is, by the kernel's names."""


@dataclass(frozen=True)
class Facts:
    """One machine."""

    system: str
    """`Linux`, `Windows`, `Darwin`."""
    arch: str
    """`x86_64`, `aarch64`, as everywhere in a2d whatever the system says."""
    python: str
    processor: str
    features: tuple[str, ...]
    cores: int
    memory_bytes: int | None
    available_bytes: int | None
    """Memory that could be taken now, in bytes."""
    driver: Driver
    jetson: Jetson | None
    packages: Packages

    @property
    def gpu(self) -> Adapter | None:
        """The first GPU, which is what an engine takes unless it is told otherwise."""
        return self.driver.adapters[0] if self.driver.adapters else None

    @property
    def sm(self) -> int | None:
        """The GPU's compute capability: by the driver, or of a Jetson whose driver gives no answer."""
        return self.gpu.sm if self.gpu else self.jetson.sm if self.jetson else None

    @property
    def unified(self) -> bool:
        """True where the GPU and the processor share one memory."""
        return self.jetson is not None or bool(self.gpu and self.gpu.integrated)


def facts(
    root: Path = Path("/"),
    asking: Callable[[str | None], Driver] = ask,
    packages: Callable[[Path], Packages] = installed,
) -> Facts:
    """The machine whose files lie below `root`, with the driver and the packages that the functions tell of."""
    total, available = _memory(root)
    info = text_of(root / "proc/cpuinfo", 1 << 16) or ""
    driver = asking(library_name())
    return Facts(
        system=platform.system(),
        arch=architecture(platform.machine()),
        python=platform.python_version(),
        processor=_processor(info),
        features=_features(info),
        cores=os.cpu_count() or 1,
        memory_bytes=total,
        available_bytes=available,
        driver=replace(driver, release=_release(root) or driver.release),
        jetson=jetson_at(root),
        packages=packages(root),
    )


def processor(root: Path = Path("/")) -> str:
    """Name of the processor."""
    return _processor(text_of(root / "proc/cpuinfo", 1 << 16) or "")


def _processor(info: str) -> str:
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _features(info: str) -> tuple[str, ...]:
    words = flag_words(info)
    return tuple(name for word, name in FEATURES.items() if word in words)


def _release(root: Path) -> str | None:
    """The kernel module's version: `NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue ...`."""
    found = re.search(r"Kernel Module.*?\s(\d{3,}\.\d[\d.]*)\s", text_of(root / "proc/driver/nvidia/version") or "")
    return found[1] if found else None


def _memory(root: Path) -> tuple[int | None, int | None]:
    """All memory and what is available, in bytes."""
    info = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", text_of(root / "proc/meminfo") or "", re.MULTILINE))
    if info:
        total, available = (1024 * int(info[name]) if name in info else None for name in ("MemTotal", "MemAvailable"))
        return total, available
    if sys.platform == "win32":
        return _windows_memory()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    except (OSError, ValueError):
        return None, None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("rest", ctypes.c_uint64 * 5),
    )


def _windows_memory() -> tuple[int | None, int | None]:
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - a type checker on another system has no windll
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return status.total, status.available
