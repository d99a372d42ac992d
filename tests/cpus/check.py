"""int8 on kinds of processors, by emulation: the quantized graphs, slate readings, and the engines' contract.

usage: check.py [--frames 20] [--contract]

The same program (`probe.py`) runs on this machine and under qemu as processors that it is not. One table says what
came: the error of each precision against fp32, and how many tokens agree with this machine's. An error of int8 above
0.15, or
readings that differ from this machine's in more than one token of a hundred, fail.

qemu (user mode) plays SSE4 and AVX2 on x86-64, and arm64 through `make test-arm64`; it cannot play AVX-512 or AMX, so
those rows come from machines that have them: this one's is always there. It says nothing about speed.

Exit status: 0 fine, 1 not, 77 skipped because something is missing here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
FRAMES = REPOSITORY / "examples" / "slate" / "frames"

SKIPPED = 77
QEMU = "qemu-x86_64"
PLAYED = {"SSE4": "Nehalem", "AVX2": "Haswell"}
"""Kind to the processor that qemu plays for it."""

MOST = 0.15
"""Relative error of int8 that the graphs' test allows."""

AGREEING = 0.99
"""Share of tokens that agree with this machine's, in the same precision."""

MAKE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import json
from conftest import OPTIONS, TINY, Export, checkpoint, export_job
from a2d.calibration.job import Job, calibrate
from a2d.calibration.quantize.recipes import recipes
place = Path(sys.argv[1])
export_job(Export(checkpoint(place / "tiny", TINY), place / "floats.a2d", quiet=True))
rows = [{"tokens": [5 + (7 * i + j * j) % 150 for j in range(6 + i)]} for i in range(6)]
(place / "data.jsonl").write_text("".join(json.dumps(row) + chr(10) for row in rows))
wanted = recipes("int8,fp8,int8-weight,int4-weight")
how = {"data": place / "data.jsonl", "options": OPTIONS, "quiet": True}
calibrate(Job(place / "floats.a2d", place / "quantized.a2d", wanted, **how))
"""


def say(text: str) -> None:
    print(text, flush=True)


def run(command: list[str], **options: Any) -> str:
    """Output of a command; a failure ends the check with status 1."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, check=False, text=True, capture_output=True, env=environment, **options)
    if made.returncode:
        sys.exit(f"test-cpus: {' '.join(command[:6])} ... ended with status {made.returncode}\n{made.stderr[-2000:]}")
    return made.stdout


def made(place: Path) -> list[str]:
    """The three bundles: tiny in fp32, tiny quantized, and the slate reader in both."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    run([sys.executable, "-c", MAKE, str(place), str(REPOSITORY / "tests")])
    slate = str(place / "slate.a2d")
    source = str(REPOSITORY / "examples" / "slate" / "model")
    export = ["-m", "a2d", "export", source, "-o", slate, "--precision", "fp32,int8", "--data", str(FRAMES)]
    run([sys.executable, *export, "--quiet"])
    return [str(place / "floats.a2d"), str(place / "quantized.a2d"), slate]


def agreement(ours: list[list[int]], theirs: list[list[int]]) -> float:
    """Share of places with the same token."""
    pairs = list(chain.from_iterable(zip(a, b, strict=False) for a, b in zip(ours, theirs, strict=True)))
    longer = sum(max(len(a), len(b)) for a, b in zip(ours, theirs, strict=True))
    return sum(a == b for a, b in pairs) / longer


def row(name: str, found: dict[str, Any], here: dict[str, Any]) -> tuple[str, bool]:
    """A line of the table, and whether it is as it should be."""
    shares = {p: agreement(here["readings"][p], found["readings"][p]) for p in ("fp32", "int8")}
    own = agreement(found["readings"]["fp32"], found["readings"]["int8"])
    shown = "".join(f"{found['errors'][p]:>13.4f}" for p in found["errors"])
    line = f"{name:<28}{shown}{100 * shares['fp32']:>10.2f}{100 * shares['int8']:>10.2f}{100 * own:>12.2f}"
    return line, found["errors"]["int8"] <= MOST and min(shares.values()) >= AGREEING


def contract(cpu: str) -> None:
    """The engines' contract under qemu."""
    flags = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=3000", "tests/engines/test_cpu.py"]
    run([QEMU, "-cpu", cpu, sys.executable, "-m", "pytest", *flags, "tests/engines/test_contract.py"], cwd=REPOSITORY)
    say(f"  the engines' contract passes as {cpu}")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="test-cpus", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=20, help="pictures of the slate reader, each read by two rules")
    parser.add_argument("--contract", action="store_true", help="run the engines' contract as each processor as well")
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build" / "cpus", help="where the bundles are made")
    arguments = parser.parse_args()
    if platform.machine().lower() not in ("x86_64", "amd64") or shutil.which(QEMU) is None:
        print(f"test-cpus: skipped, needs x86-64 and {QEMU}: apt-get install qemu-user", file=sys.stderr)
        return SKIPPED
    bundles = made(arguments.build)
    frames = [str(path) for path in sorted(FRAMES.glob("*.png"))[: arguments.frames]]
    probe = [str(HERE / "probe.py"), *bundles, *frames]
    here = json.loads(run([sys.executable, *probe]))
    heads = "".join(f"{name:>13}" for name in here["errors"])
    say(f"{'processor':<28}{heads}{'fp32 %':>10}{'int8 %':>10}{'int8/fp32 %':>12}")
    line, good = row(f"{here['kind']} (this machine)", here, here)
    say(line)
    for kind, cpu in PLAYED.items():
        found = json.loads(run([QEMU, "-cpu", cpu, sys.executable, *probe]))
        if found["kind"] != kind:
            sys.exit(f"test-cpus: qemu as {cpu} is taken for {found['kind']}, expected {kind}")
        line, fine = row(f"{kind} (qemu as {cpu})", found, here)
        say(line)
        good = good and fine
        if arguments.contract:
            contract(cpu)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
