"""What tests of calibration share: short decodes."""

from __future__ import annotations

from a2d.runtime.decode.options import Options

OPTIONS = Options(max_tokens=24, steps=4)
