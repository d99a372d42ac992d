"""Which engines a machine can use, and every reason why not."""

from __future__ import annotations

import pytest
from machines import DESKTOP, ORIN, THOR, gpu, machine

from a2d.engines.probe.driver import Driver
from a2d.engines.probe.usable import Verdict, notes, verdicts
from a2d.engines.targets import GPUS, TARGETS

RTX = {"tensorrt_rtx": "1.7.1", "tensorrt_rtx_cu13": "1.7.1", "cuda_bindings": "13.5.0"}
TENSORRT = {"tensorrt": "11.4.0", "tensorrt_cu13": "11.4.0", "cuda_bindings": "13.5.0"}


def of(engine: str, here, device: str | None = None) -> Verdict:
    wanted = device or ("cpu" if engine == "onnxruntime" else "cuda")
    return next(verdict for verdict in verdicts(here) if (verdict.engine, verdict.device) == (engine, wanted))


def test_a_machine_without_a_gpu_decodes_on_its_processor(tmp_path):
    here = machine(tmp_path, DESKTOP)
    cpu, *others = verdicts(here)
    assert (cpu.engine, cpu.runs, cpu.precisions, cpu.why) == ("onnxruntime", True, TARGETS["cpu"].precisions, ())
    assert not any(verdict.runs or verdict.builds or verdict.precisions for verdict in others)
    assert len(others) == 3 and all("no NVIDIA driver" in verdict.why[0] for verdict in others)


def test_engines_for_other_machines_are_built_without_a_gpu(tmp_path):
    rtx = of("tensorrt_rtx", machine(tmp_path, DESKTOP, **RTX))
    assert (rtx.runs, rtx.builds, rtx.version) == (False, True, "1.7.1")
    assert not of("tensorrt", machine(tmp_path, DESKTOP, **TENSORRT)).builds


@pytest.mark.parametrize("sm", [86, 89, 120])
def test_a_workstation(tmp_path, sm):
    here = machine(tmp_path, DESKTOP, gpu(sm), **RTX)
    first = verdicts(here)[0]
    assert (first.engine, first.target, first.runs, first.builds) == ("tensorrt_rtx", "rtx", True, True)
    assert (first.precisions, first.why) == (GPUS[sm].precisions, ())
    assert "fp8" not in of("tensorrt_rtx", machine(tmp_path, DESKTOP, gpu(86), **RTX)).precisions


def test_an_h200_is_not_for_tensorrt_rtx(tmp_path):
    here = machine(tmp_path, DESKTOP, gpu(90), **RTX | TENSORRT)
    rtx = of("tensorrt_rtx", here)
    assert not rtx.runs and rtx.builds
    assert rtx.why == (
        "sm90 (H100, H200, GH200) is not among what TensorRT-RTX serves: sm75, sm80, sm86, sm89, sm120, sm121; "
        "TensorRT does",
    )
    assert of("tensorrt", here).runs


def test_a_gpu_that_nothing_serves(tmp_path):
    here = machine(tmp_path, DESKTOP, gpu(61), **RTX | TENSORRT)
    for engine in ("tensorrt_rtx", "tensorrt"):
        assert "sm61 (NVIDIA sm61) is not among" in of(engine, here).why[0]
        assert "the CPU engine runs everywhere" in of(engine, here).why[0]
    assert verdicts(here)[0].engine == "onnxruntime"


def test_a_driver_that_is_too_old(tmp_path):
    here = machine(tmp_path, DESKTOP, gpu(89, cuda="12.4"), **RTX)
    rtx = of("tensorrt_rtx", here)
    assert not rtx.runs and rtx.builds
    assert rtx.why == (
        "driver 580.95.05 is too old: it runs CUDA 12.4, this TensorRT-RTX was built for CUDA 13. "
        "Install driver 580 or newer, or the package tensorrt-rtx-cu12",
    )
    assert of("tensorrt_rtx", machine(tmp_path, DESKTOP, gpu(89, cuda="13.0"), **RTX)).runs


def test_a_library_that_is_too_old(tmp_path):
    here = machine(tmp_path, DESKTOP, gpu(89), **TENSORRT | {"tensorrt": "8.6.1", "tensorrt_cu13": ""})
    assert of("tensorrt", here).why[0].startswith("TensorRT 8.6.1 is too old, expected 10.3 or newer")


