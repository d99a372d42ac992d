"""Engines and precisions that a machine can use, and why not the others: the tables of `targets`, asked of its facts.

Pure: from facts to verdicts. Everything that stands in the way is listed, not the first thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..targets import GPUS, TARGETS, Target
from ..tensorrt.libraries import LIBRARIES, OLDEST
from .machine import Facts
from .packages import Packages

__all__ = ["Verdict", "notes", "verdicts"]

DRIVERS = {13: "580", 12: "525"}
"""CUDA to the first driver for it (CUDA's release notes; on Windows 528 for CUDA 12)."""

CUDA_PRECISIONS = ("fp16", "fp32")
"""Precisions of ONNX Runtime on a GPU: it dequantizes the rest operator by operator."""

TITLES = {"onnxruntime": "ONNX Runtime"} | {name: library.title for name, library in LIBRARIES.items()}


@dataclass(frozen=True)
class Verdict:
    """One engine on one machine."""

    engine: str
    device: str
    """`cpu` or `cuda`."""
    target: str | None
    """Name of the target that this machine is; None where nothing is built for it."""
    version: str | None
    runs: bool
    builds: bool
    """Engines for it can be built here, be it for other machines."""
    precisions: tuple[str, ...]
    """Precisions that it runs here, best first; empty where it does not run."""
    emulated: tuple[str, ...]
    """Precisions that it computes in a wider type: right for checking numbers, wrong for serving."""
    why: tuple[str, ...]
    """Obstacles to running, and of building where that is possible at all."""


def verdicts(facts: Facts) -> tuple[Verdict, ...]:
    """One for each engine, the preferred one first among those that run."""
    made = [_on_gpu(TARGETS["rtx"], facts), _on_gpu(_tensorrt(facts), facts), _onnxruntime_cuda(facts), _on_cpu(facts)]
    return tuple(sorted(made, key=lambda verdict: not verdict.runs))


def notes(facts: Facts) -> tuple[str, ...]:
    """Remarks: no obstacles, but worth knowing."""
    return tuple(_notes(facts))


def _tensorrt(facts: Facts) -> Target:
    """The target of TensorRT's that this machine is."""
    jetson = facts.jetson is not None
    own = (t for t in TARGETS.values() if t.library == "tensorrt" and t.name.startswith("jetson") == jetson)
    return next((t for t in own if facts.sm in t.sms), TARGETS["tensorrt"])


def _on_cpu(facts: Facts) -> Verdict:
    target, packages = TARGETS["cpu"], facts.packages
    why = tuple(_library_faults("onnxruntime", packages))
    here = target.precisions if not why else ()
    emulated = target.emulated if not why else ()
    return Verdict("onnxruntime", "cpu", "cpu", packages.version("onnxruntime"), not why, False, here, emulated, why)


def _onnxruntime_cuda(facts: Facts) -> Verdict:
    """ONNX Runtime's CUDA provider, which comes in a package of its own."""
    packages = facts.packages
    why = [*([] if facts.driver.fault is None else [facts.driver.fault]), *_library_faults("onnxruntime", packages)]
    if not any(package.distribution == "onnxruntime-gpu" for package in packages.of("onnxruntime")):
        why.append("this ONNX Runtime is for CPUs: pip uninstall onnxruntime, then pip install onnxruntime-gpu")
    else:
        why += _bindings(packages)
    version, runs = packages.version("onnxruntime"), not why
    return Verdict("onnxruntime", "cuda", None, version, runs, False, CUDA_PRECISIONS if runs else (), (), tuple(why))


def _on_gpu(target: Target, facts: Facts) -> Verdict:
    library = list(_library_faults(target.library, facts.packages))
    driver = () if library else (*_driver_faults(target.library, facts), *_bindings(facts.packages))
    why = (*_gpu_faults(target, facts), *library, *driver)
    runs = not why
    return Verdict(
        target.library,
        "cuda",
        target.name,
        facts.packages.version(target.library),
        runs,
        not library and (target.ahead or runs),
        GPUS[facts.sm].precisions if runs and facts.sm is not None else (),
        (),
        why,
    )


def _gpu_faults(target: Target, facts: Facts) -> Iterator[str]:
    if facts.driver.fault is not None:
        yield facts.driver.fault
    if facts.sm is None or facts.sm in target.sms:
        return
    name = GPUS[facts.sm].what if facts.sm in GPUS else facts.gpu.name if facts.gpu else "this GPU"
    others = [t.library for t in TARGETS.values() if facts.sm in t.sms and t.library != target.library]
    hint = f"; {TITLES[others[0]]} does" if others else "; the CPU engine runs everywhere"
    served = ", ".join(f"sm{sm}" for sm in target.sms)
    yield f"sm{facts.sm} ({name}) is not among what {TITLES[target.library]} serves: {served}{hint}"


def _library_faults(module: str, packages: Packages) -> Iterator[str]:
    title = TITLES[module]
    clash, version = packages.clash(module), packages.version(module)
    if clash is not None:
        yield clash
    if not packages.has(module):
        if module == "tensorrt" and packages.nvinfer is not None:
            yield (
                f"TensorRT {packages.nvinfer} is among the system's libraries, but this Python has no binding for it: "
                "JetPack's is for the system's own Python (docs/jetson.md)"
            )
        else:
            yield f"{title} is not installed: {_advice(module)}"
    if module == "tensorrt" and version is not None and _numbers(version) < OLDEST:
        yield f"{title} {version} is too old, expected {'.'.join(map(str, OLDEST))} or newer: {_advice(module)}"


def _driver_faults(module: str, facts: Facts) -> Iterator[str]:
    """A driver runs the CUDA that it came with and older ones; within one major version it does not matter."""
    wanted, newest = facts.packages.cuda(module), facts.driver.cuda
    if wanted is None or newest is None or _numbers(newest)[0] >= wanted:
        return
    release = f"driver {facts.driver.release}" if facts.driver.release else "the driver"
    least = f"driver {DRIVERS[wanted]} or newer" if wanted in DRIVERS else "a newer driver"
    yield (
        f"{release} is too old: it runs CUDA {newest}, this {TITLES[module]} was built for CUDA {wanted}. "
        f"Install {least}, or the package {module.replace('_', '-')}-cu{_numbers(newest)[0]}"
    )


def _advice(module: str) -> str:
    """Advice for installing a module."""
    return LIBRARIES[module].install if module in LIBRARIES else f"pip install {module}"


def _bindings(packages: Packages) -> Iterator[str]:
    if not packages.has("cuda"):
        yield "no CUDA bindings for Python: pip install cuda-bindings"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def _notes(facts: Facts) -> Iterator[str]:
    packages, jetson = facts.packages, facts.jetson
    if packages.has("tensorrt") and packages.has("tensorrt_rtx"):
        yield (
            f"TensorRT {packages.version('tensorrt') or ''} and TensorRT-RTX {packages.version('tensorrt_rtx') or ''} "
            "are both installed: neither reads what the other built, so say which one when building, by "
            "the setting target"
        )
    if len(facts.driver.adapters) > 1:
        yield "several GPUs: the verdicts are for the first"
    if facts.driver.fault is not None and facts.driver.adapters:
        yield "the GPUs are those that nvidia-smi lists: the driver's library itself gave no answer"
    if jetson is not None and jetson.power_mode is not None and not jetson.power_mode.startswith("MAXN"):
        fast = [f"{name} is faster, sudo nvpmodel -m {n}" for name, n in jetson.power_modes.items() if "MAXN" in name]
        yield f"power mode {jetson.power_mode}: {fast[0] if fast else 'its clocks are limited'} (docs/jetson.md)"
    if jetson is not None and jetson.clocks_locked is False:
        yield "clocks follow the load: for steady timings sudo jetson_clocks"
