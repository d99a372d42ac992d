"""Machines as folders of the files that they are read from."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

from a2d.engines.probe.driver import Adapter, Driver
from a2d.engines.probe.machine import Facts, facts
from a2d.engines.probe.packages import installed

DESKTOP = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD Ryzen 9 7950X\nflags\t\t: fpu avx2 avx512f avx512_vnni\n",
    "proc/meminfo": "MemTotal:       65536000 kB\nMemFree:        1 kB\nMemAvailable:   60000000 kB\n",
    "proc/driver/nvidia/version": (
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder)\n"
        "GCC version:  gcc version 13.3.0\n"
    ),
    "usr/local/cuda/version.json": '{"cuda" : {"name" : "CUDA SDK", "version" : "13.0.2"}, "nvcc": {"version": "1"}}',
}

ORIN = {
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd42\n",
    "proc/meminfo": "MemTotal:        7801000 kB\nMemAvailable:    5600000 kB\n",
    "etc/nvpmodel.conf": (
        "# < POWER_MODEL ID=id_num NAME=mode_name >\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n"
        "< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n< PM_CONFIG DEFAULT=1 >\n"
    ),
    "var/lib/nvpmodel/status": "pmode:0001",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "918000000\n",
    "usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0": "",
}

THOR = {
    "etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 1, BOARD: generic, EABI: aarch64\n",
    "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0",
    "proc/meminfo": "MemTotal:       128000000 kB\nMemAvailable:   120000000 kB\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n",
    "var/lib/nvpmodel/status": "pmode:0000",
    "sys/class/devfreq/gpu-gpc-0/min_freq": "1575000000",
    "sys/class/devfreq/gpu-gpc-0/max_freq": "1575000000",
    "var/lib/dpkg/status": (
        "Package: nvidia-jetpack-dev\nVersion: 9.9-b1\n\nPackage: nvidia-jetpack\nStatus: install ok installed\n"
        "Priority: standard\nVersion: 7.2-b182\n\nPackage: zlib1g\nVersion: 1:1.3\n"
    ),
}

NOTHING = Driver(fault="no NVIDIA driver: libcuda.so.1 is not here")


def gpu(sm: int, cuda: str = "13.2", gib: int = 24) -> Driver:
    """A driver with one GPU."""
    return Driver(cuda=cuda, adapters=(Adapter(f"NVIDIA sm{sm}", sm, gib << 30, False),))


def write(root: Path, files: dict[str, str]) -> Path:
    """The files below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return root


def machine(root: Path, files: dict[str, str], driver: Driver = NOTHING, **versions: str) -> Facts:
    """The facts of a machine with these files, this driver and these packages; `_` in a package's name is `-`."""
    held = {"a2d": "0.1.0", "onnxruntime": "1.32.0"} | {n.replace("_", "-"): v for n, v in versions.items() if v}
    held = {name: version for name, version in held.items() if versions.get(name.replace("-", "_"), "-") != ""}

    def lookup(name: str) -> str:
        if name not in held:
            raise PackageNotFoundError(name)
        return held[name]

    return facts(write(root, files), lambda _: driver, lambda root: installed(root, lookup))