def test_everything_that_is_missing_is_listed(tmp_path):
    here = machine(tmp_path, DESKTOP, gpu(90), onnxruntime="")
    assert of("onnxruntime", here).why == ("ONNX Runtime is not installed: pip install onnxruntime",)
    assert len(of("tensorrt_rtx", here).why) == 2  # the GPU and the library
    here = machine(tmp_path, DESKTOP, gpu(89), tensorrt_rtx="1.7.1")
    assert of("tensorrt_rtx", here).why == ("no CUDA bindings for Python: pip install cuda-bindings",)


def test_two_flavours_at_once_are_noted_and_both_judged(tmp_path):
    here = machine(tmp_path, DESKTOP, gpu(89), **RTX | TENSORRT)
    assert of("tensorrt", here).runs and of("tensorrt_rtx", here).runs
    assert any("TensorRT 11.4.0 and TensorRT-RTX 1.7.1 are both installed" in note for note in notes(here))


def test_two_packages_of_one_module_stand_in_the_way(tmp_path):
    here = machine(tmp_path, DESKTOP, gpu(89), onnxruntime_gpu="1.31.1", tensorrt_cu12="10.3.0", tensorrt_cu13="11.4.0")
    for engine in ("onnxruntime", "tensorrt"):
        assert "overwrite each other" in of(engine, here).why[0]
        assert not of(engine, here).runs


def test_an_orin_of_jetpack_6_has_tensorrt_but_not_for_this_python(tmp_path):
    here = machine(tmp_path, ORIN, gpu(87, "12.6", 7))
    verdict = of("tensorrt", here)
    assert (verdict.target, verdict.runs) == ("jetson-orin", False)
    assert verdict.why[0].startswith("TensorRT 10.3.0 is among the system's libraries, but this Python has no binding")
    assert any("power mode 25W: MAXN_SUPER is faster, sudo nvpmodel -m 2" in note for note in notes(here))
    assert any("jetson_clocks" in note for note in notes(here))


@pytest.mark.parametrize(("files", "sm", "target"), [(ORIN, 87, "jetson-orin"), (THOR, 110, "jetson-thor")])
def test_jetsons_with_everything(tmp_path, files, sm, target):
    here = machine(tmp_path, files, gpu(sm), tensorrt="11.4.1", cuda_bindings="13.5.0")
    verdict = verdicts(here)[0]
    assert (verdict.engine, verdict.target, verdict.runs, verdict.builds) == ("tensorrt", target, True, True)
    assert ("fp8" in verdict.precisions) == (sm == 110)
    assert "sm" in of("tensorrt_rtx", here).why[0]


def test_a_broken_driver_is_the_first_reason(tmp_path):
    fault = "libcuda.so.1 ended the process that asked it, with status -11."
    here = machine(tmp_path, THOR, Driver(fault=fault), tensorrt="11.4.1", cuda_bindings="13.5.0")
    assert of("tensorrt", here).why == (fault,)
    assert of("tensorrt", here).target == "jetson-thor"


def test_onnxruntime_on_a_gpu_is_a_package_of_its_own(tmp_path):
    here = machine(tmp_path, DESKTOP, gpu(90), cuda_bindings="13.5.0")
    assert of("onnxruntime", here, "cuda").why == (
        "this ONNX Runtime is for CPUs: pip uninstall onnxruntime, then pip install onnxruntime-gpu",
    )
    here = machine(tmp_path, DESKTOP, gpu(90), onnxruntime="", onnxruntime_gpu="1.31.1", cuda_bindings="13.5.0")
    verdict = of("onnxruntime", here, "cuda")
    assert (verdict.runs, verdict.target, verdict.precisions) == (True, None, ("fp16", "fp32"))
    assert of("onnxruntime", here).runs  # it brings the CPU's provider as well
    here = machine(tmp_path, DESKTOP, gpu(90), onnxruntime="", onnxruntime_gpu="1.31.1")
    assert of("onnxruntime", here, "cuda").why == ("no CUDA bindings for Python: pip install cuda-bindings",)


def test_several_gpus_are_noted(tmp_path):
    two = Driver(cuda="13.2", adapters=gpu(89).adapters + gpu(75).adapters)
    assert any("several GPUs" in note for note in notes(machine(tmp_path, DESKTOP, two, **RTX)))
