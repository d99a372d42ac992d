"""Precisions by machine: two tables, of GPU generations and of targets, and the one question that both answer together.

From the vendors' support matrices (TensorRT 10.13 to 11.4, TensorRT-RTX 1.7) and, for the CPU, from measurement. Knows
names and numbers; which machine this is, `a2d doctor` finds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import RequestError

__all__ = ["GPUS", "TARGETS", "Gpu", "Target", "check_sms", "legal", "require"]


@dataclass(frozen=True)
class Gpu:
    """A generation of NVIDIA GPUs, by compute capability."""

    sm: int
    what: str
    precisions: tuple[str, ...]
    """Precisions that its tensor cores compute in, best first."""


_FP8 = ("fp8", "int8", "fp16", "fp32")
_INT8 = ("int8", "fp16", "fp32")

GPUS = {
    gpu.sm: gpu
    for gpu in (
        Gpu(75, "GeForce RTX 20, T4", ("int8", "fp16")),  # has no fp32 products in TensorRT-RTX
        Gpu(80, "A100, A30", _INT8),
        Gpu(86, "GeForce RTX 30, RTX A series", _INT8),
        Gpu(87, "Jetson Orin", _INT8),
        Gpu(89, "GeForce RTX 40, RTX Ada, L4, L40", _FP8),
        Gpu(90, "H100, H200, GH200", _FP8),
        Gpu(100, "B200, GB200", _FP8),
        Gpu(110, "Jetson Thor", _FP8),
        Gpu(120, "GeForce RTX 50, RTX PRO Blackwell", _FP8),
        Gpu(121, "DGX Spark", _FP8),
    )
}
"""GPU generations by compute capability without its dot: 8.9 is 89."""


@dataclass(frozen=True)
class Target:
    """A kind of machine, and the library that runs graphs there."""

    name: str
    library: str
    """An engine of a2d by name."""
    what: str
    sms: tuple[int, ...]
    """GPUs that the library serves there; none on a CPU."""
    default_sms: tuple[int, ...]
    """GPUs that engines are built for where none is named; empty means the GPU in the machine that builds."""
    host_precisions: tuple[str, ...] = ()
    """Precisions that run where there is no GPU, best first."""
    emulated: tuple[str, ...] = ()
    """Precisions that it computes in a wider type: right for checking numbers, wrong for serving."""
    memories: tuple[int, ...] = ()
    """GiB of memory that its devices are sold with; empty for a machine that one must look at."""
    unified: bool = False
    """GPU, processor and system share that memory."""

    @property
    def ahead(self) -> bool:
        """Engines are built without a GPU, for other machines."""
        return bool(self.default_sms)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that run on one of its devices at least, best first."""
        return self.host_precisions or max((GPUS[sm].precisions for sm in self.sms), key=len)


_WEIGHT = ("int8-weight", "int4-weight")
_CPU = ("int8", "int8-avx2", *_WEIGHT, "fp32", "fp16")
_DESKTOP = (75, 80, 86, 89, 90, 100, 120, 121)

TARGETS = {
    target.name: target
    for target in (
        Target("cpu", "onnxruntime", "ONNX Runtime on any CPU", (), (), _CPU, ("fp8", "int4-int8", "int4")),
        Target(
            "rtx",
            "tensorrt_rtx",
            "TensorRT-RTX on a workstation; one engine for several GPUs, built on any machine",
            (75, 80, 86, 89, 120, 121),
            (86, 89, 120),
            memories=(8, 12, 16, 24, 32, 48, 96),
        ),
        Target(
            "tensorrt",
            "tensorrt",
            "TensorRT on the GPU that builds",
            _DESKTOP,
            (),
            memories=(8, 12, 16, 24, 32, 48, 80, 96, 141),
        ),
        Target(
            "jetson-orin",
            "tensorrt",
            "TensorRT on a Jetson Orin, built on the device",
            (87,),
            (),
            memories=(4, 8, 16, 32, 64),
            unified=True,
        ),
        Target(
            "jetson-thor",
            "tensorrt",
            "TensorRT on a Jetson Thor, built on the device",
            (110,),
            (),
            memories=(64, 128),
            unified=True,
        ),
    )
}
"""Targets by the name that a build, a plan or a calibration takes."""

NEAREST = {
    "fp8": ("int8", "fp16"),
    "int8": ("fp16",),
    "int8-avx2": ("int8", "fp16"),
    "int8-weight": ("int8", "fp16"),
    "int4-weight": ("int8", "fp16"),
    "int4-int8": ("int8",),
    "int4": ("int8",),
    "bf16": ("fp16", "fp32"),
    "fp32": ("fp16",),
}
"""Precisions next to a precision, nearest first."""


def require(target: str, precision: str, sms: Sequence[int] = ()) -> Target:
    """The target, if it runs `precision` on each of `sms` (on one of its GPUs, if none is named).

    Raises RequestError: an unknown target prints the table, an illegal pair names the nearest legal one.
    """
    if target not in TARGETS:
        rows = "\n".join(f"  {t.name:<12} {t.what}" for t in TARGETS.values())
        raise RequestError(f"target: got {target!r}, expected one of\n{rows}")
    found = TARGETS[target]
    check_sms(found, sms)
    runs = {sm: GPUS[sm].precisions for sm in sms} or {0: (*found.precisions, *found.emulated)}
    unable = [sm for sm, precisions in runs.items() if precision not in precisions]
    if unable:
        raise RequestError(_refusal(found, precision, sms, unable))
    return found


def legal(target: Target, sm: int, held: Sequence[str]) -> str | None:
    """The best precision for a GPU of the target, among those `held`; None if it runs none of them."""
    return next((p for p in GPUS[sm].precisions if sm in target.sms and p in held), None)


def check_sms(target: Target, sms: Sequence[int]) -> None:
    """Raise RequestError, with the GPUs that the target serves, for one that it does not."""
    wrong = [sm for sm in sms if sm not in target.sms]
    if wrong:
        rows = "\n".join(f"  {sm:>4}  {GPUS[sm].what}" for sm in target.sms)
        other = [t.name for t in TARGETS.values() if set(wrong) <= set(t.sms)]
        hint = f"\nFor sm{wrong[0]} take [target={' or '.join(other)}]" if other else ""
        raise RequestError(
            f"sm: got {', '.join(map(str, wrong))}, target {target.name!r} ({target.what}) serves\n{rows}{hint}"
        )


def _refusal(target: Target, precision: str, sms: Sequence[int], unable: Sequence[int]) -> str:
    lacking = ", ".join(f"sm{sm} ({GPUS[sm].what})" for sm in unable if sm)
    fit = GPUS[unable[0]].precisions if sms else target.precisions
    nearest = next(p for p in (*NEAREST.get(precision, ()), *fit) if p in fit)
    able = [str(sm) for sm in sms if sm not in unable]
    other = f", or [sm={','.join(able)}]" if able else ""
    runs = f"{lacking or target.what} runs {', '.join(fit)}"
    return f"target {target.name!r} cannot run {precision}: {runs}. The nearest is [precision={nearest}]{other}"
