"""The `a2d` command: a table of names, each imported when it is asked for."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "run": ("a2d.runtime.cli.run", "decode a prompt with a bundle"),
    "inspect": ("a2d.runtime.cli.inspect", "print what a bundle holds, and check it"),
    "log": ("a2d.runtime.cli.log", "find and read the shots of footage"),
    "bench": ("a2d.runtime.cli.bench", "measure decoding on this machine"),
    "doctor": ("a2d.runtime.cli.doctor", "say what this machine is and what it can run"),
    "plan": ("a2d.runtime.cli.plan", "how much memory a bundle takes on a target, and whether it fits"),
    "build": ("a2d.runtime.cli.build", "engines for TensorRT and TensorRT-RTX"),
    "calibrate": ("a2d.calibration.cli.calibrate", "bundle to one with int8, fp8 or int4 as well"),
    "verify": ("a2d.calibration.cli.verify", "hold one precision of a bundle against another"),
    "export": ("a2d.export.cli", "checkpoint to bundle (the same as a2d-export)"),
}


def usage() -> str:
    """The table of commands as text."""
    rows = "\n".join(f"  {name:<9} {what}" for name, (_, what) in COMMANDS.items())
    return f"usage: a2d COMMAND ...\n\n{rows}\n\n`a2d COMMAND --help` explains one of them."


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        print(import_module("a2d").__version__)
        return 0
    if name not in COMMANDS:
        print(f"a2d: unknown command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    status: int = import_module(COMMANDS[name][0]).main(rest)
    return status


if __name__ == "__main__":
    sys.exit(main())
