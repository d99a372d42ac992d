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
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ROOMS = ("engines", "runtime", "calibration", "export")

SEAM = {"engines", "engines/errors", "engines/install", "engines/paths", "engines/protocol"}
"""The part of engines/ that everybody may know: the protocol, its errors, names of engines and of files, installing."""

BASE = SEAM | {"engines/host", "engines/*"}
"""All modules that stand in engines/ itself."""

DECODING = SEAM | {
    "runtime/schema",
    "runtime/console",
    "runtime/decode",
    "runtime/film",
    "runtime/inputs",
    "runtime/bundle",
}
MODEL = DECODING | {"runtime/model", "runtime/each", "runtime/load"}

PACKAGES = {
    # engines: what runs, what asks the machine, what builds
    "engines": {"engines/errors", "engines/protocol"},
    "engines/errors": set(),
    "engines/graph_nodes": set(),
    "engines/install": set(),
    "engines/paths": set(),
    "engines/protocol": set(),
    "engines/host": {"engines/errors", "engines/protocol"},
    "engines/*": BASE,
    "engines/tensorrt": BASE,
    "engines/tensorrt/builder": {"engines/graph_nodes", "engines/tensorrt", *BASE},
    "engines/probe": {"engines/tensorrt", *BASE},
    # runtime, from the floor up
    "runtime": set(),
    "runtime/schema": {"engines/errors"},
    "runtime/heap": set(),
    "runtime/console": set(),
    "runtime/decode": {"runtime/schema", "engines/errors", "engines/protocol", "engines/host"},
    "runtime/inputs": {"runtime/schema", "runtime/decode", "engines/errors"},
    "runtime/film": {"runtime/schema", "runtime/decode", "runtime/inputs", *SEAM, "engines/host"},
    "runtime/bundle": {
        "runtime/schema",
        "runtime/decode",
        "runtime/film",
        "runtime/inputs",
        "engines/errors",
        "engines/install",
        "engines/paths",
    },
    "runtime/shapes": {"runtime/decode", "engines/errors"},
    "runtime/deploy": {*DECODING, *BASE, "engines/tensorrt", "engines/tensorrt/builder"},
    "runtime/each": DECODING,
    "runtime/pace": {*DECODING, "engines/*"},
    "runtime/model": {*DECODING, "runtime/shapes", "runtime/deploy", "runtime/each", "runtime/pace"},
    "runtime/load": {"runtime/model", "runtime/bundle", "runtime/deploy", "engines/errors"},
    "runtime/host": MODEL,
    "runtime/server": set(),
    "runtime/server/request": {*MODEL, "runtime/shapes"},
    "runtime/server/work": {"runtime/server/request", "runtime/dailies", *MODEL},
    "runtime/server/reply": {"runtime/server/request", "runtime/server/work", *MODEL},
    "runtime/server/web": {"runtime/server/request", "runtime/server/work", "runtime/server/reply", *MODEL},
    "runtime/measure": {*MODEL, *BASE, "runtime/deploy", "runtime/pace"},
    "runtime/footage": MODEL,
    "runtime/footage/writers": {"runtime/footage", "runtime/console"},
    "runtime/farm": {*MODEL, "runtime/footage", "runtime/footage/writers", "runtime/log"},
    "runtime/log": {*MODEL, "runtime/footage", "runtime/footage/writers"},
    "runtime/demo": {*MODEL, "runtime/footage", "runtime/dailies"},
    "runtime/dailies": {*MODEL, "runtime/footage", "runtime/footage/writers"},
    "runtime/cli": {
        *MODEL,
        *BASE,
        "runtime/heap",
        "engines/probe",
        "engines/tensorrt",
        "runtime/demo",
        "runtime/dailies",
        "runtime/deploy",
        "runtime/farm",
        "runtime/footage",
        "runtime/footage/writers",
        "runtime/host",
        "runtime/log",
        "runtime/measure",
        "runtime/server/request",
        "runtime/server/web",
        "runtime/server/work",
    },
    # calibration: statistics, then weights, then what was lost
    "calibration": set(),
    "calibration/*": {
        "calibration/film",
        "calibration/source",
        "calibration/collect",
        "calibration/quantize",
        "runtime/deploy",
        "runtime/heap",
        *BASE,
        *MODEL,
    },
    "calibration/source": {"engines/errors"},
    "calibration/collect": {"calibration/source", "runtime/deploy", *MODEL},
    "calibration/quantize": {
        "calibration/source",
        "calibration/collect",
        "runtime/bundle",
        "runtime/console",
        "engines/*",
        "engines/errors",
        "engines/graph_nodes",
    },
    "calibration/film": {
        *MODEL,
        *BASE,
        "runtime/deploy",
        "runtime/film",
        "runtime/heap",
        "calibration/source",
        "calibration/collect",
        "calibration/quantize",
    },
    "calibration/verify": {
        *MODEL,
        "calibration/source",
        "calibration/collect",
        "calibration/quantize",
        *BASE,
        "engines/tensorrt/builder",
        "runtime/deploy",
    },
    "calibration/tune": {*MODEL, "calibration/collect", "calibration/verify"},
    "calibration/cli": {
        *MODEL,
        *BASE,
        "calibration/*",
        "calibration/tune",
        "calibration/film",
        "calibration/source",
        "calibration/collect",
        "calibration/quantize",
        "calibration/verify",
        "runtime/cli",
        "runtime/deploy",
    },
    # export: a checkpoint read, described, traced, written, compared
    "export": set(),
    "export/checkpoint": DECODING,
    "export/precision": {"engines/errors"},
    "export/graphs": {"export/checkpoint", "engines/errors"},
    "export/families": {"export/checkpoint", "export/graphs", *DECODING},
    "export/families/film": {"export/checkpoint", "export/graphs", *DECODING},
    "export/write": {"export/graphs", "export/precision", "runtime/bundle", "engines/graph_nodes", "engines/paths"},
    "export/decode_contract": {"export/checkpoint", "export/families", *DECODING},
    "export/export_plan": {
        "export/checkpoint",
        "export/decode_contract",
        "export/families",
        "export/graphs",
        "export/precision",
        "export/write",
        "runtime/shapes",
        *DECODING,
    },
    "export/parity": {
        "runtime/heap",
        "export/checkpoint",
        "export/export_plan",
        "export/families",
        "export/graphs",
        "export/precision",
        "export/write",
        *BASE,
        *DECODING,
    },
    "export/variants": {
        "runtime/heap",
        "export/checkpoint",
        "export/export_plan",
        "export/graphs",
        "export/parity",
        "export/precision",
        "export/write",
        *DECODING,
    },
    "export/film": {
        "runtime/heap",
        "runtime/cli",
        "runtime/film",
        "export/checkpoint",
        "export/export_plan",
        "export/families",
        "export/families/film",
        "export/graphs",
        "export/parity",
        "export/precision",
        "export/variants",
        "export/write",
        "a2d",  # its version
        *BASE,
        *DECODING,
    },
    "export/peers": {
        "export/checkpoint",
        "export/families",
        "export/graphs",
        "export/write",
        "runtime/measure",
        *DECODING,
    },
    "export/*": {
        *DECODING,
        "export/checkpoint",
        "export/decode_contract",
        "export/export_plan",
        "export/families",
        "export/film",
        "export/graphs",
        "export/parity",
        "export/precision",
        "export/variants",
        "export/write",
        "runtime/heap",
        "runtime/cli",
        "a2d",  # its version
    },
}
"""Package, or a room's own module, to what it may import besides itself; `ROOM/*` stands for a room's other modules."""

