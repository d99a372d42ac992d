"""Things that many tests read, each made once a run of the suite, by whichever worker asks first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

SLOWEST_FIRST = (
    "export/test_film.py",
    "test_build.py",
    "export/test_memory.py",
    "runtime/deploy/test_film_profiles.py",
    "export/test_vl_families.py",
    "export/test_text_families.py",
    "calibration/test_job.py",
    "test_embed.py",
    "export/test_towers_golden.py",
    "calibration/test_graphs.py",
    "export/test_export.py",
    "runtime/cli/test_plan.py",
)
"""Files that take longest. Begun first, so that no worker is busy with one of them when the others have ended."""


def turn(file: Path) -> int:
    """Place of a test file in the order of work."""
    name = file.as_posix()
    return next(
        (place for place, slow in enumerate(SLOWEST_FIRST) if name.endswith(f"tests/{slow}")), len(SLOWEST_FIRST)
    )


class Shared:
    """Files and folders by name, in a folder that all workers of one run see."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path:
        """The file or folder `name`; `make` writes it, whole or not at all, where nobody has yet."""
        path = self._folder / name
        with FileLock(path.with_name(f"{name}.lock")):
            if not path.exists():
                make(path)
        return path


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Shared:
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "shared"
    folder.mkdir(exist_ok=True)
    return Shared(folder)
