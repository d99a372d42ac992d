"""The check of `make test-arm64` itself, without an emulator: what it says is missing, and that a difference is one."""

from __future__ import annotations

import copy
import sys

import pytest
from arm64 import check

READ = {
    "machine": "x86_64",
    "readings": [
        {"frame": "a.png", "rule": {"steps": 4}, "tokens": [1, 2], "forwards": 3, "confidence": [0.5, 0.25]},
        {"frame": "b.png", "rule": {"steps": 4}, "tokens": [4, 5], "forwards": 3, "confidence": [1.0]},
    ],
}


def test_a_machine_without_the_tools_skips_and_names_their_packages(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["test-arm64", "--build", str(tmp_path / "build")])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(check.os, "geteuid", lambda: 1000, raising=False)
    assert check.main() == check.SKIPPED
    said = capsys.readouterr().err
    assert said.startswith("test-arm64: skipped")
    assert all(package in said for package in ("mmdebstrap", "qemu-user-static", "sudo make test-arm64"))
    assert not (tmp_path / "build").exists()


def test_equal_readings_differ_in_nothing():
    there = copy.deepcopy(READ)
    there["readings"][0]["confidence"][1] += 1e-3
    assert list(check.differences(READ, there)) == []
    assert check.furthest(READ, there) == pytest.approx(1e-3)


@pytest.mark.parametrize(("name", "value"), [("tokens", [1, 3]), ("tokens", [1]), ("forwards", 4)])
def test_another_token_or_another_number_of_forwards_is_a_difference(name, value):
    there = copy.deepcopy(READ)
    there["readings"][0][name] = value
    (line,) = check.differences(READ, there)
    assert line.startswith("a.png {'steps': 4}: " + name) and str(READ["readings"][0][name]) in line


def test_the_package_is_laid_out_as_the_wheel_is(tmp_path):
    check.sources(tmp_path)
    for name in ("__init__.py", "__main__.py", "engines/onnxruntime.py", "runtime/decode/loop.py"):
        assert (tmp_path / "a2d" / name).is_file()


def test_the_packages_are_the_runtimes_in_the_versions_of_this_environment():
    names = dict(line.split("==") for line in check.requirements())
    assert {"numpy", "onnxruntime", "tokenizers", "onnx", "pytest"} <= set(names)
    assert "torch" not in names
