"""Precisions by what computes in them: preferred ones of a device, and the variants that engines are built of.

Tables alone; which precision is taken of them, placement, plans and builds decide.
"""

from __future__ import annotations

__all__ = ["EXACT", "FLOATS", "NARROW", "PREFERENCE", "SOURCES"]

PREFERENCE = {
    "cpu": ("fp32", "fp16", "int8", "int8-avx2", "int8-weight", "int4-weight", "bf16", "fp8"),
    "cuda": ("fp16", "fp32"),
}
"""Precisions of ONNX Runtime by device, best first: a CPU computes in fp32, and a loss is for its user to choose."""

SOURCES = {"fp16": ("fp16", "fp32"), "int8": ("int8",), "fp8": ("fp8",), "fp32": ("fp32",)}
"""Precision of a GPU's engine to the variants that it is built of, best first."""

FLOATS = ("fp16", "fp32")
"""Variants that tell the size of a quantized one that is yet to be made."""

CACHES = ("past_", "new_", "cross_key", "cross_value", "condition_")

NARROW = dict.fromkeys(("backbone", "cross", "frames", "frames_merged", "velocity"), CACHES)
"""Beginnings of the names of inputs and outputs that become half as wide with a graph's products: its caches."""

EXACT = {"text": ("*.down",), "frames": ("times.*",), "frames_merged": ("times.*",)}
"""Patterns of weights whose products stay in float32 by graph: UMT5's leave float16's range, a time's its precision."""
