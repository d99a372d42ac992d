"""The C library: built by CMake, tested by ctest, installed and found, cross-compiled for Windows, and in the wheel.

What the C tests themselves check is in tests/embed/; here they are run. What a machine lacks is a skip that names it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import EXAMPLES

import a2d

ROOT = Path(__file__).parent.parent
FRAMES = EXAMPLES / "slate" / "frames"
FRAME = FRAMES / "easy-01.png"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("cmake", "cc", "c++"))),
    reason="cmake and a C++ compiler are needed; apt-get install cmake g++",
)


def run(*command: object, **options) -> str:
    made = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert made.returncode == 0, f"{command}\n{made.stdout[-6000:]}\n{made.stderr[-6000:]}"
    return made.stdout


def build(folder: Path, *flags: object, targets: tuple[str, ...] = ()) -> Path:
    run("cmake", "-S", ROOT, "-B", folder, f"-DA2D_PYTHON={sys.executable}", *flags)
    run("cmake", "--build", folder, "--parallel", "2", *(["--target", *targets] if targets else []))
    return folder


def ctest(folder: Path, *flags: object) -> str:
    return run("ctest", "--test-dir", folder, "--output-on-failure", *flags)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, slate: Path, filming: Path) -> Path:
    bundles = f"-DA2D_BUNDLE={slate}", f"-DA2D_FILM_BUNDLE={filming}"
    return build(tmp_path_factory.mktemp("build"), "-DA2D_SANITIZERS=OFF", *bundles)


def test_the_library_against_a_worker_that_misbehaves(built):
    assert "100% tests passed" in ctest(built, "-L", "quick")


def test_the_library_with_the_real_worker(built):
    passed = ctest(built, "-L", "real")
    assert "100% tests passed" in passed and "Skipped" not in passed


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", built, "--prefix", prefix)
    return prefix


def build_example(folder: Path, *flags: object) -> Path:
    run("cmake", "-S", EXAMPLES / "embed", "-B", folder, *flags)
    run("cmake", "--build", folder)
    return folder / "host"


def test_the_example_host_finds_the_installed_library_and_reads_frames(installed, slate, tmp_path):
    from PIL import Image

    host = build_example(tmp_path / "host", f"-DCMAKE_PREFIX_PATH={installed}")
    ppm = tmp_path / "frame with spaces é.ppm"
    Image.open(FRAME).convert("RGB").save(ppm)
    said = run(host, slate, "--python", sys.executable, "--steps", 4, FRAME, ppm)
    reading = a2d.load(slate, threads=1).generate(images=[FRAME], steps=4).text
    assert [line.split("\t")[:2] for line in said.splitlines()] == [[str(FRAME), reading], [str(ppm), reading]]
    made = subprocess.run(
        [host, "no.a2d", "--python", sys.executable, FRAME], capture_output=True, text=True, check=False
    )
    assert made.returncode == 1 and "A2D_ERROR_BUNDLE" in made.stderr and "no.a2d" in made.stderr


def test_the_example_host_films_into_a_folder(installed, filming, tmp_path):
    import numpy as np
    from PIL import Image

    film = build_example(tmp_path / "host", f"-DCMAKE_PREFIX_PATH={installed}").parent / "film"
    (tmp_path / "clip").mkdir()
    options = '{"height": 32, "width": 48, "steps": null}'
    flags = ["--python", sys.executable, "--frames", 9, "--seed", 3, "--options", options]
    said = run(film, filming, "a red ball", tmp_path / "clip", *flags)
    assert said == f"{tmp_path / 'clip'}\t9 frames of 48x32 at 16 a second\n"
    made = a2d.load(filming, threads=1).film("a red ball", frames=9, seed=3, height=32, width=48)
    shown = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "clip").iterdir())]
    wanted = np.concatenate([block.frames for block in made]).astype(int)  # another count of threads rounds elsewhere
    off = np.abs(np.stack(shown) - wanted)
    assert off.max() <= 1 and np.mean(off > 0) < 1e-3
    command = [film, filming, "a red ball", tmp_path / "clip", "--python", sys.executable, "--frames", "10"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "A2D_ERROR_REQUEST: frames: got 10, expected 1 + 4 k" in refused.stderr


def embedded(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks" / "embedded.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_benchmark_shows_what_the_child_process_adds(built, slate):
    library = next(built.glob("liba2d.*"))
    chosen = [
        "--temperature",
        0.5,
        "--seed",
        3,
        "--steps",
        4,
    ]  # the same in both processes, or they write something else
    done = embedded(slate, "--library", library, "--pairs", 4, "--json", *chosen)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["pairs"] == 4 and found["steps"] >= 4 and found["frame"] == "1920x1080"
    assert found["generation_ms"] > found["step_ms"] > 0
    done = embedded(slate, "--library", library, "--pairs", 2, *chosen)
    assert "added to a step" in done.stdout and "added to a generation" in done.stdout


def test_the_benchmark_without_a_library_says_how_to_build_it(slate):
    for flags, words in (["--library", FRAME], "is not liba2d"), ([], "cmake -S . -B build"):
        done = embedded(slate, *flags)
        assert done.returncode == 2 and words in done.stderr


def test_nothing_but_the_api_is_exported(built):
    """A host may have functions of any name; ours are those of the header."""
    if not (nm := shutil.which("nm")) or sys.platform != "linux":
        pytest.skip("nm on Linux is needed to list symbols")
    names = {line.split()[-1] for line in run(nm, "-D", "--defined-only", built / "liba2d.so").splitlines()}
    header = (ROOT / "runtime" / "embed" / "include" / "a2d.h").read_text(encoding="utf-8")
    declared = {part.split("(")[0].split()[-1].lstrip("*") for part in header.split("A2D_API ")[1:] if "(" in part}
    assert names == {name for name in declared if name.startswith("a2d_")}
    assert (built / "liba2d.so").stat().st_size < 200_000


@pytest.mark.slow
def test_the_library_under_sanitizers_and_valgrind(built):
    """In the folder of the plain one, so that nothing is compiled twice."""
    build(built, "-DA2D_SANITIZERS=ON", "-DA2D_RANDOM_DEATHS=150")
    for tool in ("-LE", "deaths|real|quick"), ("-L", "deaths"):
        assert "100% tests passed" in ctest(built, *tool, "--parallel", 4)


@pytest.mark.slow
def test_the_library_for_windows(tmp_path):
    """Compiled by mingw-w64. Its tests run under Wine by hand: see docs/embedding.md."""
    if not shutil.which("x86_64-w64-mingw32-gcc"):
        pytest.skip("x86_64-w64-mingw32-gcc is missing; apt-get install mingw-w64")
    toolchain = ROOT / "tests" / "embed" / "mingw.cmake"
    folder = build(tmp_path, f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", targets=("a2d", "fake_worker", "faults_plain"))
    assert (folder / "liba2d.dll").is_file() and (folder / "tests" / "embed" / "faults_plain.exe").is_file()


@pytest.mark.slow
def test_a_wheel_holds_the_library_and_the_library_finds_its_interpreter(tmp_path, slate):
    """As an installed program has it: the interpreter of the environment that the library lies in."""
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "-w", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode and "scikit" in made.stderr and "No matching distribution" in made.stderr:
        pytest.skip("the build backend cannot be fetched: no package index is reachable")
    assert made.returncode == 0, made.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"a2d/include/a2d.h", "a2d/include/a2d.hpp", "a2d/runtime/host/worker.py"} <= set(names)
    assert not [name for name in names if name.endswith((".c", ".o")) or "tests" in name or "embed/" in name]
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text(
        "\n".join(p for p in sys.path if p.endswith("site-packages")), encoding="utf-8"
    )
    host = build_example(tmp_path / "host", f"-Da2d_DIR={site / 'a2d' / 'lib' / 'cmake' / 'a2d'}")
    hostile = {
        **os.environ,
        "PYTHONHOME": "/nowhere",
        "PYTHONPATH": "/nowhere",
    }  # as a host with its own Python sets them
    said = run(host, slate, "--steps", 4, FRAME, env=hostile)
    assert said.startswith(f"{FRAME}\t{a2d.load(slate, threads=1).generate(images=[FRAME], steps=4).text}\t")
