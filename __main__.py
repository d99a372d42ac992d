"""The `a2d` command: a table of names, each imported when it is asked for.

The one place that names all rooms: it hands calibration to the exporter, and what the exporter makes to the commands
that want it. Where a room's packages are not installed, its part is left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

COMMANDS = {
    "demo": ("a2d.runtime.cli.demo", "read slates and film shots with the built-in models, and measure them here"),
    "run": ("a2d.runtime.cli.run", "answer a prompt, or read pictures, with a bundle"),
    "film": ("a2d.runtime.cli.film", "film a prompt or a picture with a bundle"),
    "inspect": ("a2d.runtime.cli.inspect", "print what a bundle holds, and check it"),
    "serve": ("a2d.runtime.cli.serve", "serve bundles over HTTP, to OpenAI's clients"),
    "log": ("a2d.runtime.cli.log", "find the shots of footage, and read slates or write captions"),
    "bench": ("a2d.runtime.cli.bench", "measure decoding on this machine"),
    "doctor": ("a2d.runtime.cli.doctor", "say what this machine is and what it can run"),
    "plan": ("a2d.runtime.cli.plan", "say how much memory a bundle takes on a target, and whether it fits"),
    "build": ("a2d.runtime.cli.build", "build engines for NVIDIA GPUs (TensorRT-RTX, TensorRT)"),
    "calibrate": ("a2d.calibration.cli.calibrate", "quantize a bundle to int8, fp8 or int4"),
    "verify": ("a2d.calibration.cli.verify", "compare one precision of a bundle with another"),
    "tune": ("a2d.calibration.cli.tune", "choose steps or a threshold on your data, by accuracy and time"),
    "export": ("a2d.export.cli", "make a bundle of a checkpoint (the same as a2d-export)"),
}


def usage() -> str:
    """The table of commands as text."""
    rows = "\n".join(f"  {name:<9} {what}" for name, (_, what) in COMMANDS.items())
    return f"usage: a2d COMMAND ...\n\n{rows}\n\n`a2d COMMAND --help` explains one of them."


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    _open_streams()
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help", "help"):
        return _printed(usage())
    if name == "--version":
        return _printed(import_module("a2d").__version__)
    if name not in COMMANDS:
        print(f"a2d: unknown command {name!r}{_near(name)}\n\n{usage()}", file=sys.stderr)
        return 2
    command = import_module(COMMANDS[name][0]).main
    given = GIVEN.get(name)
    status: int = command(rest) if given is None else command(rest, given())
    return status


def _open_streams() -> None:
    """Nothing behind the streams that a caller has closed (`>&-`); Python has None there, which nobody expects."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - for the process


def _printed(text: str) -> int:
    from .runtime.cli.arguments import guarded

    return guarded("a2d", lambda: print(text) or 0)


def _near(name: str) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, COMMANDS, 1)
    return f"; did you mean {found[0]!r}?" if found else ""


def export_main(argv: list[str] | None = None) -> int:
    """Run `a2d-export` and return its exit status, as `main` does."""
    return main(["export", *(sys.argv[1:] if argv is None else argv)])


def _quantizers() -> dict[str, Any]:
    """Quantized precisions for the exporter, by name."""
    from .calibration.exported import EXPORTED

    return dict(EXPORTED)


def _slate_reader() -> Callable[[bool], Path | None]:
    """The function that gives `a2d log` its built-in bundle."""

    def bundle(quiet: bool) -> Path | None:
        from .export.builtin import slate

        return slate(quiet)

    return bundle


def _rivals() -> Any:
    """Peers and synthetic models for `a2d bench`; their modules need torch, and are imported when one is asked for."""
    from .runtime.cli.bench import Rivals

    return Rivals(
        peers={
            "torch": _later("a2d.export.peers.eager", "torch_peer"),
            "transformers": _later("a2d.export.peers.transformers", "transformers_peer"),
        },
        engines={name: _engine(name) for name in ("llama.cpp", "onnxruntime-genai", "openvino")},
        synthetic={"100m": "a2d.__main__:synthetic_100m"},
    )


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is imported when it is called."""

    def call(*arguments: Any) -> Any:
        return getattr(import_module(module), name)(*arguments)

    return call


def _engine(name: str) -> Callable[..., Any]:
    """Another engine of the exporter's table, which is imported when it is started."""

    def start(*arguments: Any) -> Any:
        from .export.peers.engines import ENGINES

        return ENGINES[name](*arguments)

    return start


def synthetic_100m(path: Path, precisions: str) -> Path:
    """Export the synthetic model of 100 million parameters in `precisions`, quantized ones included."""
    from .export.synthetic import bundle_100m

    return bundle_100m(path, precisions, _quantizers())


GIVEN: dict[str, Callable[[], Any]] = {"bench": _rivals, "export": _quantizers, "log": _slate_reader}
"""Commands that are handed what another room makes, and the function that collects it."""


if __name__ == "__main__":
    sys.exit(main())
