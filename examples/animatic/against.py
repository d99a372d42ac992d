"""A bundle's films against the plain decode loop in torch: same weights, prompts and noise, in one process, in turn.

    python examples/animatic/against.py --model build/animatic/model --bundle animatic.a2d

Prints the largest difference of latents and of frames, and seconds a clip of both, as the median of the clips.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from studio import checkpoint
from studio.autoencoder import decoded
from studio.corpus import EVALUATION, prompt_of, scene_of
from studio.film import drawn_noise, latents
from studio.language import rows
from torch import Tensor

import a2d

STEPS = len(checkpoint.STEPS)
Made = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Latents [C, T, h, w] and frames [N, H, W, 3] in 0..1."""


def by_torch(parts: checkpoint.Checkpoint, prompt: str, noise: Tensor) -> Made:
    """The plain loop."""
    made = latents(parts.net, rows(parts.encoder, parts.words, [prompt]), noise, STEPS)
    with torch.no_grad():
        frames = decoded(parts.vae, parts.kind, made)[0]
    return made[0].transpose(0, 1).numpy(), ((frames.clamp(-1, 1) + 1) / 2).movedim(1, -1).numpy()


def by_bundle(model: a2d.Model, prompt: str, noise: Tensor) -> Made:
    """The bundle's loop."""
    film = model.film(prompt, noise=noise[0, 0].transpose(0, 1).contiguous().numpy())
    blocks = list(film)
    return np.concatenate([b.latents for b in blocks], 1), np.concatenate([b.pixels for b in blocks])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint")
    parser.add_argument("--bundle", type=Path, required=True, help="the same, exported in fp32")
    parser.add_argument("--count", type=int, default=4, help="clips; one more goes before, untimed")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    parts, model = checkpoint.load(chosen.model), a2d.load(chosen.bundle, threads=chosen.threads)
    ways: dict[str, list[float]] = {"torch": [], "a2d": []}
    apart = []
    for index in range(chosen.count + 1):
        prompt = prompt_of(scene_of(EVALUATION, index), whole=True)
        noise = drawn_noise([index], parts.net.config.in_channels, 1)
        begun = time.process_time()
        plain = by_torch(parts, prompt, noise)
        between = time.process_time()
        ours = by_bundle(model, prompt, noise)
        ways["torch"].append(between - begun)
        ways["a2d"].append(time.process_time() - between)
        apart.append([float(np.abs(x - y).max()) for x, y in zip(plain, ours, strict=True)])
    latent, pixel = np.max(apart, 0)
    slow, fast = (median(times[1:]) for times in ways.values())
    frames = len(plain[1])
    print(f"largest difference: latents {latent:.2g}, frames {pixel:.2g} of 1")
    print(f"{frames} frames: torch {slow:.2f} s, a2d {fast:.2f} s of CPU time; {slow / fast:.2f} times as fast")


if __name__ == "__main__":
    main()
