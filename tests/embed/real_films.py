"""Run the C tests that want the real worker and a bundle that films: export a tiny checkpoint, unless a bundle is
given, film a board in this process, and hand a test program both. `real_films.py PROGRAM BUNDLE`; exit status 77 says
that something is missing here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent
GOLDEN = TESTS / "data" / "golden-frames" / "v1"
SKIPPED = 77
SIZE = (64, 96)


def main(program: str, bundle: Path) -> int:
    """Prepare, then run `program`."""
    try:
        import numpy as np
        from PIL import Image

        import a2d
    except ImportError as error:
        print(f"skipped: {sys.executable} has no a2d ({error}); pip install -e . there, or set A2D_PYTHON")
        return SKIPPED
    if not (bundle / "manifest.json").is_file() and not export(bundle):
        return SKIPPED
    height, width = SIZE
    board, frames = bundle.parent / "board.png", bundle.parent / "frames.rgb"
    shades = np.linspace(0, 255, height * width * 3).astype(np.uint8).reshape(height, width, 3)
    Image.fromarray(shades).save(board)
    asked = {"image": str(board), "frames": 9, "height": height, "width": width, "seed": 7}
    film = a2d.load(bundle, threads=1).film("A red ball rolls.", **asked)
    frames.write_bytes(np.concatenate([block.frames for block in film]).tobytes())
    command = [program, sys.executable, bundle, board, str(height), str(width), frames]
    return subprocess.run(command, check=False).returncode


def export(bundle: Path) -> bool:
    """Make the bundle; false where this machine cannot."""
    bundle.parent.mkdir(parents=True, exist_ok=True)
    flags = json.loads((GOLDEN / "case-1.json").read_text(encoding="utf-8"))["export"]
    command = [sys.executable, "-m", "a2d", "export", GOLDEN / "checkpoint", "-o", bundle, *flags]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        print(f"skipped: no bundle, and none can be made: {made.stderr}\nset A2D_FILM_BUNDLE")
    return made.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
