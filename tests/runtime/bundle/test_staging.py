"""A bundle directory appears whole or not at all, whatever goes wrong and wherever."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from a2d.engines.errors import BundleError
from a2d.runtime.bundle import staging as bundle_module
from a2d.runtime.bundle.staging import HashedFile, Staging, check_space


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "place" / "model.a2d"


def fill(target: Path, force: bool = False, text: str = "{}") -> None:
    with Staging(target, force) as staging:
        staging.add("a.txt", b"content")
        staging.publish(text)


def left(target: Path) -> list[str]:
    return sorted(p.name for p in target.parent.iterdir()) if target.parent.exists() else []


def test_published(target: Path) -> None:
    with Staging(target) as staging:
        staging.add("a.txt", b"content")
        records = staging.records()
        staging.publish("{}")
    assert left(target) == ["model.a2d"]
    assert sorted(p.name for p in target.iterdir()) == ["a.txt", "manifest.json"]
    assert records["a.txt"].bytes == 7
    assert records["a.txt"].sha256 == hashlib.sha256(b"content").hexdigest()


def test_existing_needs_force(target: Path) -> None:
    fill(target)
    with pytest.raises(BundleError, match="the setting force"):
        fill(target)
    fill(target, force=True, text='{"new": 1}')
    assert (target / "manifest.json").read_text() == '{"new": 1}'
    assert left(target) == ["model.a2d"]


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: p.write_text("x")])
def test_force_replaces_bundles_only(target: Path, make: Callable[[Path], object]) -> None:
    target.parent.mkdir()
    make(target)
    with pytest.raises(BundleError, match="not a bundle"):
        fill(target, force=True)
    assert left(target) == ["model.a2d"]


class Failure:
    """Makes the n-th call of a function raise."""

    def __init__(self, error: BaseException, at: int) -> None:
        self.error, self.at, self.calls = error, at, 0

    def wrap(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        real = getattr(owner, name)

        def failing(*args: object, **named: object) -> object:
            self.calls += 1
            if self.calls == self.at:
                raise self.error
            return real(*args, **named)

        monkeypatch.setattr(owner, name, failing)


POINTS = [
    (HashedFile, "write", 1),
    (HashedFile, "write", 2),
    (HashedFile, "close", 1),
    (bundle_module.os, "fsync", 2),
    (bundle_module, "_sync", 1),
    (Staging, "_swap", 1),
]


@pytest.mark.parametrize(("owner", "name", "at"), POINTS)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("exists", [False, True])
def test_failure_at_any_point_leaves_what_was(
    target: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, at: int, error: BaseException, exists: bool
) -> None:
    if exists:
        fill(target, text='{"old": 1}')
    Failure(error, at).wrap(monkeypatch, owner, name)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else BundleError) as caught:
        fill(target, force=True)
    if isinstance(error, OSError):
        assert "No space left" in str(caught.value)
        assert str(target) in str(caught.value)
    assert left(target) == (["model.a2d"] if exists else [])
    if exists:
        assert (target / "manifest.json").read_text() == '{"old": 1}'


def test_the_old_one_returns_if_the_rename_fails(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(target, text='{"old": 1}')
    Failure(OSError(errno.EIO, "Input/output error"), 2).wrap(monkeypatch, Path, "rename")
    with pytest.raises(BundleError, match="Input/output error"):
        fill(target, force=True)
    assert left(target) == ["model.a2d"]
    assert (target / "manifest.json").read_text() == '{"old": 1}'


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_an_interrupt_during_the_swap_waits_for_it(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swap = Staging._swap

    def interrupted(self: Staging) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        swap(self)

    monkeypatch.setattr(Staging, "_swap", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(target)
    assert left(target) == ["model.a2d"]  # whole: the interrupt came too late to undo it
    assert (target / "manifest.json").is_file()


def test_an_interrupt_during_removal_waits_for_it(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = shutil.rmtree

    def interrupted(path: Path, ignore_errors: bool = False) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(bundle_module.shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), Staging(target) as staging:
        staging.add("a.txt", b"content")
    assert left(target) == []


def test_parent_that_cannot_be_written(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.parent.mkdir()
    Failure(PermissionError(errno.EACCES, "Permission denied"), 2).wrap(monkeypatch, Path, "mkdir")
    with pytest.raises(BundleError, match=r"Permission denied.*-o"):
        fill(target)
    assert left(target) == []


def test_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="-o"):
        fill(tmp_path / "file" / "model.a2d")


def test_space_is_checked_before(target: Path) -> None:
    check_space(target, 1)
    with pytest.raises(BundleError, match=r"GB free, expected .* Make room"):
        check_space(target, 1 << 60)


@pytest.mark.parametrize("force", [False, True])
def test_a_link_to_itself_is_in_the_way(tmp_path, force):
    (loop := tmp_path / "loop.a2d").symlink_to(loop)
    with pytest.raises(BundleError, match="loop.a2d exists"), Staging(loop, force):
        pass
    assert list(tmp_path.iterdir()) == [loop]
