"""Python environments of their own for other engines, made once and kept where what can be made again is kept.

Other engines bring their own numpy, onnxruntime and compilers' output; none of it is to touch the installation that
is measured. Knows pip; not what an engine does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from ...engines.errors import EngineError
from ...runtime.bundle.kept_folder import kept_folder

__all__ = ["environment", "site_of"]

MARK = "ready"


def environment(name: str, packages: Sequence[str], note: str = "") -> Path:
    """The Python of the environment `name` with `packages`; made if it is not there. Raises EngineError."""
    folder = kept_folder() / "rivals" / name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    mark, wanted = folder / MARK, "\n".join(packages)
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return python
    print(f"{name}: an environment of its own in {folder}, once{note} ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        venv.create(folder, with_pip=True)
        _install(python, packages, name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    mark.write_text(wanted, encoding="utf-8")
    return python


def site_of(python: Path) -> Path:
    """The folder of packages of an environment's Python."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip())


def _install(python: Path, packages: Sequence[str], name: str) -> None:
    command = [str(python), "-m", "pip", "install", "-q", *packages]
    quiet = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    made = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    if made.returncode:
        said = "\n".join(made.stderr.strip().splitlines()[-8:])
        raise EngineError(
            f"{name}: pip could not install {' '.join(packages)} (exit status {made.returncode}). It wants the Python "
            f"package index, and a compiler where there is no wheel for this Python. It said:\n{said}"
        )
