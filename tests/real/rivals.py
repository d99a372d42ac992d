"""The published checkpoint beside other engines: `a2d bench` on SmolLM2-135M-Instruct, each held to an accuracy.

usage: rivals.py [--work DIR] [--threads N] [--tokens N] [--repeats N] [ENGINE ...]

Engines are those of `a2d bench --against`; all of them by default. No time is asserted. An engine that computes in fp32
must find fp32's token most probable at every place of its answer, and any other at four of five: less means that it was
given other weights.

Exit status: 0 fine, 1 not, 77 skipped because the package cannot be fetched.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from check import PACKAGE, REPOSITORY, SKIPPED, exported
from prompts import TEXT

from a2d.export.peers.engines import ENGINES

LEAST = 0.8
"""Agreement of a quantized form at least."""


def main() -> int:
    arguments = _arguments()
    made = exported(arguments.work)
    if made is None:
        print(f"skipped: {PACKAGE} cannot be fetched")
        return SKIPPED
    rows = beside(made[1], arguments)
    wrong = [said for row in rows if (said := fault(row))]
    print("\n".join(wrong) or f"{len(rows)} ways agree with fp32 as they should")
    return 1 if wrong else 0


def beside(bundle: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of the table, printed as they are read."""
    chosen = [flag for name in (*arguments.engines, "int4-weight", "fp32") for flag in ("--against", name)]
    sizes = ["--max-tokens", str(arguments.tokens), "--repeats", str(arguments.repeats)]
    asked = ["--precision", "int8", "--prompt", TEXT, "--threads", str(arguments.threads), *sizes]
    code = "import sys; from a2d.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "bench", str(bundle), *asked, *chosen, "--json"]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    rows: list[dict[str, Any]] = json.loads(told)["engines"]
    for row in rows:
        pace = f"{row['tokens_per_second']:8.1f} tokens/s {row['tokens_per_cpu_second']:8.1f} a CPU second"
        print(f"{row['name']:<42} {pace} {row['agreement']:8.1%} as fp32")
    return rows


def fault(row: dict[str, Any]) -> str | None:
    """A sentence about a row that agrees less with fp32 than its form allows."""
    least = 1.0 if "fp32" in row["name"] else LEAST
    return None if row["agreement"] >= least else f"{row['name']}: {row['agreement']:.1%}, expected {least:.0%} or more"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=[*ENGINES], metavar="ENGINE")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "real", help="folder that is kept")
    for name, default in (("threads", 1), ("tokens", 33), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
