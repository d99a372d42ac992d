"""The builder's own parts: interrupts, progress, GPUs that a release does not know, timing caches, and its log."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from a2d.engines.errors import EngineError
from a2d.engines.tensorrt.builder import build_engine as builder
from a2d.engines.tensorrt.libraries import LIBRARIES, imported, version
from a2d.engines.tensorrt.log import KEPT, Log


def test_work_gives_its_result_or_its_error():
    stop = threading.Event()
    assert builder._interruptible(lambda: 7, stop) == 7
    with pytest.raises(EngineError, match="the reason"):
        builder._interruptible(lambda: (_ for _ in ()).throw(EngineError("the reason")), stop)
    assert not stop.is_set()


def test_an_interrupt_waits_for_the_work_to_stop(monkeypatch):
    stop, ended = threading.Event(), []

    def work() -> None:
        stop.wait(10)
        ended.append("the library is done")

    wait = threading.Event.wait

    def interrupted_once(self, timeout=None):
        if timeout != builder.POLL:  # not the wait for the work
            return wait(self, timeout)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        builder._interruptible(work, stop)
    assert stop.is_set() and ended == ["the library is done"]


def test_progress_nests_and_asks_whether_to_go_on():
    library = SimpleNamespace(IProgressMonitor=type("IProgressMonitor", (), {}))
    told, stop = [], threading.Event()
    monitor = builder._monitor(library, told.append, stop)
    monitor.phase_start("build", None, 2)
    monitor.phase_start("tactics", "build", 4)
    assert monitor.step_complete("tactics", 0) and told[-1] == pytest.approx(1 / 8)
    assert monitor.step_complete("tactics", 3) and told[-1] == pytest.approx(1 / 2)
    monitor.phase_finish("tactics")
    assert monitor.step_complete("build", 0) and told[-1] == pytest.approx(1 / 2)
    stop.set()
    assert not monitor.step_complete("build", 1) and told[-1] == 1.0
    assert not monitor.step_complete("never begun", 5)  # a library may finish what it never announced


def test_a_gpu_that_the_release_does_not_know():
    library = SimpleNamespace(ComputeCapability=SimpleNamespace(SM86=1, SM89=2, CURRENT=0))
    config = SimpleNamespace(chosen=[], set_compute_capability=lambda sm, i: config.chosen.append((sm, i)))
    builder._name_gpus(library, config, (86, 89))
    assert config.num_compute_capabilities == 2 and config.chosen == [(1, 0), (2, 1)]
    with pytest.raises(EngineError, match="builds for SM86, SM89, not for SM120"):
        builder._name_gpus(library, config, (86, 120))


class TimingConfig:
    """A builder config that takes caches of its own release alone."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def create_timing_cache(self, content: bytes) -> bytes:
        return content

    def set_timing_cache(self, cache: bytes, _ignore: bool) -> bool:
        self.taken.append(cache)
        return not cache.startswith(b"other")


@pytest.mark.parametrize(
    ("content", "taken"), [(None, [b""]), (b"mine", [b"mine"]), (b"other release", [b"other release", b""])]
)
def test_a_timing_cache_is_used_again_unless_it_is_of_another_release(tmp_path, content, taken):
    path: Path = tmp_path / "timing.cache"
    if content is not None:
        path.write_bytes(content)
    config = TimingConfig()
    assert builder._timing_cache(config, path) == taken[-1]
    assert config.taken == taken
    assert builder._timing_cache(config, None) is None


def test_a_log_keeps_the_first_error_and_is_bounded():
    log = Log()
    assert log.cause == "it gave no reason"
    log.write("WARNING", "careful")
    log.write("INTERNAL_ERROR", " the cause ")
    log.write("ERROR", "what came of it")
    for i in range(KEPT + 5):
        log.write("INFO", str(i))
    assert log.cause == "the cause" and log.text().startswith("WARNING: careful\nINTERNAL_ERROR:  the cause")
    assert len(log.lines) == KEPT


# -- the libraries


def test_a_library_that_is_missing_says_how_to_install_it(monkeypatch):
    imported.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(EngineError, match=r"TensorRT is not installed here.*\[tensorrt\].*JetPack"):
        imported("tensorrt")
    imported.cache_clear()


@pytest.mark.parametrize(("release", "fits"), [("10.3.0", True), ("11.4.0", True), ("10.0.1", False), ("8.6.1", False)])
def test_a_library_that_is_too_old(monkeypatch, release, fits):
    imported.cache_clear()
    module = SimpleNamespace(__version__=release)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", module)
    if fits:
        assert imported("tensorrt") is module
    else:
        with pytest.raises(EngineError, match=rf"TensorRT {release} is here, a2d needs 10\.3"):
            imported("tensorrt")
    imported.cache_clear()


def test_versions_are_read_without_importing():
    assert set(LIBRARIES) == {"tensorrt", "tensorrt_rtx"}
    found = version("tensorrt_rtx")
    assert found is None or found.count(".") >= 2
