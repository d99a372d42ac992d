"""The runtime on arm64 by emulation: the slate reader's tokens and the engine contract, against this machine.

usage: check.py [--cpu cortex-a76] [--build build/arm64] [--frames 3]

1. A Debian root for arm64 with the runtime's wheels, as pip fetches them for a foreign platform; kept under --build.
2. The slate reader is exported here, and reads a few frames here.
3. The same program reads the same frames under qemu: tokens and numbers of forwards must be equal.
4. The contract suite of the engines runs under qemu, unchanged, and `a2d doctor` finds the CPU engine there.
5. Products of int8 at their extremes are exact on three kinds of processors.

Emulation shows that the code and the wheels of another instruction set compute the same. It says nothing about speed,
nor about a Jetson's GPU; and ONNX Runtime cannot identify the emulator's processor (it warns of that), so the kernels
that it chooses may not be those of a real one.

Exit status: 0 equal, 1 not equal or a step failed, 77 skipped because something is missing here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SLATE = REPOSITORY / "examples" / "slate"

SKIPPED = 77
"""As automake's tests say it: neither passed nor failed."""

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "chroot": "coreutils",
    "unshare": "util-linux",
    "qemu-aarch64-static": "qemu-user-static",
}
"""Program to the Debian package that has it."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

SUITE, PYTHON = "bookworm", "3.11"
"""Debian's release, and the Python that it has."""

DEBS = "python3,python3-minimal,libgomp1,libstdc++6"
KINDS = ("cortex-a57", "cortex-a76", "max")
"""Processors without and with a dot product, and with i8mm."""

EXACT = 0.01
"""Error of a product that is quantized on the way, in shares of the largest sum; one that saturates loses a quarter."""

PLATFORMS = [f"manylinux{glibc}_aarch64" for glibc in ("_2_28", "_2_27", "_2_17", "2014")]
TEST_PACKAGES = ("onnx", "onnx-ir", "pytest", "pytest-timeout")


def missing() -> list[str]:
    """What this machine lacks for the check, one line each."""
    lines = [f"{tool}: apt-get install {package}" for tool, package in TOOLS.items() if shutil.which(tool) is None]
    lines += [] if KEYRING.is_file() else [f"{KEYRING}: apt-get install debian-archive-keyring"]
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        lines.append("root, for chroot: sudo make test-arm64")
    return lines


def requirements() -> list[str]:
    """The runtime's packages and the suite's, in the versions of this environment, so that one thing differs."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [wanted.split(">")[0].strip() for wanted in project["dependencies"]]
    return [f"{name}=={version(name)}" for name in (*names, *TEST_PACKAGES)]


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; a failure ends the check with status 1."""
    made = subprocess.run([str(part) for part in command], check=False, text=True, **options)
    if made.returncode:
        print(made.stdout or "", made.stderr or "", file=sys.stderr)
        sys.exit(f"test-arm64: {' '.join(str(part) for part in command[:6])} ... ended with status {made.returncode}")
    return made


def root(build: Path) -> Path:
    """The folder of the foreign system, made when it is first asked for and whenever what is in it would change."""
    made, wanted = build / "root", [SUITE, DEBS, *requirements()]
    key = build / f"root-{hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]}"
    if key.exists() and made.is_dir():
        return made
    say(f"making {made}: Debian {SUITE}, {', '.join(wanted[2:])}")
    partial = build / "root.partial"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    run("mmdebstrap", "--quiet", "--variant=extract", "--arch=arm64", f"--include={DEBS}", SUITE, partial)
    platforms = [flag for name in PLATFORMS for flag in ("--platform", name)]
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", partial / "opt/site")
    run(*pip, "--python-version", PYTHON, "--implementation", "cp", *platforms, *wanted[2:])
    shutil.copy(str(shutil.which("qemu-aarch64-static")), partial / "usr/bin")
    (partial / "proc").mkdir(exist_ok=True)
    partial.rename(made)
    key.touch()
    return made


def sources(folder: Path) -> None:
    """The package as a wheel lays it: the folders and files that pyproject.toml names."""
    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["scikit-build"]["wheel"]
    shutil.rmtree(folder, ignore_errors=True)
    for place, source in wheel["packages"].items():
        shutil.copytree(REPOSITORY / source, folder / place, ignore=shutil.ignore_patterns("__pycache__"))
    for source, place in wheel["force-include"].items():
        copy = shutil.copytree if (REPOSITORY / source).is_dir() else shutil.copy
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        copy(REPOSITORY / source, folder / place)


