"""The precisions that a checkpoint can be exported in: a table, and what each name means to torch, ONNX and ours.

Quantized precisions are not here: they are made from a bundle, by calibration (`quantized.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
import torch

from ..engines.errors import ContractError

__all__ = ["PRECISIONS", "Precision", "precisions"]


@dataclass(frozen=True)
class Precision:
    """One way to store weights and compute."""

    name: str
    dtype: torch.dtype
    onnx: ir.DataType
    kv_dtype: str
    """The cache's type under its numpy name."""
    bytes: int
    """Bytes of one number."""
    what: str


PRECISIONS = {
    p.name: p
    for p in (
        Precision("fp32", torch.float32, ir.DataType.FLOAT, "float32", 4, "exact; the CPU's own precision"),
        Precision("fp16", torch.float16, ir.DataType.FLOAT16, "float16", 2, "half the memory; GPUs, narrow range"),
        Precision("bf16", torch.bfloat16, ir.DataType.BFLOAT16, "bfloat16", 2, "half the memory; GPUs, wide range"),
    )
}


def precisions(names: str, others: Mapping[str, str] | None = None) -> tuple[Precision, ...]:
    """`"fp32,fp16"` to precisions; names of `others` are let through. Raises ContractError that prints the table."""
    others = others or {}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in PRECISIONS and name not in others]
    if unknown or not wanted or len(set(wanted)) < len(wanted):
        known = {p.name: p.what for p in PRECISIONS.values()} | dict(others)
        rows = "\n".join(f"  {name:<12} {what}" for name, what in known.items())
        raise ContractError(f"precision: got {names!r}, expected one or more, by comma, each once, of\n{rows}")
    return tuple(PRECISIONS[name] for name in wanted if name in PRECISIONS)
