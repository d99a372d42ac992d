"""NVIDIA's driver's answer about the GPUs here, asked in a process of its own: a broken driver may take that one down.

Asked are the driver's library (ctypes; no context, no memory, nothing changes) and, where it gives no answer,
`nvidia-smi`. Knows GPUs as the driver does; not what a2d makes of them.

`python -m a2d.engines.probe.driver LIBRARY` is the other process: it prints one JSON object.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Adapter", "Driver", "ask", "library_name", "read"]

PATIENCE = 30.0
"""Seconds after which a driver that does not answer is a fault: a GPU that has fallen off its bus can hang it."""

MAJOR, MINOR, INTEGRATED = 75, 76, 18
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR, and CU_DEVICE_ATTRIBUTE_INTEGRATED, by cuda.h."""

MEANING = {
    "CUDA_ERROR_STUB_LIBRARY": "it is the CUDA toolkit's stub, not the driver: it must not be in the search path",
    "CUDA_ERROR_NO_DEVICE": "no GPU to see: hidden by CUDA_VISIBLE_DEVICES, or not given to a container",
    "CUDA_ERROR_SYSTEM_NOT_READY": "the driver is starting, or a service of it (fabric manager) is not running",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "it and the kernel's module are of two releases: reboot after an update",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": "a compatibility library (cuda-compat) that this GPU does not take",
    "CUDA_ERROR_UNKNOWN": "often a kernel module (nvidia-uvm) that is not loaded, or a machine that slept: reboot",
}
"""Usual meanings of the driver's refusals."""


@dataclass(frozen=True)
class Adapter:
    """One GPU."""

    name: str
    sm: int
    """Compute capability without its dot: 8.9 is 89."""
    memory_bytes: int
    integrated: bool | None
    """It shares the machine's memory; None where the driver was not asked."""


@dataclass(frozen=True)
class Driver:
    """The driver's parts that were found, and the GPUs that they list."""

    cuda: str | None = None
    """The newest CUDA that it runs, `13.0`."""
    release: str | None = None
    """Its own version, `580.95.05`."""
    adapters: tuple[Adapter, ...] = ()
    fault: str | None = None
    """Why the driver's library gives no GPU; None where it does."""


def library_name(system: str = sys.platform) -> str | None:
    """The driver's library; None where NVIDIA has no driver."""
    return {"darwin": None, "win32": "nvcuda.dll"}.get(system, "libcuda.so.1")


def ask(library: str | None, smi: str | None = "nvidia-smi") -> Driver:
    """Ask the driver. Never raises: what goes wrong is the answer's fault."""
    if library is None:
        return Driver(fault="NVIDIA has no driver for this system")
    found = _ask_library(library)
    listed = _ask_smi(smi) if smi is not None else None
    if listed is None:
        return found
    return Driver(found.cuda, listed.release, found.adapters or listed.adapters, found.fault)


def _ask_library(library: str) -> Driver:
    command = [sys.executable, "-m", __spec__.name if __name__ == "__main__" else __name__, library]
    try:
        made = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
        answer = json.loads(made.stdout)
        return Driver(**{**answer, "adapters": tuple(Adapter(**one) for one in answer["adapters"])})
    except subprocess.TimeoutExpired:
        return Driver(fault=f"{library} gave no answer within {PATIENCE:.0f} s: see dmesg, or reboot")
    except OSError as error:
        return Driver(fault=f"{library} could not be asked: {error}")
    except (ValueError, TypeError, KeyError):
        last = made.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return Driver(fault=f"{library} ended the process that asked it, with status {made.returncode}. {last}".strip())


def _ask_smi(smi: str) -> Driver | None:
    """GPUs that `nvidia-smi` lists; None where it does not run."""
    path = shutil.which(smi)
    if path is None:
        return None
    query = "--query-gpu=driver_version,compute_cap,memory.total,name"
    try:
        made = subprocess.run(
            [path, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            text=True,
            errors="replace",
        )
        rows = [[part.strip() for part in line.split(",", 3)] for line in made.stdout.splitlines() if line.strip()]
        adapters = tuple(Adapter(name, round(10 * float(sm)), _mebibytes(memory), None) for _, sm, memory, name in rows)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return Driver(release=rows[0][0], adapters=adapters) if rows else None


def _mebibytes(text: str) -> int:
    return int(float(text) * (1 << 20)) if text.replace(".", "").isdecimal() else 0  # `[N/A]` where memory is shared


# -- the other process


def read(library: str, load: Callable[[str], Any] = ctypes.CDLL) -> Driver:
    """Ask the library itself, in this process."""
    try:
        cuda = load(library)
    except OSError:
        return Driver(fault=f"no NVIDIA driver: {library} is not here")
    status = cuda.cuInit(0)
    version = ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    newest = f"{version.value // 1000}.{version.value % 1000 // 10}" if version.value else None
    if status:
        return Driver(newest, fault=_refusal(cuda, library, status))
    count = ctypes.c_int(0)
    cuda.cuDeviceGetCount(ctypes.byref(count))
    adapters = tuple(_adapter(cuda, ordinal) for ordinal in range(count.value))
    fault = None if adapters else f"{library} knows {MEANING['CUDA_ERROR_NO_DEVICE']}"
    return Driver(newest, adapters=adapters, fault=fault)


def _refusal(cuda: Any, library: str, status: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorName(status, ctypes.byref(text))
    name = (text.value or b"").decode(errors="replace") or f"error {status}"
    return f"{library} says {name}" + (f": {MEANING[name]}" if name in MEANING else "")


def _adapter(cuda: Any, ordinal: int) -> Adapter:
    device, text, size = ctypes.c_int(0), ctypes.create_string_buffer(128), ctypes.c_size_t(0)
    cuda.cuDeviceGet(ctypes.byref(device), ordinal)
    cuda.cuDeviceGetName(text, len(text), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)

    def attribute(which: int) -> int:
        value = ctypes.c_int(0)
        cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
        return value.value

    sm = 10 * attribute(MAJOR) + attribute(MINOR)
    return Adapter(text.value.decode(errors="replace"), sm, size.value, bool(attribute(INTEGRATED)))


def main(arguments: Sequence[str]) -> int:
    """Print what the library says, as JSON."""
    print(json.dumps(asdict(read(arguments[0]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
