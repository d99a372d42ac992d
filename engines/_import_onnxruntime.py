"""ONNX Runtime, imported with its telemetry off; the only file that imports it.

Official builds since 1.29 (Linux, macOS) and all for Windows send usage data to their maker unless told otherwise
before they are loaded: names and hashes of models among it. What a2d runs is its user's own; ORT_DISABLE_TELEMETRY=0 in
the environment turns it on again.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

if os.environ["ORT_DISABLE_TELEMETRY"] != "0":
    ort.disable_telemetry_events()  # Windows has no such variable

__all__ = ["ort"]
