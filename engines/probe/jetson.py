"""The kind of Jetson that this is, from the files that Jetson Linux keeps: module, L4T, JetPack, power mode, clocks.

Reads below a root folder, so that a copy of those files is as good as a Jetson. Knows nothing of GPUs' drivers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["JETPACKS", "SOCS", "Jetson", "jetson_at", "text_of"]


@dataclass(frozen=True)
class Soc:
    """A system on a chip that Jetsons are made of."""

    what: str
    sm: int


SOCS = {"tegra234": Soc("Jetson Orin", 87), "tegra264": Soc("Jetson Thor", 110), "tegra194": Soc("Jetson Xavier", 72)}
"""Systems on a chip by the last word of the device tree's `compatible`."""

JETPACKS = {
    "36.3": "6.0",
    "36.4": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "38.2": "7.0",
    "38.4": "7.1",
    "39.2": "7.2",
}
"""Jetson Linux (L4T) to JetPack, by NVIDIA's archive, for where the package `nvidia-jetpack` is not installed."""


@dataclass(frozen=True)
class Jetson:
    """A Jetson."""

    model: str
    """Name in the device tree: `NVIDIA Jetson AGX Orin Developer Kit`."""
    soc: str
    """`tegra234`; empty where the device tree does not say."""
    sm: int | None
    l4t: str | None
    """Release of Jetson Linux, `36.4.3`."""
    jetpack: str | None
    """`6.2`; None where neither the package nor the release tells."""
    power_mode: str | None
    """`MAXN_SUPER`: what nvpmodel was last set to."""
    power_modes: dict[str, int]
    """All of them with their numbers, which `nvpmodel -m` takes."""
    clocks_locked: bool | None
    """The GPU's clock stands at its maximum, as jetson_clocks sets it; None where the kernel does not tell."""


def jetson_at(root: Path) -> Jetson | None:
    """The Jetson whose files lie below `root`; None if it is none."""
    release = text_of(root / "etc/nv_tegra_release")
    compatible = (text_of(root / "proc/device-tree/compatible") or "").split("\0")
    soc = next((name for word in compatible if (name := word.rpartition(",")[2]) in SOCS), "")
    if release is None and not soc:
        return None
    l4t = _l4t(release or "")
    modes = _modes(text_of(root / "etc/nvpmodel.conf") or "")
    return Jetson(
        model=(text_of(root / "proc/device-tree/model") or "Jetson").strip("\0\n "),
        soc=soc,
        sm=SOCS[soc].sm if soc else None,
        l4t=l4t,
        jetpack=_jetpack(root, l4t),
        power_mode=_mode(text_of(root / "var/lib/nvpmodel/status") or "", modes),
        power_modes={name: number for number, name in modes.items()},
        clocks_locked=_locked(root),
    )


def text_of(path: Path, most: int = 64 << 20) -> str | None:
    """The content of a text file; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(most).decode("utf-8", errors="replace")
    except OSError:
        return None


def _l4t(release: str) -> str | None:
    """`# R36 (release), REVISION: 4.3, ...` is 36.4.3."""
    found = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", release)
    return f"{found[1]}.{found[2].removesuffix('.0')}" if found else None


def _jetpack(root: Path, l4t: str | None) -> str | None:
    """The installed package's version, or what belongs to the release of Jetson Linux."""
    installed = text_of(root / "var/lib/dpkg/status") or ""
    found = re.search(r"^Package: nvidia-jetpack\n(?:.+\n)*?Version: ([\d.]+)", installed, re.MULTILINE)
    return found[1] if found else JETPACKS.get(l4t or "")


def _modes(conf: str) -> dict[int, str]:
    found = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", conf)
    return {int(number): name for number, name in sorted(found, key=lambda one: int(one[0]))}


def _mode(status: str, modes: dict[int, str]) -> str | None:
    """`pmode:0002` is the second mode, or its number where the modes have no names."""
    found = re.search(r"pmode:(\d+)", status)
    return modes.get(int(found[1]), str(int(found[1]))) if found else None


def _locked(root: Path) -> bool | None:
    """True where the GPU's frequency has no room to move; None where nothing tells."""
    for folder in sorted((root / "sys/class/devfreq").glob("*gpu*")):
        low, high = (text_of(folder / name) for name in ("min_freq", "max_freq"))
        if low is not None and high is not None:
            return low.strip() == high.strip()
    return None
