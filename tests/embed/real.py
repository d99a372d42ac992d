"""Run the C tests that want the real worker: export the slate reader, unless a bundle is given, and hand a test program
what it needs. `real.py PROGRAM BUNDLE [RUNS]`; exit status 77 says that something is missing here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent.parent.parent
FRAME = HERE / "examples" / "slate" / "frames" / "easy-06.png"
SKIPPED = 77


def main(program: str, bundle: Path, *runs: str) -> int:
    """Prepare, then run `program`."""
    try:
        from PIL import Image

        import a2d
    except ImportError as error:
        print(f"skipped: {sys.executable} has no a2d ({error}); pip install -e . there, or set A2D_PYTHON")
        return SKIPPED
    if not (bundle / "manifest.json").is_file() and not export(bundle):
        return SKIPPED
    frame = bundle.parent / "frame.ppm"
    Image.open(FRAME).convert("RGB").save(frame)
    text = a2d.load(bundle, threads=1).generate(images=[FRAME], steps=4, max_tokens=64).text
    return subprocess.run([program, sys.executable, bundle, FRAME, frame, text, *runs], check=False).returncode


def export(bundle: Path) -> bool:
    """Make the bundle; false where this machine cannot."""
    bundle.parent.mkdir(parents=True, exist_ok=True)
    model = HERE / "examples" / "slate" / "model"
    command = [sys.executable, "-m", "a2d", "export", model, "-o", bundle]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        print(f"skipped: no bundle, and none can be made: {made.stderr}\nset A2D_BUNDLE, or install the extra `export`")
    return made.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
