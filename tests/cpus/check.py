"""int8 on kinds of processors: the quantized graphs, slate readings, and the engines' contract.

usage: check.py [--frames 20] [--contract]

The same program (`probe.py`) runs on this machine and as processors that it is not (`played.py`). One table says what
came: the error of each precision's graph against fp32, how many tokens and whole frames int8 reads as fp32 does, and
how many tokens as this machine's int8. These fail: an error of int8 above 0.15; fewer frames as fp32 than the 95 %
interval of this machine's; fewer tokens as on this machine than int8's own bar (`calibration/quantize/recipes.py`).

Kinds that nothing here can play are named. arm64 is `make test-arm64`.

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
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from played import PLAYED, as_kind
from probe import RULES

from a2d.calibration.quantize.recipes import RECIPES
from a2d.calibration.verify.intervals import Rate
from a2d.engines.cpu import this_cpu

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SLATE = REPOSITORY / "examples" / "slate"
SHIPPED = sorted((SLATE / "frames").glob("*.png"))

SKIPPED = 77

MOST = 0.15
"""Relative error of int8 that the graphs' test allows."""

AGREEING = RECIPES["int8"].bar
"""Share of int8's tokens that agree with this machine's."""

MAKE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import json
from calibration_helpers import OPTIONS
from tiny_model import tiny_checkpoint
from a2d.calibration.job import Job, calibrate
from a2d.calibration.quantize.recipes import recipes
from a2d.export.job import Job as Export, export
place = Path(sys.argv[1])
export(Export(tiny_checkpoint(place / "tiny"), place / "floats.a2d", quiet=True))
rows = [{"tokens": [5 + (7 * i + j * j) % 150 for j in range(6 + i)]} for i in range(6)]
(place / "data.jsonl").write_text("".join(json.dumps(row) + chr(10) for row in rows))
wanted = recipes("int8,fp8,int8-weight,int4-weight")
how = {"data": place / "data.jsonl", "options": OPTIONS, "quiet": True}
calibrate(Job(place / "floats.a2d", place / "quantized.a2d", wanted, **how))
"""


def say(text: str) -> None:
    """A line of what was found."""
    print(text, flush=True)


def run(command: list[str], **options: Any) -> str:
    """Output of a command; a failure ends the check with status 1."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, check=False, text=True, capture_output=True, env=environment, **options)
    if made.returncode:
        told = f"{made.stdout[-2000:]}{made.stderr[-2000:]}"
        sys.exit(f"test-cpus: {' '.join(command[:6])} ... ended with status {made.returncode}\n{told}")
    return made.stdout


