"""What a device has to load: `import a2d` next to nothing, and decoding nothing of what only an export needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import commands
import pytest

import a2d
from a2d.__main__ import COMMANDS

EXPORT_ONLY = ("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "safetensors", "a2d.export", "a2d.calibration")

EVERY_MODULE = """
EXTRAS = ("av", "scenedetect", "opentimelineio", "starlette", "uvicorn", "ray")  # which a device may lack
import pkgutil
from importlib import import_module
for room in ("a2d.engines", "a2d.runtime"):
    for module in pkgutil.walk_packages(import_module(room).__path__, room + "."):
        if module.name.startswith(("a2d.engines.tensorrt.builder.", "a2d.engines.graph_nodes")):  # the extra `build`
            continue
        try:
            import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name not in EXTRAS:
                raise
"""

RUN = """
from a2d.__main__ import main
assert main(["run", "no-such.a2d", "--token-ids", "1,2"]) == 2
from a2d.engines import ENGINES, load_engine
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def loaded_by(code: str) -> set[str]:
    made = run("-c", f"{code}\nimport sys\nprint(*sys.modules, sep='\\n')")
    assert made.returncode == 0, made.stderr
    return set(made.stdout.split())


@pytest.mark.parametrize("code", ["import a2d", "import a2d; a2d.load", RUN, EVERY_MODULE], ids=str.strip)
def test_nothing_that_only_an_export_needs_is_loaded(code):
    modules = loaded_by(code)
    assert "a2d" in modules
    assert [name for name in EXPORT_ONLY if name in modules] == []


def test_importing_a2d_alone_costs_nothing():
    modules = loaded_by("import a2d")
    assert [name for name in modules if name.startswith("a2d.") or name in ("numpy", "PIL", "onnxruntime")] == []


def test_the_engine_is_loaded_when_it_is_asked_for():
    assert "onnxruntime" not in loaded_by("import a2d.runtime.cli.run")
    assert "onnxruntime" in loaded_by("import a2d.engines.onnxruntime")


SELDOM = (
    "tokenizers", "jinja2", "urllib.request", "a2d.runtime.film.studio", "a2d.runtime.shapes.make", "starlette",
    "uvicorn", "a2d.runtime.server", "a2d.runtime.cli.serve", "importlib.metadata", "email", "difflib", "statistics",
)  # fmt: skip
"""Modules that a decode of token ids has no use for, and packages that they bring."""


def test_a_command_loads_what_it_uses():
    modules = loaded_by("import a2d.runtime.cli.run")
    assert "a2d.runtime.decode.loop" in modules
    assert [name for name in SELDOM if name in modules] == []
    measuring = loaded_by("import a2d.runtime.cli.bench")
    assert [name for name in ("importlib.metadata", "statistics", "a2d.runtime.film.film") if name in measuring] == []
    logging = loaded_by("import a2d.runtime.cli.log")
    assert [name for name in ("ray", "a2d.runtime.farm") if name in logging | modules] == []


def test_public_names_exist_and_others_list_them():
    assert [name for name in a2d.__all__ if getattr(a2d, name) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'laod'; it offers A2DError, Film, .*Model, .*load"):
        a2d.laod  # noqa: B018


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_prints_the_table_of_commands(arguments):
    made = run("-m", "a2d", *arguments)
    assert (made.returncode, made.stderr) == (0, "")
    for name, (_, what) in COMMANDS.items():
        assert f"  {name:<9} {what}" in made.stdout


def test_unknown_commands_are_bad_input_and_print_the_table():
    made = run("-m", "a2d", "fly")
    assert (made.returncode, made.stdout) == (2, "")
    assert made.stderr.startswith("a2d: unknown command 'fly'\n")
    assert all(f"  {name:<9}" in made.stderr for name in COMMANDS)


def test_the_version_is_the_packages():
    assert run("-m", "a2d", "--version").stdout == f"{a2d.__version__}\n"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "export"])
def test_commands_explain_themselves(command):
    made = commands.a2d(command, "--help")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith(f"usage: a2d {command}")


@pytest.mark.parametrize(("typed", "meant"), [("rnu", "run"), ("verfy", "verify"), ("calibrat", "calibrate")])
def test_a_slip_is_told_what_may_be_meant(typed, meant):
    assert f"did you mean {meant!r}?" in run("-m", "a2d", typed).stderr


def test_completion_and_help_show_the_public_names_alone():
    assert sorted(name for name in dir(a2d) if not name.startswith("_")) == sorted(a2d.__all__)
    said = run("-c", "import pydoc, a2d; print(pydoc.render_doc(a2d, renderer=pydoc.plaintext))").stdout
    assert "class Model" in said and "class Options" in said and "TYPE_CHECKING" not in said
    assert "max_tokens: generated tokens at most; default 256" in a2d.Options.__doc__


HERE = Path(__file__).parent
TRACED = ("export", "calibration", "examples", "real")
"""Folders whose tests are of torch's modules, or of scripts that train them."""


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Modules that a file of tests, with its helpers, imports before any test runs."""
    body = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    named = [[node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names] for node in body]
    names = {name for some in named for name in some}
    helpers = {name for name in names if (HERE / f"{name}.py").is_file()}
    return frozenset(names - helpers).union(*(imports_of(HERE / f"{name}.py") for name in helpers))


def test_torch_is_not_loaded_to_collect_the_tests_of_what_runs_without_it():
    files = [path for path in HERE.rglob("*.py") if path.relative_to(HERE).parts[0] not in TRACED]
    collected = [path for path in files if path.name == "conftest.py" or path.name.startswith("test_")]
    modules = {name: path.name for path in collected for name in imports_of(path)}
    rooms = sorted(name for name in modules if name.startswith("a2d.") and "server" not in name)
    assert [(modules[name], name) for name in ("torch", "transformers", "diffusers") if name in modules] == []
    assert "torch" not in loaded_by("\n".join(f"import {name}" for name in rooms)) and len(collected) > 100