THIRD_PARTIES = {
    "engines": {"numpy"},
    "runtime": {"numpy"},
    "calibration": {"numpy", "ml_dtypes", "onnx_ir"},
    "export": {"numpy", "onnx", "onnx_ir", "onnxscript", "optimum", "safetensors", "torch", "transformers"},
}
"""Room to what all its files may import from elsewhere."""

FILES = {
    "engines/cuda.py": {"cuda"},
    "calibration/collect/board.py": {"PIL"},
    "calibration/tune/page.py": {"jinja2"},
    "calibration/verify/page.py": {"jinja2"},
    "runtime/inputs/crops.py": {"PIL"},
    "engines/_import_onnxruntime.py": {"onnxruntime"},
    "engines/graph_nodes.py": {"onnx_ir"},
    "engines/tensorrt/builder/copy.py": {"onnx_ir"},
    "engines/tensorrt/builder/compare_layers.py": {"polygraphy"},
    "engines/tensorrt/builder/fp16_products.py": {"onnx_ir"},
    "engines/tensorrt/builder/late_lookup.py": {"onnx_ir"},
    "engines/tensorrt/builder/open_attention.py": {"onnx_ir"},
    "engines/tensorrt/builder/roll_loops.py": {"onnx_ir"},
    "export/peers/processes/run_genai.py": {"lines", "onnxruntime_genai"},
    "export/peers/processes/run_llama_cpp.py": {"gguf", "lines", "llama_cpp"},
    "export/peers/processes/run_openvino.py": {"lines", "openvino"},
    "export/film/stock_parts.py": {"diffusers"},
    "runtime/demo/page.py": {"jinja2"},
    "runtime/demo/films.py": {"PIL"},
    "runtime/bundle/graph_index.py": {"onnx_ir"},
    "runtime/deploy/build.py": {"filelock"},
    "runtime/farm/pool.py": {"ray"},
    "runtime/film/board.py": {"PIL"},
    "runtime/dailies/movie.py": {"av"},
    "runtime/dailies/otio_shots.py": {"opentimelineio"},
    "runtime/dailies/stills.py": {"PIL"},
    "runtime/footage/media.py": {"av"},
    "runtime/footage/shots.py": {"scenedetect"},
    "runtime/footage/writers/html.py": {"jinja2"},
    "runtime/footage/writers/otio.py": {"opentimelineio"},
    "runtime/inputs/images.py": {"PIL"},
    "runtime/server/web/app.py": {"starlette"},
    "runtime/server/web/file_routes.py": {"starlette"},
    "runtime/server/reply/replies.py": {"starlette"},
    "runtime/server/web/serving.py": {"uvicorn"},
    "runtime/server/web/text_routes.py": {"starlette"},
    "runtime/server/web/video_routes.py": {"starlette"},
    "runtime/inputs/tokenizer.py": {"jinja2", "tokenizers"},
    "runtime/shapes/automaton.py": {"outlines_core"},
    "runtime/inputs/patches.py": {"PIL"},
}
"""File to what it alone may import from elsewhere."""

