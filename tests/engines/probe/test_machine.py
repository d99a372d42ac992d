"""What a machine is found to be, from the files of some that are not this one."""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import DESKTOP, NOTHING, ORIN, THOR, gpu, machine, write

from a2d.engines.probe.jetson import jetson_at
from a2d.engines.probe.machine import facts
from a2d.engines.probe.packages import installed


def test_a_desktop(tmp_path):
    here = machine(tmp_path, DESKTOP, gpu(89), tensorrt_rtx="1.7.1")
    assert here.jetson is None and not here.unified and here.sm == 89
    assert (here.processor, here.features) == ("AMD Ryzen 9 7950X", ("AVX2", "AVX-512", "AVX-512 VNNI"))
    assert (here.memory_bytes, here.available_bytes) == (65536000 * 1024, 60000000 * 1024)
    assert (here.driver.release, here.packages.toolkit) == ("580.95.05", "13.0.2")


def test_an_orin(tmp_path):
    here = machine(tmp_path, ORIN, gpu(87, "12.6", 7))
    jetson = here.jetson
    assert here.unified and here.sm == 87 and here.features == ("dot products",)
    assert (jetson.l4t, jetson.jetpack, jetson.soc) == ("36.4.3", "6.2", "tegra234")
    assert jetson.model == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert (jetson.power_mode, jetson.power_modes) == ("25W", {"15W": 0, "25W": 1, "MAXN_SUPER": 2})
    assert jetson.clocks_locked is False
    assert here.packages.nvinfer == "10.3.0"


def test_a_thor_whose_driver_gives_no_answer(tmp_path):
    here = machine(tmp_path, THOR, NOTHING)
    assert (here.sm, here.gpu, here.unified) == (110, None, True)
    assert (here.jetson.l4t, here.jetson.jetpack) == ("39.2", "7.2")  # by the package, not by the table
    assert (here.jetson.power_mode, here.jetson.clocks_locked) == ("MAXN", True)


def test_a_release_that_no_table_knows_is_no_guess(tmp_path):
    write(tmp_path, {"etc/nv_tegra_release": "# R42 (release), REVISION: 1.0, GCID: 1, BOARD: generic\n"})
    jetson = jetson_at(tmp_path)
    assert (jetson.l4t, jetson.jetpack, jetson.sm, jetson.power_mode) == ("42.1", None, None, None)


@pytest.mark.parametrize(("status", "mode"), [("pmode:0000", "15W"), ("pmode:0007", "7"), ("", None), ("\xff", None)])
def test_power_modes_without_a_name_are_numbers(tmp_path, status, mode):
    write(tmp_path, ORIN | {"var/lib/nvpmodel/status": status})
    assert jetson_at(tmp_path).power_mode == mode


def test_a_folder_without_files_is_still_a_machine(tmp_path):
    here = machine(tmp_path, {})
    assert here.cores >= 1 and here.system and here.arch and here.python
    assert (here.jetson, here.sm, here.driver.release) == (None, None, None)


def test_an_older_kernel_module_says_its_version_as_well(tmp_path):
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n"
    assert machine(tmp_path, {"proc/driver/nvidia/version": text}).driver.release == "535.183.01"


def test_this_machine_can_be_read():
    here = facts()
    assert here.memory_bytes is None or here.memory_bytes > 1 << 28
    assert here.packages.version("onnxruntime") is not None
    assert here.driver.adapters or here.driver.fault


def test_packages_that_overwrite_each_other(tmp_path):
    def clash(**versions):
        return machine(tmp_path, {}, **versions).packages.clash

    assert clash()("onnxruntime") is None
    assert "pip uninstall onnxruntime onnxruntime-gpu" in clash(onnxruntime_gpu="1.31.1")("onnxruntime")
    assert clash(tensorrt="11.4.0", tensorrt_cu13="11.4.0")("tensorrt") is None
    assert "overwrite each other" in clash(tensorrt_cu12="10.3.0", tensorrt_cu13="11.4.0")("tensorrt")
    assert "overwrite each other" in clash(tensorrt="10.3.0", tensorrt_cu13="11.4.0")("tensorrt")


def test_modules_of_no_known_package_are_found_on_this_machine(tmp_path, monkeypatch):
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.py").write_text("raise SystemExit('it was imported')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = installed(Path(Path.cwd().anchor))
    assert found.has("tensorrt")
