"""Who may import whom. The table below is the architecture, and imports inside functions count too.

        engines            run a graph: tensors, devices      never: tokens, blocks, bundles
           ^
        runtime            bundle, session, decode loop       never: torch, onnx, onnxruntime, tensorrt
        ^      ^
 calibration   export      (do not import each other)         torch: export/ only

The root (`__init__`, `__main__`) may name all of them, but imports nothing before it is asked to. Beside that: modules
say what they are, functions and files stay short, and nothing speaks of the machine that it was written on.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ROOMS = {
    "engines": {"engines"},
    "runtime": {"runtime", "engines"},
    "calibration": {"calibration", "runtime", "engines"},
    "export": {"export", "runtime", "engines", "__init__"},  # the root for its version
}
"""Room to the rooms that it may import."""

THIRD_PARTIES = {
    "engines": {"numpy"},
    "runtime": {"numpy"},
    "calibration": {"numpy", "ml_dtypes", "onnx", "onnx_ir"},
    "export": {"numpy", "onnx", "onnx_ir", "onnxscript", "safetensors", "torch", "transformers"},
}
"""Room to what all its files may import from elsewhere."""

FILES = {
    "engines/cuda.py": {"cuda"},
    "runtime/crops.py": {"PIL"},
    "engines/ort.py": {"onnxruntime"},
    "engines/tensorrt/copy.py": {"onnx_ir"},
    "engines/tensorrt/drift.py": {"polygraphy"},
    "engines/tensorrt/halves.py": {"onnx_ir"},
    "engines/tensorrt/lookups.py": {"onnx_ir"},
    "engines/tensorrt/rolled.py": {"onnx_ir"},
    "runtime/build.py": {"filelock"},
    "runtime/footage/media.py": {"av"},
    "runtime/footage/shots.py": {"scenedetect"},
    "runtime/footage/study.py": {"PIL"},
    "runtime/footage/writers/otio.py": {"opentimelineio"},
    "runtime/images.py": {"PIL"},
    "runtime/letterbox.py": {"PIL"},
    "runtime/text.py": {"jinja2", "tokenizers"},
    "runtime/vision.py": {"PIL"},
}
"""File to what it alone may import from elsewhere."""

LONGEST_FUNCTION, LONGEST_FILE = 60, 400

SOURCES = [*sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")), *sorted(ROOT.glob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST, name: str) -> Iterator[str]:
    """Absolute names of the modules that the file `name` imports, anywhere in it; ours begin with `a2d`."""
    package = ["a2d", *name.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) + 1 - node.level], *filter(None, [node.module])]
            yield from (".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            whole = node.module == "a2d"
            yield from (f"a2d.{alias.name}" if whole else str(node.module) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))


def forbidden(tree: ast.AST, name: str) -> list[str]:
    """What the file `name` of a room imports and may not."""
    room, _, _ = name.partition("/")
    wrong = []
    for module in imported(tree, name):
        top, *rest = module.split(".")
        if top == "a2d":
            to = rest[0] if rest and rest[0] in ROOMS else "__init__"
            wrong += [] if to in ROOMS[room] else [module]
        elif top not in sys.stdlib_module_names | THIRD_PARTIES[room] | FILES.get(name, set()):
            wrong.append(module)
    return wrong


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parent != ROOT], ids=name_of)
def test_imports_follow_the_diagram(path):
    name = name_of(path)
    assert forbidden(parsed(path), name) == [], f"{name} may not import these: see ROOMS, THIRD_PARTIES and FILES"


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.py")), ids=name_of)
def test_the_root_imports_nothing_before_it_is_asked_to(path):
    eager = ast.Module([node for node in parsed(path).body if not is_lazy(node)], [])
    assert [name for name in imported(eager, name_of(path)) if name.split(".")[0] not in sys.stdlib_module_names] == []


def is_lazy(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")


def test_no_entry_of_the_table_is_stale():
    for name, modules in FILES.items():
        assert modules <= {module.split(".")[0] for module in imported(parsed(ROOT / name), name)}, name
    assert all((ROOT / room / "__init__.py").is_file() for room in ROOMS)


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("engines/x.py", "from ..runtime.loop import decode", ["a2d.runtime.loop.decode"]),
        ("engines/x.py", "import onnxruntime", ["onnxruntime"]),
        ("engines/ort.py", "import onnxruntime as ort", []),
        ("runtime/x.py", "from ..engines import load_engine", []),
        ("runtime/x.py", "def f():\n  from torch import nn", ["torch"]),
        ("runtime/x.py", "def f():\n  import onnx.helper", ["onnx.helper"]),
        ("runtime/x.py", "from a2d import export", ["a2d.export"]),
        ("runtime/x.py", "from importlib import import_module\nimport_module('tensorrt')", ["tensorrt"]),
        ("runtime/commands/x.py", "from ...export import cli", ["a2d.export.cli"]),
        ("runtime/commands/x.py", "from ..bundle import Bundle", []),
        ("runtime/x.py", "from PIL import Image", ["PIL"]),
        ("runtime/images.py", "from PIL import Image", []),
        ("runtime/x.py", "from .. import __version__", ["a2d.__version__"]),
        ("export/x.py", "from .. import __version__\nimport torch", []),
        ("export/families/x.py", "from ...calibration import y", ["a2d.calibration.y"]),
        ("calibration/x.py", "from ..export.cli import main\nimport torch", ["a2d.export.cli.main", "torch"]),
    ],
)
def test_the_check_itself(name, source, wrong):
    assert forbidden(ast.parse(source), name) == wrong


# -- what every file owes its reader


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_modules_say_what_they_are(path):
    assert ast.get_docstring(parsed(path)), f"{name_of(path)} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    long = [f"{name} {length}" for name, length in functions(path) if length > LONGEST_FUNCTION]
    assert long == []


def functions(path: Path) -> list[tuple[str, int]]:
    """Each function with its lines, docstring included."""
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_most_functions_are_much_shorter(capsys):
    lengths = sorted(length for path in SOURCES for _, length in functions(path))
    median, most = statistics.median(lengths), lengths[len(lengths) * 9 // 10]
    with capsys.disabled():
        print(f"\n{len(lengths)} functions: median {median:g} lines, nine in ten up to {most}, longest {lengths[-1]}")
    assert median <= 10 and most <= 30


TEXTS = (
    "*.py",
    "*.md",
    "*.toml",
    "*.pyi",
    "*.c",
    "*.h",
    "*.cpp",
    "*.hpp",
    "*.cmake",
    "CMakeLists.txt",
    "Makefile",
    "run",
)
HOME = re.compile(r"/(?:home|Users)/\w|[A-Z]:\\Users\\\w")
EVERYBODYS = ("/", "/dev", "/etc", "/opt", "/tmp", "/usr", "/var")
"""Folders of which every machine has one, so that a text may speak of them."""


def texts() -> Iterator[Path]:
    for pattern in TEXTS:
        for path in ROOT.rglob(pattern):
            folders = path.relative_to(ROOT).parts[:-1]
            made = any(folder in ("build", "dist") or folder.startswith(".") for folder in folders)
            if path.is_file() and (not made or folders == (".ci",)):
                yield path


def test_nothing_speaks_of_the_machine_it_was_written_on():
    here = ROOT.parent.as_posix()
    places = [HOME] if here in EVERYBODYS else [HOME, re.compile(rf"(?<![\w.)/-]){re.escape(here)}/")]
    contents = {name_of(path): path.read_text(encoding="utf-8") for path in texts() if path != Path(__file__)}
    assert [name for name, text in contents.items() if any(place.search(text) for place in places)] == []