KNOWN_CIRCLES = {}
"""Pairs that still import each other, to be cut."""

LONGEST_FUNCTION, LONGEST_FILE = 60, 400

SOURCES = [*sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")), *sorted(ROOT.glob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
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


def place_of(module: str) -> str:
    """The package or room's own module that holds the absolute name `module` of ours, as the table spells it."""
    parts = module.split(".")[1:]
    if not parts or parts[0] not in ROOMS:
        return "a2d"
    while len(parts) > 2 and not (ROOT.joinpath(*parts)).is_dir():
        parts = parts[:-1]
    if (
        len(parts) == 2
        and not ROOT.joinpath(*parts).is_dir()
        and not ROOT.joinpath(*parts).with_suffix(".py").is_file()
    ):
        parts = parts[:1]
    return "/".join(parts)


def row_of(place: str) -> str:
    """The table's row of `place`: its own, or that of its room's other modules."""
    return place if place in PACKAGES or place == "a2d" else f"{place.partition('/')[0]}/*"


def forbidden(tree: ast.AST, name: str) -> list[str]:
    """The imports of the file `name` that the table does not allow it."""
    room, _, _ = name.partition("/")
    row = row_of(place_of(f"a2d.{name.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}"))
    wrong = []
    for module in imported(tree, name):
        top, *_ = module.split(".")
        if top == "a2d":
            wrong += [] if row_of(place_of(module)) in PACKAGES[row] | {row} else [module]
        elif top not in sys.stdlib_module_names | THIRD_PARTIES[room] | FILES.get(name, set()):
            wrong.append(module)
    return wrong


def test_packages_import_one_another_in_one_direction():
    """Below the room's own modules, which compose, no two packages of the table import each other."""
    edges = {(row_of(place_of(m)), row_of(place_of(f"a2d.{name_of(path)[:-3].replace('/', '.')}"))) for path in SOURCES
             if path.parent != ROOT for m in imported(parsed(path), name_of(path)) if m.startswith("a2d")}  # fmt: skip
    both = sorted({tuple(sorted(edge)) for edge in edges if edge[0] != edge[1] and edge[::-1] in edges})
    assert [pair for pair in both if pair not in KNOWN_CIRCLES] == []


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
    gone = [
        p for p in PACKAGES if not p.endswith("/*") and not (ROOT / p).is_dir() and not (ROOT / f"{p}.py").is_file()
    ]
    assert gone == []


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("engines/x.py", "from ..runtime.decode.loop import decode", ["a2d.runtime.decode.loop.decode"]),
        ("engines/x.py", "import onnxruntime", ["onnxruntime"]),
        ("engines/_import_onnxruntime.py", "import onnxruntime as ort", []),
        ("runtime/deploy/x.py", "from ...engines import load_engine", []),
        ("runtime/x.py", "def f():\n  from torch import nn", ["torch"]),
        ("runtime/x.py", "def f():\n  import onnx.helper", ["onnx.helper"]),
        ("runtime/x.py", "from a2d import export", ["a2d.export"]),
        ("runtime/x.py", "from importlib import import_module\nimport_module('tensorrt')", ["tensorrt"]),
        ("runtime/cli/x.py", "from ...export import cli", ["a2d.export.cli"]),
        ("runtime/cli/x.py", "from ..bundle.files import Bundle", []),
        ("runtime/decode/x.py", "from ..model import Model", ["a2d.runtime.model.Model"]),
        ("runtime/inputs/x.py", "from ..bundle.files import Bundle", ["a2d.runtime.bundle.files.Bundle"]),
        ("runtime/x.py", "from PIL import Image", ["PIL"]),
        ("runtime/inputs/images.py", "from PIL import Image", []),
        ("runtime/x.py", "from .. import __version__", ["a2d.__version__"]),
        ("export/job.py", "from .. import __version__\nimport torch", []),
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
