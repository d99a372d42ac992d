"""The wheel in an environment of its own: installed, and everything that it promises done there, without this checkout.

`make test-wheel` builds the wheel and says by A2D_WHEEL where it lies; without that there is nothing to test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from clips import FRAMES, Recipe, held, make, moving

WHEEL = os.environ.get("A2D_WHEEL", "")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not WHEEL, reason="A2D_WHEEL names no wheel; run make test-wheel")]


AS_READ = ("--min-confidence", 0)
"""Texts without marks of what is unsure."""


class Environment:
    """A virtual environment with the wheel in it, and nothing of the caller's."""

    def __init__(self, folder: Path, extras: str = "") -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.bin = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
        wanted = f"{Path(WHEEL).resolve()}{extras}"
        subprocess.run([self.bin / "python", "-m", "pip", "install", "--quiet", wanted], check=True)

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        program, *rest = map(str, command)
        clean = {"PATH": os.defpath, "HOME": str(self.home)}
        return subprocess.run(
            [self.bin / program, *rest],
            env=clean,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Environment:
    return Environment(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def logging(tmp_path_factory) -> Environment:
    return Environment(tmp_path_factory.mktemp("log"), "[log]")


def test_it_is_small_and_for_many_linuxes():
    assert Path(WHEEL).stat().st_size < 30_000_000
    assert not sys.platform.startswith("linux") or "manylinux" in Path(WHEEL).name
    names = zipfile.ZipFile(WHEEL).namelist()
    models = {f"a2d/models/{name}.a2d/manifest.json" for name in ("slate", "animatic")}
    assert models | {"a2d/runtime/demo/page.html.jinja", "a2d/py.typed"} <= set(names)
    assert not [n for n in names if n.startswith("a2d/tests") or n.endswith((".c", ".safetensors"))]


def test_no_torch_comes_with_it(plain):
    listed = plain.run("python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check")
    found = {row["name"].lower() for row in json.loads(listed.stdout)}
    assert {"a2d-runtime", "onnxruntime", "tokenizers"} <= found and not found & {"torch", "transformers", "onnx"}


def test_the_demo_runs(plain):
    done = plain.run("a2d", "demo", "--repeats", 1, "--pace", 0)
    assert done.returncode == 0, done.stderr
    assert "one token a forward (8 steps per block)" in done.stdout and "next: a2d run slate" in done.stdout
    assert "17 frames in 4 steps a block" in done.stdout
    assert (plain.home / "demo.html").stat().st_size > 100_000


def test_the_animatic_films_by_name(plain):
    prompt = ("--prompt", "wide, dusk, two figures walk left, slow push in")
    done = plain.run("a2d", "film", "animatic", *prompt, "--save", "shot.npz")
    assert done.returncode == 0, done.stderr
    done = plain.run("python", "-c", "import numpy; print(numpy.load('shot.npz')['frames'].shape)")
    assert done.stdout.strip() == "(17, 112, 192, 3)"


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_slate_reader_is_called_by_name(plain, precision):
    done = plain.run("a2d", "run", "slate", "--image", FRAMES / "easy-10.png", "--precision", precision, *AS_READ)
    assert done.returncode == 0, done.stderr
    truth = {entry["file"]: entry["truth"] for entry in json.loads((FRAMES / "truth.json").read_text(encoding="utf-8"))}
    assert done.stdout.strip() == truth["easy-10.png"]


def test_python_calls_it_by_name_as_well(plain):
    code = "import a2d, sys; print(a2d.load('slate').generate(images=[sys.argv[1]]).text)"
    done = plain.run("python", "-c", code, FRAMES / "easy-10.png")
    assert done.returncode == 0 and done.stdout.startswith("scene "), done.stderr


def test_footage_wants_an_extra_of_this_very_wheel(plain, tmp_path):
    done = plain.run("a2d", "log", tmp_path, "-o", "shots")
    assert done.returncode == 2 and f"pip install '{Path(WHEEL).resolve()}[log]'" in done.stderr


def test_a_clip_with_a_slate_is_logged(logging, tmp_path):
    clip = make(tmp_path, Recipe("A001.mov", [held("easy-10.png"), moving(1)]))
    done = logging.run("a2d", "log", clip, "-o", "shots")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (logging.home / "shots.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0]["fields"]["scene"] and lines[1]["slate"] == 1
