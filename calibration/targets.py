"""What a target can run: a table of devices and the precisions that their kernels have.

From the vendors' support matrices (TensorRT 10.13, TensorRT-RTX 1.7) and, for the CPU, from measurement. Knows names.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..engines.errors import RequestError

__all__ = ["TARGETS", "Target", "require"]


@dataclass(frozen=True)
class Target:
    """A kind of device."""

    name: str
    what: str
    precisions: tuple[str, ...]
    """Best first."""
    emulated: tuple[str, ...] = ()
    """Those that it computes in a wider type: right for checking numbers, wrong for serving."""


_WEIGHT = ("int8-weight", "int4-weight")

TARGETS = {
    t.name: t
    for t in (
        Target("cpu", "ONNX Runtime", ("int8", *_WEIGHT, "fp32", "fp16"), ("fp8", "int4-int8", "int4")),
        Target("orin", "Jetson Orin, sm87, TensorRT", ("int8", "fp16", "bf16", "fp32")),
        Target("thor", "Jetson Thor, sm110, TensorRT", ("fp8", "int8", "fp16", "bf16", "fp32")),
        Target("rtx30", "GeForce RTX 30, sm86, TensorRT or TensorRT-RTX", ("int8", "fp16", "bf16", "fp32")),
        Target("rtx40", "GeForce RTX 40, sm89, TensorRT or TensorRT-RTX", ("fp8", "int8", "fp16", "bf16", "fp32")),
        Target("rtx50", "GeForce RTX 50, sm120, TensorRT or TensorRT-RTX", ("fp8", "int8", "fp16", "bf16", "fp32")),
        Target("h100", "H100 and H200, sm90, TensorRT", ("fp8", "int8", "fp16", "bf16", "fp32")),
    )
}

NEAREST = {
    "fp8": ("int8", "fp16"),
    "int8": ("fp16",),
    "int8-weight": ("int8", "fp16"),
    "int4-weight": ("int8", "fp16"),
    "int4-int8": ("int8",),
    "int4": ("int8",),
    "bf16": ("fp16", "fp32"),
}
"""What comes next to a precision, nearest first."""


def require(target: str, precision: str) -> Target:
    """The target, if it can run `precision`. Raises RequestError that names the nearest precision that it can."""
    if target not in TARGETS:
        rows = "\n".join(f"  {t.name:<6} {t.what}" for t in TARGETS.values())
        raise RequestError(f"--target: got {target!r}, expected one of\n{rows}")
    found = TARGETS[target]
    if precision not in (*found.precisions, *found.emulated):
        nearest = next(p for p in (*NEAREST.get(precision, ()), *found.precisions) if p in found.precisions)
        raise RequestError(
            f"target {target!r} ({found.what}) cannot run {precision}; it runs {', '.join(found.precisions)}. "
            f"The nearest is --precision {nearest}"
        )
    return found