def emulated(root: Path, cpu: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the foreign system's Python.

    It has a /proc, through which ONNX Runtime checks where a weights file really lies; `unshare` mounts it for this one
    process. It has no /sys: ONNX Runtime crashes under qemu where it finds this machine's processors there.
    """
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "PYTHONPATH": "/opt/a2d:/opt/site"}
    enter = ("unshare", f"--mount-proc={root / 'proc'}", "chroot", root)
    qemu = ("/usr/bin/qemu-aarch64-static", "-cpu", cpu, "/usr/bin/python3")
    return run(*enter, *qemu, *arguments, env=environment | {"OMP_NUM_THREADS": "1"}, **options)


def differences(here: dict[str, Any], there: dict[str, Any]) -> Iterator[str]:
    """What the two machines read differently, one line each."""
    for ours, theirs in zip(here["readings"], there["readings"], strict=True):
        for name in ("tokens", "forwards"):
            if ours[name] != theirs[name]:
                yield f"{ours['frame']} {ours['rule']}: {name} {theirs[name]}, expected {ours[name]}"


def furthest(here: dict[str, Any], there: dict[str, Any]) -> float:
    """The largest difference between two confidences."""
    pairs = zip(here["readings"], there["readings"], strict=True)
    return max(abs(a - b) for x, y in pairs for a, b in zip(x["confidence"], y["confidence"], strict=False))


def say(text: str) -> None:
    """A line about what is going on."""
    print(f"test-arm64: {text}", flush=True)


def compare(root: Path, cpu: str, frames: Sequence[Path]) -> int:
    """Read the frames here and there; returns the number of differences."""
    bundle, program = root / "tmp/slate.a2d", root / "tmp/decode.py"
    export = (sys.executable, "-m", "a2d", "export", SLATE / "model", "-o", bundle, "--force")
    run(*export, capture_output=True)
    shutil.copy(HERE / "decode.py", program)
    for frame in frames:
        shutil.copy(frame, root / "tmp")
    names = [f"tmp/{frame.name}" for frame in frames]
    here = json.loads(run(sys.executable, program, "tmp/slate.a2d", *names, cwd=root, capture_output=True).stdout)
    there = json.loads(emulated(root, cpu, "/tmp/decode.py", "tmp/slate.a2d", *names, capture_output=True).stdout)
    for side in (here, there):
        say(f"{side['machine']}: {side['engine']}, {len(side['readings'])} readings")
    for line in (lines := list(differences(here, there))):
        say(line)
    distinct = {tuple(reading["tokens"]) for reading in here["readings"]}
    say(f"{len(lines)} differences; {len(distinct)} distinct answers; confidences within {furthest(here, there):.1e}")
    return len(lines)


def contract(root: Path, cpu: str) -> None:
    """The engines' contract suite and its helpers. Not with conftest.py, which exports, nor with our own options."""
    helpers = [path for path in (REPOSITORY / "tests").glob("*.py") if path.name != "conftest.py"]
    for path in (*helpers, REPOSITORY / "tests/engines/test_contract.py"):
        shutil.copy(path, root / "tmp")
    flags = ("--noconftest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "pythonpath=/tmp")
    emulated(root, cpu, "-m", "pytest", *flags, "--timeout=600", "--rootdir=/tmp", "/tmp/test_contract.py")


def products(root: Path, cpus: Sequence[str]) -> None:
    """Products of int8 at their extremes, in every form that calibration writes, on kinds of processors."""
    shutil.copy(REPOSITORY / "tests/cpus/products.py", root / "tmp")
    for cpu in cpus:
        found = json.loads(emulated(root, cpu, "/tmp/products.py", capture_output=True).stdout)
        worst = max(found["errors"], key=found["errors"].get)
        say(f"products of int8 as {cpu} ({found['kind']}): off by {found['errors'][worst]:.4f} at most ({worst})")
        if found["errors"][worst] > EXACT:
            sys.exit(f"test-arm64: {cpu} is off by {found['errors']}, expected at most {EXACT} of the largest sum")


def doctor(root: Path, cpu: str) -> None:
    """What `a2d doctor` makes of the foreign machine; it must be arm64, with a CPU engine that runs."""
    found = json.loads(emulated(root, cpu, "-m", "a2d", "doctor", "--json", capture_output=True).stdout)
    usable = [f"{engine['engine']} ({engine['device']})" for engine in found["engines"] if engine["runs"]]
    say(f"a2d doctor: {found['system']} {found['arch']}, runs {', '.join(usable)}")
    if (found["arch"], usable) != ("aarch64", ["onnxruntime (cpu)"]):
        sys.exit(f"test-arm64: a2d doctor found {json.dumps(found)}, expected aarch64 with onnxruntime")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="test-arm64", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cpu", default="cortex-a76", help="what qemu is: cortex-a57, cortex-a76, neoverse-n1, max")
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build" / "arm64", help="where the root is kept")
    parser.add_argument("--frames", type=int, default=3, help="of the nine that the repository holds")
    arguments = parser.parse_args()
    if lines := missing():
        print("test-arm64: skipped, this machine lacks", *lines, sep="\n  ", file=sys.stderr)
        return SKIPPED
    try:
        folder = root(arguments.build)
    except PackageNotFoundError as error:
        sys.exit(f"test-arm64: {error}; run it with the environment that make makes: make test-arm64")
    sources(folder / "opt/a2d")
    different = compare(folder, arguments.cpu, sorted((SLATE / "frames").glob("*.png"))[: arguments.frames])
    doctor(folder, arguments.cpu)
    products(folder, KINDS)
    say("the engines' contract; what needs a GPU, or TensorRT, is skipped")
    contract(folder, arguments.cpu)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
