"""Decode frames with a bundle and print what came of them as JSON: one program, run on two machines to be compared.

usage: decode.py BUNDLE FRAME...
"""

from __future__ import annotations

import json
import platform
import sys
from typing import Any

import a2d

RULES: list[dict[str, Any]] = [{"steps": 4}, {"threshold": 0.9}]


def reading(model: a2d.Model, frame: str, rule: dict[str, Any]) -> dict[str, Any]:
    """Tokens, forwards and the confidences of every step of one frame."""
    generation = model.stream(images=[frame], max_tokens=40, **rule)
    confidence = [float(c) for step in generation for c in step.confidence]
    result = generation.result
    return {"tokens": result.tokens, "forwards": result.forwards, "text": result.text, "confidence": confidence}


def main() -> None:
    """Read every frame by every rule."""
    bundle, *frames = sys.argv[1:]
    model = a2d.load(bundle, threads=1)
    readings = [{"frame": frame, "rule": rule, **reading(model, frame, rule)} for frame in frames for rule in RULES]
    where = {"machine": platform.machine(), "engine": model.engine("backbone").describe}
    print(json.dumps({**where, "readings": readings}))


if __name__ == "__main__":
    main()