def bundles(place: Path) -> list[str]:
    """The three bundles: tiny in fp32, tiny quantized, and the slate reader in both."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    run([sys.executable, "-c", MAKE, str(place), str(REPOSITORY / "tests")])
    slate = str(place / "slate.a2d")
    export = ["-m", "a2d", "export", str(SLATE / "model"), "-o", slate, "--precision", "fp32,int8"]
    run([sys.executable, *export, "--data", str(SLATE / "frames"), "--quiet"])
    return [str(place / "floats.a2d"), str(place / "quantized.a2d"), slate]


def pictures(place: Path, count: int) -> list[str]:
    """Frames that the repository holds; or, of more than those, frames of the set *medium*, rendered here."""
    if count > len(SHIPPED):
        where = place / "frames"
        run([sys.executable, "render.py", "--set", "medium", "--count", str(count), "--out", str(where)], cwd=SLATE)
        return [str(path) for path in sorted(where.glob("*.png"))]
    return [str(path) for path in SHIPPED[:count]]


def agreement(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> Rate:
    """Places with the same token."""
    made = Rate()
    for a, b in zip(ours, theirs, strict=True):
        pairs = list(zip_longest(a, b))
        made.add(sum(x == y for x, y in pairs), len(pairs))
    return made


def answers(found: dict[str, Any], rule: int) -> Rate:
    """Frames that int8 and fp32 read alike, token by token: tokens of one frame stand and fall together."""
    made, read = Rate(), found["readings"]
    for a, b in zip(read["fp32"][rule], read["int8"][rule], strict=True):
        made.add(a == b)
    return made


@dataclass(frozen=True)
class Row:
    """One processor's line."""

    name: str
    found: dict[str, Any]
    here: dict[str, Any]

    def own(self, rule: int) -> Rate:
        """Tokens of int8 that are fp32's, both on this processor."""
        return agreement(self.found["readings"]["fp32"][rule], self.found["readings"]["int8"][rule])

    def other(self, rule: int) -> Rate:
        """Tokens of int8 that are this machine's."""
        return agreement(self.here["readings"]["int8"][rule], self.found["readings"]["int8"][rule])

    def text(self) -> str:
        """The line, of a table in Markdown."""
        cells = [self.name, *(f"{error:.4f}" for error in self.found["errors"].values())]
        for rule in range(len(RULES)):
            alike = answers(self.found, rule)
            low, high = alike.interval
            cells += [
                f"{100 * self.own(rule).share:.2f}",
                f"{100 * alike.share:.1f} ({100 * low:.1f}-{100 * high:.1f})",
            ]
            cells += [f"{100 * self.other(rule).share:.2f}"]
        return f"| {' | '.join(cells)} |"

    def faults(self) -> list[str]:
        """What is not as it should be, one line each."""
        made = []
        if (error := self.found["errors"]["int8"]) > MOST:
            made.append(f"{self.name}: int8 errs by {error:.4f}, expected at most {MOST}")
        for rule, how in enumerate(RULES):
            low, _ = answers(self.here, rule).interval
            if (share := answers(self.found, rule).share) < low:
                made.append(f"{self.name}, {how}: {share:.1%} of frames as fp32, expected {low:.1%} or more")
            if (share := self.other(rule).share) < AGREEING:
                made.append(f"{self.name}, {how}: {share:.2%} of tokens as on this machine, expected {AGREEING:.0%}")
        return made


def head(errors: Sequence[str]) -> str:
    """The table's first two lines."""
    columns = ["processor", *(f"error, {name}" for name in errors)]
    for rule in RULES:
        how = " ".join(f"{key} {value}" for key, value in rule.items())
        columns += [f"{how}: tokens as fp32, %", "frames as fp32, %", "tokens as here, %"]
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"


def contract(command: list[str]) -> str:
    """Last line of the engines' contract, run as a processor; SIGSEGV is the played CPUID's, not faulthandler's."""
    flags = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:faulthandler", "--timeout=3000"]
    runner = str(HERE / "contract.py")
    return run([*command, runner, *flags, "tests/engines/test_contract.py"], cwd=REPOSITORY).strip().splitlines()[-1]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="test-cpus", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=20, help="pictures of the slate reader, each read by two rules")
    parser.add_argument("--contract", action="store_true", help="run the engines' contract as each processor as well")
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build" / "cpus", help="where the bundles are made")
    arguments = parser.parse_args()
    if platform.machine().lower() not in ("x86_64", "amd64"):
        print("test-cpus: skipped, plays processors of x86-64 on x86-64; see make test-arm64", file=sys.stderr)
        return SKIPPED
    made = bundles(arguments.build)
    probe = [str(HERE / "probe.py"), *made, *pictures(arguments.build, arguments.frames)]
    here = json.loads(run([sys.executable, *probe]))
    say(head(list(here["errors"])))
    say(Row(f"{here['kind']} (this machine)", here, here).text())
    faults: list[str] = []
    notes: list[str] = []
    for kind in PLAYED:
        command = as_kind(kind)
        if command is None or kind == this_cpu().name:
            notes += [] if command else [f"{kind}: nothing here can play it"]
            continue
        found = json.loads(run([*command, *probe]))
        if found["kind"] != kind:
            sys.exit(f"test-cpus: {' '.join(command)} is taken for {found['kind']}, expected {kind}")
        row = Row(f"{kind} ({'qemu' if 'qemu' in command[0] else 'features hidden'})", found, here)
        say(row.text())
        faults += row.faults()
        notes += [f"{kind}: the engines' contract: {contract(command)}"] if arguments.contract else []
    say("\n".join(["", *notes, *faults]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
