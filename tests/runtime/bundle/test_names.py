"""Built-in bundles by name: where they are found, what goes first, and what a path that is no bundle is told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from bundles import MANIFEST

from a2d import load
from a2d.engines.errors import BundleError
from a2d.runtime.bundle import names
from a2d.runtime.bundle.files import Bundle
from a2d.runtime.cli.arguments import worded


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty installation, and an empty working folder."""
    monkeypatch.setattr(names, "ROOT", tmp_path / "a2d")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "a2d"


def bundle(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(MANIFEST.dumps())
    return folder


def test_a_name_is_the_wheel_s_bundle_then_the_checkout_s(root):
    with pytest.raises(BundleError, match=r"slate: the built-in model is not here: a wheel holds it, .*`make build"):
        names.located("slate")
    made = bundle(root / "build" / "slate.a2d")
    assert names.located("slate") == made
    installed = bundle(root / "models" / "slate.a2d")
    assert names.located("slate") == installed == Bundle.open("slate").path


def test_a_bundle_of_the_working_folder_goes_first_and_another_folder_does_not(root):
    installed = bundle(root / "models" / "slate.a2d")
    Path("slate").mkdir()
    assert names.located("slate") == installed
    own = bundle(Path("other")).rename("slate/x").parent
    (own / "manifest.json").write_text(MANIFEST.dumps())
    assert names.located("slate") == Path("slate")


def test_a_path_stays_a_path(root):
    bundle(root / "models" / "slate.a2d")
    assert names.located("./slate") == Path("slate") == names.located(names.located("./slate"))
    assert names.located(root / "x") == root / "x"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("slat", "did you mean the built-in model slate?"),
        (
            "Qwen/Qwen3-0.6B",
            "downloads nothing; hf download Qwen/Qwen3-0.6B --local-dir Qwen3-0.6B, then a2d-export",
        ),
        ("ck", "ck: is a checkpoint; make a bundle of it: a2d-export ck -o ck.a2d"),
        ("empty", "empty: has no manifest.json"),
        ("notes.txt", "notes.txt: is not a folder; a bundle is a folder"),
        ("linked", "has a link as manifest.json"),
        (
            "nowhere.a2d",
            "is not a folder; a bundle is a folder, made by a2d-export CHECKPOINT -o NAME.a2d, or",
        ),
    ],
)
def test_a_path_that_is_no_bundle_is_told_what_to_do(given, words, root, tmp_path):
    for folder in ("ck", "empty", "linked"):
        Path(folder).mkdir()
    Path("ck/config.json").write_text(json.dumps({}))
    Path("linked/manifest.json").symlink_to(tmp_path)
    Path("notes.txt").touch()
    with pytest.raises(BundleError) as caught:
        load(given)
    assert re.search(re.escape(words), worded(str(caught.value)))


def test_every_built_in_has_its_rule_in_the_makefile():
    rules = (Path(names.__file__).parent.parent.parent / "Makefile").read_text(encoding="utf-8")
    for one in names.BUILT_IN.values():
        assert re.search(rf"^{one.command.removeprefix('make ')}:", rules, re.MULTILINE)
