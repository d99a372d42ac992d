"""Every command and snippet of the README, run as it is printed. The wheel goes into an environment of its own.

Stand-ins are the network's alone: `hf download` gives a tiny checkpoint of the named family. `footage/` holds a clip.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from clips import FRAMES, Recipe, held, make, moving

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("A2D_WHEEL"), reason="builds and installs a wheel; run make test-wheel"),
]

HF = """#!{python}
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import published
assert sys.argv[1] == "download" and sys.argv[3] == "--local-dir", sys.argv
assert sys.argv[2] == "JetAstra/SDAR-1.7B-Chat", sys.argv
published.sdar(Path(sys.argv[4]))
"""


BLOCKS = ("make wheel", "a2d log", "a2d film film.a2d", "hf download")
"""Beginnings of commands, each in a block that a test below runs."""


def block(command: str) -> str:
    """The block of the README that holds a command."""
    (found,) = (text for text in SHELL if re.search(rf"^{command}\b", text, re.MULTILINE))
    return found


class Reader:
    """Somebody who types what the README says: in a checkout, or in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        self.environment = folder / "env"
        subprocess.run([sys.executable, "-m", "venv", self.environment], check=True)
        self.tools = folder / "tools"
        self.tools.mkdir()
        hf = self.tools / "hf"
        hf.write_text(HF.format(python=sys.executable, tests=str(ROOT / "tests")))
        hf.chmod(0o755)

    def types(self, block: str, folder: Path, *first: Path) -> str:
        places = [self.environment / "bin", self.tools, *first]
        path = os.pathsep.join([*map(str, places), os.environ["PATH"]])
        script = f"set -e\n{block}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Reader:
    return Reader(tmp_path_factory.mktemp("readme"))


def test_the_readme_has_what_is_tested_here():
    assert len(SHELL) == len(BLOCKS) and len(PYTHON) == 1 and all(map(block, BLOCKS))
    loose = [line for line in README.splitlines() if re.match(r"^ {4}(a2d|pip|make|hf|\$)", line)]
    assert loose == [], "commands stand in sh blocks, where they are run"


def test_the_first_commands(reader):
    said = reader.types(block("make wheel"), ROOT)
    assert "one token a forward (8 steps per block)" in said and "scene 1 take 12 roll K805" in said
    for line in PYTHON:
        (reader.work / "snippet.py").write_text(line)
    assert "scene " in reader.types(f"python {reader.work / 'snippet.py'}", ROOT)


def test_footage(reader):
    work = reader.work / "day"
    (work / "footage").mkdir(parents=True)
    make(work / "footage", Recipe("A001.mov", [held("easy-10.png"), moving(1)]))
    (work / "dist").symlink_to(ROOT / "dist")
    reader.types(block("a2d log"), work)
    assert "easy" not in (work / "shots.csv").read_text() and len((work / "shots.csv").read_text().splitlines()) == 3


def test_a_checkpoint_of_one_s_own(reader):
    """With the extra `export`, which is in the environment that runs the tests."""
    work = reader.work / "own"
    work.mkdir()
    shutil.rmtree(work / "sdar", ignore_errors=True)
    here = Path(sys.executable).parent
    said = reader.types(f"PATH={reader.tools}:{here}:$PATH\n{block('hf download')}", work, here)
    assert "parity" in said.lower() or "PASS" in said
    assert (work / "sdar.a2d" / "manifest.json").is_file()


def test_a_film(reader):
    """By a tiny checkpoint of random weights, exported with the extra `export`; the extra `log` writes the movies."""
    from film_checkpoints import RECIPES, checkpoint

    from a2d.export.export_plan import Job
    from a2d.export.film.job import export_film

    work, here = reader.work / "film", Path(sys.executable).parent
    work.mkdir()
    checkpoint(work / "checkpoint", RECIPES["tiny"])
    export_film(Job(work / "checkpoint", work / "film.a2d", quiet=True))
    shutil.copy(FRAMES / "easy-10.png", work / "board.png")
    (work / "reel.csv").write_text("id,seconds,prompt\none,1,a street\ntwo,1,a red ball\n", encoding="utf-8")
    reader.types(f"PATH={here}:$PATH\n{block('a2d film film.a2d')}", work, here)
    assert (work / "shot.mp4").stat().st_size > 1000
    assert len(list((work / "reel").glob("*.mp4"))) == 2
