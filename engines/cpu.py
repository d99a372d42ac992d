"""Kinds of processors by the way in which they multiply int8, and the session options with which all compute the same.

AVX2 and AVX-512 without VNNI add two products of an unsigned and a signed byte in 16 bits (`vpmaddubsw`), which
saturates: 255 * 127 * 2 is twice what fits. ONNX Runtime has an option under which both factors are widened before they
are multiplied (`session.x64quantprecision`); by itself it is off. It makes unsigned bytes of signed ones and wants
every zero point spelled out, as calibration does. It is set for every graph where it is needed and nowhere else: the
projection of weights-only precisions multiplies bytes as well.

Knows processors and names of options; runs nothing.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

__all__ = ["KINDS", "CpuKind", "architecture", "faster", "features", "flag_words", "kind_of", "slow", "this_cpu"]

WIDENED = {"session.x64quantprecision": "1"}
"""The option under which products of int8 are widened where they would saturate."""


WEIGHTS = ("int8-weight", "int4-weight")
"""Precisions of weights in groups, which have kernels of their own from AVX2 on."""

FITTING = ("int8-avx2",)
"""Precisions whose codes are made so that no sum of two products saturates; they need no option."""

FASTER = ("int8", "fp32")
"""Precisions to take instead of one that is slow, best first."""


@dataclass(frozen=True)
class CpuKind:
    """One kind of processor."""

    name: str
    arch: str
    """`x86_64` or `aarch64`."""
    needs: tuple[str, ...]
    """Features that a processor of this kind has, by the names of `features`."""
    saturates: bool
    """Its fastest int8 product loses accuracy by itself."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Session options of ONNX Runtime with which they lose none."""
    reason: str = ""
    slower: tuple[str, ...] = ()
    """Precisions in which a step takes longer there than in fp32, as measured (docs/performance.md)."""
    fastest: str = "int8"
    """Precision in which a step of 8 rows is the fastest there, as measured."""

    def options_for(self, precision: str) -> Mapping[str, str]:
        """Session options for graphs of a precision."""
        return {} if precision in FITTING else self.options


KINDS = (
    CpuKind("AMX", "x86_64", ("AVX512_VNNI", "AMX_INT8"), False, {}, "tiles of 32-bit sums"),
    CpuKind("AVX-512 VNNI", "x86_64", ("AVX512_VNNI",), False, {}, "vpdpbusd sums four products in 32 bits"),
    CpuKind("AVX-VNNI", "x86_64", ("AVX2", "AVX_VNNI"), False, {}, "vpdpbusd on 256 bits"),
    CpuKind(
        "AVX-512", "x86_64", ("AVX512F",), True, WIDENED, "vpmaddubsw sums two products in 16 bits", fastest="int8-avx2"
    ),
    CpuKind("AVX2", "x86_64", ("AVX2",), True, WIDENED, "vpmaddubsw sums two products in 16 bits", fastest="int8-avx2"),
    CpuKind("SSE4", "x86_64", (), False, {}, "bytes are widened before they are multiplied", WEIGHTS),
    CpuKind("i8mm", "aarch64", ("I8MM",), False, {}, "smmla and usmmla sum eight products in 32 bits"),
    CpuKind("dot product", "aarch64", ("ASIMDDP",), False, {}, "sdot and udot sum four products in 32 bits"),
    CpuKind("NEON", "aarch64", (), False, {}, "products of bytes are 16 bits wide and summed in 32"),
)
"""Kinds, the most capable first; each architecture ends with one that needs nothing, so every processor has a row."""

UNKNOWN = CpuKind("unknown", "", (), False, {}, "an architecture that nobody has looked at")

WORDS = {
    "avx2": "AVX2",
    "avx512f": "AVX512F",
    "avx512_vnni": "AVX512_VNNI",
    "avx_vnni": "AVX_VNNI",
    "amx_int8": "AMX_INT8",
    "asimddp": "ASIMDDP",
    "i8mm": "I8MM",
}
"""Words of /proc/cpuinfo to features."""

NAMES = {
    "AVX2": ("AVX2",),
    "AVX512F": ("AVX512F",),
    "AVX512_VNNI": ("AVX512VNNI", "AVX512_CLX", "AVX512_ICL"),
    "AMX_INT8": ("AVX512_SPR",),
    "ASIMDDP": ("ASIMDDP",),
}
"""Features to the names under which NumPy knows them, or groups that stand for them; its releases differ."""


def kind_of(arch: str, found: Iterable[str]) -> CpuKind:
    """The kind of a processor of `arch` (`x86_64`, `aarch64`) with these features."""
    have = set(found)
    fitting = (kind for kind in KINDS if kind.arch == arch and have.issuperset(kind.needs))
    return next(fitting, UNKNOWN)


def slow(precision: str, kind: CpuKind | None = None) -> str | None:
    """A sentence for whoever uses `precision` on a kind of processor, this one by default, where fp32 is faster."""
    here = kind or this_cpu()
    if precision not in here.slower:
        return None
    instead = next(name for name in FASTER if name not in here.slower)
    return f"{precision}: on a {here.name} processor a step takes longer than in fp32; take {instead} here"


def faster(precision: str, kind: CpuKind | None = None) -> str | None:
    """A sentence for whoever makes int8 on a kind of processor, this one by default, that has a faster form of it."""
    here = kind or this_cpu()
    if precision != "int8" or here.fastest == "int8":
        return None
    return f"int8: on a {here.name} processor {here.fastest} is faster (docs/performance.md), and nowhere slower"


def architecture(machine: str) -> str:
    """`x86_64` or `aarch64`, whatever a system calls it."""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine.lower())


def flag_words(cpuinfo: str) -> frozenset[str]:
    """Words of /proc/cpuinfo for what the first processor can do."""
    line = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return frozenset(line[1].split() if line else ())


def features(cpuinfo: str, told: Mapping[str, bool]) -> frozenset[str]:
    """Features by the words of /proc/cpuinfo and by `told`, which asks the processor itself: NumPy's name to presence.

    Where they contradict each other, the file is of another machine (an emulator shows the one below it), and the
    processor is believed; else the file says more.
    """
    asked = {feature for feature, names in NAMES.items() if any(name in told for name in names)}
    own = {feature for feature in asked if any(told.get(name) for name in NAMES[feature])}
    words = {WORDS[word] for word in flag_words(cpuinfo) & WORDS.keys()}
    others = words & asked - own or own - {"AMX_INT8"} - words  # its group stands for it, and may be there without
    return frozenset(own if others else words)


@cache
def this_cpu() -> CpuKind:
    """The kind of the processor that runs this process."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux: what NumPy asks of the processor is all there is
        info = ""
    return kind_of(architecture(platform.machine()), features(info, _told()))


def _told() -> Mapping[str, bool]:
    """Features that NumPy has asked the processor for, on every system; empty where a NumPy does not say them."""
    core = getattr(np, "_core", None) or getattr(np, "core", None)
    found: Mapping[str, bool] = getattr(getattr(core, "_multiarray_umath", None), "__cpu_features__", {})
    return found
