"""calibration.json: what a bundle remembers of its calibration. The recording, and what recipes made of it.

For `a2d calibrate`, which need not record the same again, and for `a2d verify`, which shows it. Knows the form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...engines.cpu import this_cpu
from ..collect.recording import Recording
from .assign import Decision

__all__ = ["CALIBRATION", "summary"]

CALIBRATION = "calibration.json"


def summary(recording: Recording, decisions: Mapping[str, Decision]) -> str:
    """The file's content."""
    recipes = {name: _decision(decision) for name, decision in decisions.items()}
    held = {"processor": this_cpu().name, "recipes": recipes, "recording": recording.plain()}
    return json.dumps(held, separators=(",", ":")) + "\n"


def _decision(decision: Decision) -> dict[str, Any]:
    recipe = decision.recipe
    return {
        "what": recipe.what,
        "merge": decision.merge,
        "smooth": recipe.smooth,
        "layers": [
            {
                "layer": layer.name,
                "form": layer.form,
                "error": layer.error,
                "limit": layer.limit,
                "asked": layer.asked,
                "errors": layer.errors,
                "shared": layer.shared,
            }
            for layer in decision.worst_first()
        ],
    }
