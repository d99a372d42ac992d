"""The recipe is a folder of scripts, not an installed package: its tests put it on the path, as its scripts do."""

from __future__ import annotations

import sys
from pathlib import Path

RECIPE = Path(__file__).parents[2] / "examples" / "slate"

if str(RECIPE) not in sys.path:
    sys.path.insert(0, str(RECIPE))
