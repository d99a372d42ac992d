"""Command lines that install an extra, from the place that this installation came from; never a stranger's."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from a2d.engines import install

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class Record:
    """A distribution as `importlib.metadata` gives it."""

    def __init__(self, direct_url: object) -> None:
        self.direct_url = direct_url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.direct_url is None else json.dumps(self.direct_url)


EDITABLE = {"url": "file:///srv/a%202d", "dir_info": {"editable": True}}
WHEEL = {"url": "file:///srv/dist/a2d_runtime-0.1.0-py3-none-any.whl", "archive_info": {"hash": "sha256=00"}}
GIT = {"url": "https://example.org/a2d.git", "vcs_info": {"vcs": "git", "commit_id": "0f3a"}}


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (EDITABLE, "pip install -e '/srv/a 2d[log]'"),
        (WHEEL, "pip install '/srv/dist/a2d_runtime-0.1.0-py3-none-any.whl[log]'"),
        (GIT, "pip install 'a2d-runtime[log] @ git+https://example.org/a2d.git@0f3a'"),
        ({"url": "https://example.org/a.whl"}, "pip install 'a2d-runtime[log] @ https://example.org/a.whl'"),
        (None, "pip install 'a2d-runtime[log]'"),
    ],
)
def test_an_extra_comes_from_where_a2d_came_from(record, line, monkeypatch):
    monkeypatch.setattr(metadata, "distribution", lambda _: Record(record))
    assert install.extra("log") == line


def test_a_checkout_that_nobody_installed_names_itself(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert install.extra("log") == f"pip install -e '{ROOT}[log]'"


@pytest.mark.parametrize(
    ("record", "words"),
    [(EDITABLE, "from /srv/a 2d; get a newer checkout"), (None, "pip install --upgrade a2d-runtime")],
)
def test_an_update_comes_from_there_too(record, words, monkeypatch):
    monkeypatch.setattr(metadata, "distribution", lambda _: Record(record))
    assert words in install.update()


def test_the_name_is_that_of_the_project():
    assert PROJECT["name"] == install.DISTRIBUTION


def test_every_extra_that_the_code_names_exists():
    named = {
        name
        for room in ("engines", "runtime", "calibration", "export")
        for path in (ROOT / room).rglob("*.py")
        for name in re.findall(r"\bextra\(['\"](\w+)['\"]\)", path.read_text(encoding="utf-8"))
    }
    assert {"log", "export", "calibrate", "build"} <= named <= set(PROJECT["optional-dependencies"])


STRANGER = re.compile(r"""pip install( -[^\s"']+)* ["']?a2d(?![\w./-])|(?<![\w.-])a2d\[[a-z]""")
"""An install line that names `a2d`, which on the public index is somebody else's."""


@pytest.mark.parametrize("line", ['pip install "a2d[log]"', "pip install -U a2d", "pip install 'a2d'", "a2d[rtx]"])
def test_the_check_finds_a_stranger(line):
    assert STRANGER.search(line)


@pytest.mark.parametrize("line", ["pip install a2d-runtime", "pip install 'a2d-runtime[log]'", "pip install -e ."])
def test_the_check_knows_ours(line):
    assert not STRANGER.search(line)


def test_no_line_of_the_repository_installs_a_stranger_s_package():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git here")
    kinds = {".py", ".md", ".toml", ".sh", ".c", ".h", ".hpp", ".yml", ""}
    files = [ROOT / n for n in listed.stdout.splitlines() if Path(n).suffix in kinds and not n.startswith("tests/")]
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()}
    assert [(path.name, hit[0]) for path, text in texts.items() if (hit := STRANGER.search(text))] == []
