"""Training of an autoencoder on rendered shards: resumable at any moment, and measured.

Knows pixels and latents; no prompts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .autoencoder import KINDS, decoded, encoded, made
from .work import worked

__all__ = ["Quality", "Shards", "measured", "train"]

CLAMP = 3.0
"""AutoencoderTiny's decoder bends latents towards this: they have to stay well inside."""
MOMENTS, EDGES, NOISE = 0.02, 1.0, 0.06
"""Weights of the losses beside L1; the decoder learns from latents with so much noise, as a network will hand it."""


HUES = 2.0
"""Weight of a difference in hue beside one in lightness."""


class Shards:
    """All rendered clips of a folder, mapped, not read."""

    def __init__(self, folder: Path) -> None:
        self._files = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]
        if not self._files:
            raise ValueError(f"{folder} holds no *.npy, expected rendered clips; run train.py render first")

    def windows(self, rng: np.random.Generator, count: int, groups: int) -> Tensor:
        """[count, 1 + 4 * groups, 3, H, W] in -1 to 1, from anywhere in a clip."""
        return torch.stack([self._window(rng, groups) for _ in range(count)])

    def _window(self, rng: np.random.Generator, groups: int) -> Tensor:
        shard = self._files[rng.integers(len(self._files))]
        clip = shard[rng.integers(len(shard))]
        start = 4 * rng.integers((clip.shape[0] - 1) // 4 - groups + 1)
        return pixels(clip[start : start + 1 + 4 * groups])


def pixels(frames: NDArray[np.uint8]) -> Tensor:
    """[..., H, W, 3] bytes to [..., 3, H, W] in -1 to 1."""
    return torch.from_numpy(np.array(frames)).movedim(-1, -3).float() / 127.5 - 1


def opponent(colours: Tensor) -> Tensor:
    """RGB [..., 3, H, W] as lightness, red against green and blue against yellow, the hues weighing more.

    Otherwise costumes stay grey for long: most of a picture's error is in its lightness.
    """
    r, g, b = colours.unbind(-3)
    return torch.stack([(r + g + b) / 3, HUES * (r - g) / 2, HUES * (r + g - 2 * b) / 4], -3)


def loss_of(vae: Any, name: str, frames: Tensor, noise: float = NOISE) -> Tensor:
    """L1 of colours and of edges in space and time, and how far latents are from mean 0 and deviation 1."""
    kind = KINDS[name]
    z = encoded(vae, kind, frames).float()
    made_ = decoded(vae, kind, z + noise * torch.randn_like(z)).float()
    d = opponent(made_ - frames)
    edges = d.diff(dim=-1).abs().mean() + d.diff(dim=-2).abs().mean() + d.diff(dim=1).abs().mean()
    mean, deviation = z.mean((0, 1, 3, 4)), z.std((0, 1, 3, 4))
    moments = mean.square().mean() + (deviation - 1).square().mean() + functional.relu(z.abs() - CLAMP).mean()
    return d.abs().mean() + 0.5 * d.square().mean() + EDGES * edges + MOMENTS * moments


@dataclass(frozen=True)
class Quality:
    """Over whole clips that training never saw."""

    psnr: float
    worst: float
    """PSNR of the worst clip."""
    decode_ms: float
    """One clip, float32, one thread."""


@torch.no_grad()
def measured(vae: Any, name: str, clips: NDArray[np.uint8]) -> Quality:
    errors, seconds = [], []
    for clip in clips:
        frames = pixels(clip)[None]
        z = encoded(vae, KINDS[name], frames)
        begun = time.perf_counter()
        made_ = decoded(vae, KINDS[name], z)
        seconds.append(time.perf_counter() - begun)
        errors.append(float((made_.clamp(-1, 1) - frames).square().mean()) / 4)
    psnr = -10 * np.log10(np.array(errors))
    return Quality(float(psnr.mean()), float(psnr.min()), 1000 * float(np.median(seconds)))


def train(
    name: str,
    shards: Path,
    out: Path,
    minutes: float,
    batch: int = 4,
    rate: float = 2e-3,
    save_minutes: float = 3.0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train until `minutes` of work are done, those before a resumption included. Returns counts.

    On a CPU they are minutes of its time, not of the clock: a machine with other work as well trains as far.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    vae: Any = made(KINDS[name]).to(device)
    if not KINDS[name].wan:
        vae = vae.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    seen, spent = 0, 0.0
    state = out / "state.pt"
    if state.is_file():
        kept = torch.load(state, weights_only=True, map_location=device)
        vae.load_state_dict(kept["vae"])
        optimizer.load_state_dict(kept["optimizer"])
        seen, spent = kept["seen"], kept["spent"]
    data, begun, saved = Shards(shards), worked(device) - spent, time.monotonic()
    while (spent := worked(device) - begun) < 60 * minutes:
        done = spent / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, seen / (40 * batch), max(0.02, (1 - done) / 0.3))
        frames = data.windows(np.random.default_rng((1, seen)), max(1, batch // 2), 1).to(device)
        with torch.autocast(device, torch.bfloat16):
            loss = loss_of(vae, name, frames)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += batch
        if seen // batch % 200 == 0:
            print(f"{name} {spent / 60:.1f} min, {seen} windows, loss {float(loss.detach()):.4f}", flush=True)
        if time.monotonic() - saved > 60 * save_minutes:
            _save(state, vae, optimizer, seen, worked(device) - begun)
            saved = time.monotonic()
    _save(state, vae, optimizer, seen, spent)
    if hasattr(vae, "save_pretrained"):
        vae.save_pretrained(out / "vae")
    return {"seen": seen, "minutes": spent / 60}


def _save(path: Path, vae: Any, optimizer: Any, seen: int, spent: float) -> None:
    part = path.with_suffix(".part")
    torch.save({"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "seen": seen, "spent": spent}, part)
    part.replace(path)
