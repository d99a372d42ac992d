"""What is read of a driver: a library in C that plays one, and a script that plays nvidia-smi."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DATA

from a2d.engines.probe import driver
from a2d.engines.probe.driver import Adapter, Driver, ask, library_name, read

posix = pytest.mark.skipif(sys.platform == "win32", reason="the fake driver and nvidia-smi are for POSIX systems")


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., str]:
    """Compile a driver that says what the macros say; returns its path."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to make a fake driver with")

    def make(*macros: str) -> str:
        path = tmp_path / "libfake.so"
        source = DATA / "fake_libcuda.c"
        flags = [f"-D{macro}" for macro in macros]
        subprocess.run([compiler, "-shared", "-fPIC", *flags, "-o", path, source], check=True)
        return str(path)

    return make


RTX = Adapter("NVIDIA GeForce RTX 4090", 89, 24 << 30, False)


def test_a_driver_with_one_gpu(fake):
    assert read(fake()) == Driver(cuda="13.2", adapters=(RTX,))


def test_an_integrated_gpu_and_an_older_cuda(fake):
    found = read(fake("SM=87", "INTEGRATED=1", "VERSION=12060"))
    assert found.cuda == "12.6"
    assert (found.adapters[0].sm, found.adapters[0].integrated) == (87, True)


def test_several_gpus_keep_their_order(fake):
    assert [adapter.name for adapter in read(fake("COUNT=2", "SM=120")).adapters] == [RTX.name, "Second GPU"]
    assert {adapter.sm for adapter in read(fake("COUNT=2", "SM=120")).adapters} == {120}


@pytest.mark.parametrize(
    ("macros", "said"),
    [
        (["STATUS=100"], r"says CUDA_ERROR_NO_DEVICE: no GPU to see: hidden by CUDA_VISIBLE_DEVICES"),
        (["STATUS=803"], "says CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: .*reboot"),
        (["STATUS=4711"], "says error 4711$"),
        (["COUNT=0"], "no GPU to see"),
    ],
)
def test_a_driver_that_refuses_says_why(fake, macros, said):
    found = read(fake(*macros))
    assert (found.adapters, found.cuda) == ((), "13.2")
    assert re.search(said, found.fault)


def test_a_missing_library_is_no_driver():
    assert read("libno_such_driver.so.1") == Driver(fault="no NVIDIA driver: libno_such_driver.so.1 is not here")


def test_the_driver_is_asked_in_another_process(fake):
    assert ask(fake(), smi=None) == Driver(cuda="13.2", adapters=(RTX,))


def test_a_driver_that_crashes_takes_the_other_process_down(fake):
    found = ask(fake("CRASH"), smi=None)
    assert found.adapters == () and "ended the process that asked it, with status -11" in found.fault


def test_a_driver_that_hangs_is_given_up(fake, monkeypatch):
    monkeypatch.setattr(driver, "PATIENCE", 2.0)
    assert "gave no answer within 2 s" in ask(fake("HANG"), smi=None).fault


SMI = "echo '580.95.05, 8.9, 24564, NVIDIA GeForce RTX 4090'; echo '580.95.05, 8.6, [N/A], A GPU, with a comma'"


@pytest.fixture
def smi(tmp_path: Path) -> Callable[[str], str]:
    def make(script: str) -> str:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return make


@posix
def test_nvidia_smi_stands_in_for_a_library_that_is_not_there(smi):
    found = ask("libno_such_driver.so.1", smi=smi(SMI))
    assert (found.release, found.cuda) == ("580.95.05", None)
    assert [(a.name, a.sm, a.memory_bytes) for a in found.adapters] == [
        ("NVIDIA GeForce RTX 4090", 89, 24564 << 20),
        ("A GPU, with a comma", 86, 0),
    ]
    assert "not here" in found.fault


@posix
def test_the_library_is_believed_before_nvidia_smi(fake, smi):
    found = ask(fake("SM=120"), smi=smi(SMI))
    assert [adapter.sm for adapter in found.adapters] == [120]
    assert (found.release, found.fault) == ("580.95.05", None)


@posix
@pytest.mark.parametrize("script", ["exit 9", "echo 'NVIDIA-SMI has failed'", "true"])
def test_a_failing_nvidia_smi_says_nothing(smi, script):
    assert ask("libno_such_driver.so.1", smi=smi(script)) == read("libno_such_driver.so.1")


def test_systems_have_their_own_library():
    assert [library_name(name) for name in ("linux", "win32", "darwin")] == ["libcuda.so.1", "nvcuda.dll", None]
    assert ask(None).fault == "NVIDIA has no driver for this system"
