"""`a2d doctor`: the table and the object, of this machine and of others."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from machines import DESKTOP, ORIN, gpu, machine

from a2d.runtime.cli import doctor
from a2d.runtime.dailies.ready import forms_here

HEAVY = ("onnxruntime", "tensorrt", "tensorrt_rtx", "cuda", "torch")


def test_json_is_one_object(capsys):
    assert doctor.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"system", "arch", "gpus", "sm", "driver", "jetson", "libraries", "engines", "notes"} <= set(found)
    cpu = next(engine for engine in found["engines"] if engine["device"] == "cpu")
    assert cpu["runs"] and "int8" in cpu["precisions"] and "fp8" in cpu["emulated"]


def test_the_table_names_every_engine(capsys):
    assert doctor.main([]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("machine", "driver", "onnxruntime", "tensorrt_rtx"))


def test_it_says_what_films_here_and_what_can_be_written(capsys):
    assert doctor.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)["films"]
    assert any(line.startswith("onnxruntime on cpu (") and "fp32" in line for line in found["engines"])
    assert found["forms"]["PNG"] == "yes" and found["forms"][".mp4"] in ("libx264", "mpeg4")
    assert found["forms"][".mov"] == "prores_ks" and found["forms"]["lists of shots"] == "yes"
    assert doctor.main([]) == 0
    said = capsys.readouterr().out
    assert "films      onnxruntime on cpu (" in said and ".mp4: " in said


def test_a_machine_without_the_packages_is_told_what_is_missing():
    found = forms_here(lambda _: False)
    assert found["PNG"] == "yes" and "needs av (PyAV): " in found["movies"].replace("; ", ": ")
    assert "needs opentimelineio" in found["lists of shots"]


def test_a_gpu_films_in_its_own_precisions(tmp_path):
    here = machine(tmp_path, DESKTOP, gpu(89), tensorrt_rtx="1.7.1", cuda_bindings="13.5.0")
    assert "tensorrt_rtx on cuda (fp8, int8, fp16, fp32)" in list(doctor.filming(here))


def test_it_imports_no_vendors_library():
    code = "import sys; from a2d.__main__ import main; main(['doctor'])"
    code += f"; print([name for name in {HEAVY} if name in sys.modules])"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.rstrip().endswith("[]")


def test_a_workstation_in_words(tmp_path):
    here = machine(tmp_path, DESKTOP, gpu(89), tensorrt_rtx="1.7.1", cuda_bindings="13.5.0")
    said = "\n".join(doctor.lines(here))
    assert "gpu        NVIDIA sm89, sm89, 25.8 GB" in said
    assert "driver     580.95.05; runs CUDA 13.2; toolkit 13.0.2" in said
    row = next(line for line in said.splitlines() if line.startswith("tensorrt_rtx"))
    assert row.split() == ["tensorrt_rtx", "cuda", "rtx", "1.7.1", "yes", "yes", "fp8,", "int8,", "fp16,", "fp32"]


def test_a_jetson_in_words(tmp_path):
    said = "\n".join(doctor.lines(machine(tmp_path, ORIN, gpu(87, "12.6", 7))))
    assert "JetPack 6.2, Jetson Linux 36.4.3" in said
    assert "25W of 15W, 25W, MAXN_SUPER; clocks follow the load" in said
    assert "shared with the GPU" in said


@pytest.mark.parametrize("argument", ["--jsn", "bundle"])
def test_other_arguments_are_bad_input(capsys, argument):
    assert doctor.main([argument]) == 2
    assert "a2d doctor" in capsys.readouterr().err
