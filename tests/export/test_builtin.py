"""The built-in slate reader: exported when it is first asked for, or when its checkpoint is newer than its bundle."""

from __future__ import annotations

import os

import pytest
from bundles import MANIFEST

from a2d.__main__ import GIVEN
from a2d.export import builtin
from a2d.runtime.bundle import names
from a2d.runtime.bundle.manifest import SCHEMA


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree with a checkpoint, and an exporter that writes a manifest alone."""
    weights = tmp_path / "examples" / "slate" / "model" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    made: list[list[str]] = []

    def export(arguments):
        made.append(arguments)
        manifest = tmp_path / "build" / "slate.a2d" / "manifest.json"
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(MANIFEST.dumps())
        return 0

    monkeypatch.setattr(builtin, "ROOT", tmp_path)
    monkeypatch.setattr(names, "ROOT", tmp_path)
    monkeypatch.setattr(builtin, "export", export)
    return weights, made


def test_it_is_exported_once_and_again_when_its_checkpoint_is_newer(tree, tmp_path):
    weights, made = tree
    bundle = tmp_path / "build" / "slate.a2d"
    assert builtin.slate() == builtin.slate(quiet=True) == bundle
    assert made == [[str(weights.parent), "-o", str(bundle), "--force"]]
    later = (bundle / "manifest.json").stat().st_mtime + 10
    os.utime(weights, (later, later))
    assert builtin.slate(quiet=True) == bundle and made[1][-1] == "--quiet"


def test_it_is_exported_again_where_its_bundle_is_of_another_version(tree, tmp_path):
    _, made = tree
    builtin.slate()
    manifest = tmp_path / "build" / "slate.a2d" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"schema": {SCHEMA}', f'"schema": {SCHEMA - 1}'))
    assert builtin.slate() == builtin.slate() == manifest.parent and len(made) == 2


def test_an_export_that_fails_gives_no_bundle(tree, monkeypatch):
    monkeypatch.setattr(builtin, "export", lambda _: 2)
    assert builtin.slate() is None


def test_without_the_source_there_is_none_to_export(tree):
    weights, made = tree
    weights.unlink()
    assert builtin.slate() is None and made == []


def test_a_wheel_s_bundle_is_taken_as_it_is(tree, tmp_path):
    _, made = tree
    manifest = tmp_path / "models" / "slate.a2d" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(MANIFEST.dumps())
    assert builtin.slate() == manifest.parent and made == []


def test_a2d_log_is_handed_it(tree, tmp_path):
    bundle = GIVEN["log"]()
    assert bundle(True) == tmp_path / "build" / "slate.a2d"
