"""Kinds of processors that this machine can be taken for, and a program run as one of them.

usage: played.py KIND PROGRAM [ARGUMENT...]     (AVX2, AVX-512, AVX-512 VNNI, AVX-VNNI, SSE4)

Where CPUID can fault (Linux on Intel from Ivy Bridge on, many virtual machines too), `cpuid.c` hides features, and
libraries choose their kernels as on an older processor, at full speed. Elsewhere qemu plays those kinds that it knows.
Both show what the kernels compute. Knows CPUID's bits; not what is run.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import runpy
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PLAYED", "as_kind", "ask", "hides"]

EAX, EBX, ECX, EDX = range(4)

BITS = {
    "AVX": (1, 0, ECX, (12, 28, 29)),  # with FMA and F16C, which nobody has without
    "AVX2": (7, 0, EBX, (5,)),
    "AVX-512": (7, 0, EBX, (16, 17, 21, 26, 27, 28, 30, 31)),
    "AVX-512 VNNI": (7, 0, ECX, (1, 6, 11, 12, 14)),  # with its contemporaries: VBMI, BITALG, VPOPCNTDQ
    "AVX-512 IFMA": (7, 0, EBX, (21,)),
    "AVX-512 FP16": (7, 0, EDX, (2, 3, 8, 23)),
    "AVX-512 BF16": (7, 1, EAX, (5,)),
    "AVX-VNNI": (7, 1, EAX, (4, 23)),  # with AVX-IFMA
    "AVX-VNNI-INT8": (7, 1, EDX, (4, 5, 10)),
    "AMX": (7, 0, EDX, (22, 24, 25)),
    "AMX FP16": (7, 1, EAX, (21,)),
    "AMX COMPLEX": (7, 1, EDX, (8,)),
}
"""Feature to where CPUID shows it: leaf, subleaf, register, bits."""

WORDS = {"AVX2": "avx2", "AVX-512": "avx512f", "AVX-512 VNNI": "avx512_vnni", "AVX-VNNI": "avx_vnni", "AMX": "amx_int8"}
"""Feature to its word in /proc/cpuinfo."""

_AMX = ("AMX", "AMX FP16", "AMX COMPLEX")
_NEW = (*_AMX, "AVX-512 FP16", "AVX-512 BF16", "AVX-VNNI-INT8")
_512 = ("AVX-512", "AVX-512 VNNI")


@dataclass(frozen=True)
class Played:
    """One kind that a more capable processor is taken for."""

    kind: str
    """A name of `engines.cpu.KINDS`."""
    hidden: tuple[str, ...]
    """Features that are taken away."""
    needs: str
    """The flag of /proc/cpuinfo that this machine has to have."""
    qemu: str | None
    """The processor that qemu plays instead; None where it has none."""


PLAYED = {
    p.kind: p
    for p in (
        Played("AVX-512 VNNI", (*_NEW, "AVX-VNNI"), "avx512_vnni", None),
        Played("AVX-VNNI", (*_NEW, *_512), "avx_vnni", None),
        Played("AVX-512", (*_NEW, "AVX-VNNI", "AVX-512 VNNI", "AVX-512 IFMA"), "avx512f", None),
        Played("AVX2", (*_NEW, "AVX-VNNI", *_512), "avx2", "Haswell"),
        Played("SSE4", (*_NEW, "AVX-VNNI", *_512, "AVX2", "AVX"), "sse4_1", "Nehalem"),
    )
}
"""Kinds by name: what is left of this machine's processor without those features."""


class _Hidden(ctypes.Structure):
    _fields_ = (("leaf", ctypes.c_uint32), ("subleaf", ctypes.c_uint32), ("registers", ctypes.c_uint32 * 4))


def _table(features: tuple[str, ...]) -> list[_Hidden]:
    made = []
    for leaf, subleaf, register, bits in (BITS[name] for name in features):
        registers = [0, 0, 0, 0]
        registers[register] = sum(1 << bit for bit in bits)
        made.append(_Hidden(leaf, subleaf, (ctypes.c_uint32 * 4)(*registers)))
    return made


def _library() -> ctypes.CDLL:
    """`cpuid.c`, compiled into a folder that is gone once it is loaded."""
    source, compiler = Path(__file__).with_name("cpuid.c"), shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise OSError("no C compiler: apt-get install gcc")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "cpuid.so")
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(made), str(source)], check=True)
        return ctypes.CDLL(str(made))


def hide(kind: str) -> None:
    """Become `kind`, for what this process asks from now on. Raises OSError where that cannot be."""
    rows = _table(PLAYED[kind].hidden)
    failed = _library().hide((_Hidden * len(rows))(*rows), ctypes.c_size_t(len(rows)))
    if failed:
        raise OSError(failed, f"CPUID cannot be made to fault here: {os.strerror(failed)}")


def _hide_words(words: set[str]) -> None:
    """The system's list of features, as it would be on such a processor."""
    from a2d.engines import cpu

    listed = cpu.flag_words
    cpu.flag_words = lambda text: listed(text) - words


def hides(kind: str) -> bool:
    """This machine has what `kind` has, and its CPUID can fault."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    compiler = shutil.which("cc") or shutil.which("gcc")
    return bool({"cpuid_fault", PLAYED[kind].needs} <= flags and compiler and platform.machine() == "x86_64")


def as_kind(kind: str) -> list[str] | None:
    """The command before a Python program and its arguments that runs it as `kind`; None where nothing can."""
    python, emulator = [sys.executable], shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    # NumPy asks the processor while it is imported, so nothing above may import it before features are hidden.
    from a2d.engines.cpu import this_cpu

    if this_cpu().name == kind:
        return python
    if hides(kind):
        return [*python, str(Path(__file__).resolve()), kind]
    cpu = PLAYED[kind].qemu
    if cpu is None or emulator is None or sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    return [emulator, "-cpu", cpu, *python]


def ask(kind: str, program: str, *arguments: str | Path) -> dict[str, Any] | None:
    """What a program of this folder says as JSON, run as `kind`; None where nothing can play it."""
    command = as_kind(kind)
    if command is None:
        return None
    line = [*command, str(Path(__file__).with_name(program)), *map(str, arguments)]
    surroundings = os.environ | {"OMP_NUM_THREADS": "1"}
    made = subprocess.run(line, env=surroundings, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    found: dict[str, Any] = json.loads(made.stdout)
    assert found["kind"] == kind, f"{' '.join(command)} is taken for {found['kind']}, expected {kind}"
    return found


def main() -> None:
    """See the module."""
    kind, *sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    hide(kind)
    _hide_words({WORDS[name] for name in PLAYED[kind].hidden if name in WORDS})
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
