"""Cosmos 3 networks and requests drawn at random against the stock pipeline, and four-step students against theirs.

`A2D_DRAWS=N` tries N draws instead of the few that the suite has time for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")
import torch
from towers_checkpoints import RECIPES, VAE, Opened, Recipe, checkpoint, stock

from a2d.engines.errors import ContractError, RequestError

DRAWS = int(os.environ.get("A2D_DRAWS", "3"))

PROMPTS = (
    "A paper boat, in the rain...",
    "x",
    "",
    "Ünïcode “quotes” and a longer sentence than the others, twice over.",
)


def drawn(rng: np.random.Generator) -> Recipe:
    """A network, a scheduler and a VAE that a checkpoint could have."""
    edge, kv_heads, head_dim = bool(rng.random() < 0.5), int(rng.integers(1, 4)), int(rng.choice([8, 16, 24, 32]))
    cuts = np.sort(rng.integers(0, head_dim // 2 + 1, 2))
    axes = [int(cuts[0]), int(cuts[1] - cuts[0]), int(head_dim // 2 - cuts[1])]
    plain = bool(rng.random() < 0.3)
    patch, channels = int(rng.choice([1, 2])), 16 if plain else 48
    network = {
        "hidden_size": int(rng.choice([16, 40, 64])), "head_dim": head_dim, "num_key_value_heads": kv_heads,
        "num_attention_heads": kv_heads * int(rng.integers(1, 4)), "intermediate_size": int(rng.integers(8, 90)),
        "num_hidden_layers": int(rng.integers(1, 4)), "rope_axes_dim": axes, "latent_channel": channels,
        "rope_theta": float(rng.choice([1e4, 5e6, 1e8])), "rms_norm_eps": float(rng.choice([1e-6, 1e-5])),
        "base_fps": int(rng.choice([16, 24])), "enable_fps_modulation": bool(rng.random() < 0.8),
        "latent_patch_size": patch, "patch_latent_dim": channels * patch**2, "attention_bias": bool(rng.random() < 0.3),
        "unified_3d_mrope_temporal_modality_margin": int(rng.choice([0, 700, 15000])),
        "hidden_act": "relu2" if edge else "silu", "timestep_scale": float(rng.choice([0.001, 0.003])),
        "use_und_k_norm_for_gen": edge, "qk_norm_for_text": not edge,
    }  # fmt: skip
    native, karras = bool(rng.random() < 0.4), bool(rng.random() < 0.4)
    scheduler: dict[str, Any] = {"flow_shift": float(rng.choice([1.0, 3.0, 8.0, 12.0]))}
    if karras:
        scheduler |= {"use_karras_sigmas": True, "sigma_max": float(rng.choice([80.0, 200.0])), "sigma_min": 0.147}
    pixels = {**VAE, "latents_mean": [0.1] * channels, "latents_std": [0.7] * channels, "z_dim": channels}
    if plain:
        pixels |= {"is_residual": False, "patch_size": None, "in_channels": 3, "out_channels": 3}
        pixels |= {"decoder_base_dim": None, "scale_factor_spatial": 8}
    system = {"use_native_flow_schedule": native, "default_use_system_prompt": bool(rng.random() < 0.5)}
    return Recipe(network, scheduler, system, pixels)


def asked(rng: np.random.Generator, temporal: int) -> dict[str, Any]:
    """A request: `size` is in latents."""
    return {
        "frames": 1 + temporal * int(rng.integers(0, 4)), "size": tuple(int(x) for x in rng.integers(1, 6, 2)),
        "fps": float(rng.choice([12.0, 16.0, 23.976, 24.0, 30.0])), "steps": int(rng.integers(1, 8)),
        "guidance": float(rng.choice([0.0, 1.0, 2.5, 6.0])), "picture": bool(rng.random() < 0.5),
        "prompt": str(rng.choice(PROMPTS)), "negative": [None, "", "blurry"][rng.integers(0, 3)],
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(DRAWS))
def test_makes_the_clip_of_the_stock_pipeline(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    pipeline = checkpoint(tmp_path, drawn(rng))
    opened = Opened(tmp_path)
    latent = opened.contract.latent
    for _ in range(2):
        shot = asked(rng, latent.temporal)
        high, wide = shot["size"]
        height, width = high * latent.spatial, wide * latent.spatial
        shape = (latent.channels, opened.contract.latent_frames(shot["frames"]), high, wide)
        noise = rng.standard_normal(shape).astype(np.float32)
        image = rng.integers(0, 256, (height, width, 3), np.uint8) if shot["picture"] and shot["frames"] > 1 else None
        wanted, pixels = stock(
            pipeline, shot["prompt"], noise, image, negative_prompt=shot["negative"], num_frames=shot["frames"],
            height=height, width=width, fps=shot["fps"], num_inference_steps=shot["steps"],
            guidance_scale=shot["guidance"],
        )  # fmt: skip
        film = opened.studio().film(
            shot["prompt"], image=image, noise=noise, frames=shot["frames"], height=height, width=width,
            steps=shot["steps"], negative=shot["negative"], guidance=shot["guidance"], fps=shot["fps"],
        )  # fmt: skip
        (block,) = film
        assert np.abs(block.latents - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max()), shot
        assert np.abs(block.pixels - pixels).max() <= 3e-4, shot


STEPS = {"steps": [1000, 750, 500, 250], "shift": 5.0}
"""The list of the released four-step students, and the warp that it was made with."""
SIGMAS = [1.0, 0.9375, 0.8333333, 0.625]


@pytest.fixture(scope="module", params=[True, False], ids=["stochastic", "euler"])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("student")
    scheduler = {"stochastic_sampling": request.param, "shift": 1.0}
    pipeline = checkpoint(folder, Recipe(RECIPES["nano"].network, scheduler, student=True))
    own = pipeline.scheduler.set_timesteps
    pipeline.scheduler.set_timesteps = lambda *_, device=None, **__: own(sigmas=SIGMAS, device=device)
    return pipeline, folder


@pytest.mark.parametrize("pictured", [False, True])
def test_a_student_takes_its_own_steps_and_stays_at_its_picture(student, pictured, monkeypatch):
    pipeline, folder = student
    opened, rng = Opened(folder, STEPS), np.random.default_rng(4)
    noise = rng.standard_normal((48, 3, 3, 5)).astype(np.float32)
    renoise = rng.standard_normal((4, 48, 3, 3, 5)).astype(np.float32)
    image = rng.integers(0, 256, (48, 80, 3), np.uint8) if pictured else None
    draws = iter(torch.from_numpy(renoise)[:, None])
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_flow_match_euler_discrete.randn_tensor", lambda *_, **__: next(draws)
    )
    anchor = _anchor(pipeline, image)
    wanted, _ = stock(
        pipeline, "A boat", noise, image, anchor, negative_prompt=None, num_frames=9, height=48, width=80, fps=16.0,
        num_inference_steps=4, guidance_scale=1.0,
    )  # fmt: skip
    film = opened.studio().film(
        "A boat", image=image, noise=noise, renoise=renoise[:3], frames=9, height=48, width=80, fps=16.0
    )
    (block,) = film
    assert film.forwards == 4
    assert np.abs(block.latents - wanted).max() <= 1e-4 * np.abs(wanted).max()
    if pictured:
        assert np.array_equal(block.latents[:, :1], film.script.noise.picture)
    with pytest.raises(RequestError, match="made for 4"):
        opened.studio().film("A boat", frames=9, height=48, width=80, steps=5)


def _anchor(pipeline, image):
    """The picture's latents, put back after each step as the students' own sampler does."""
    if image is None:
        return None
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1
    with torch.no_grad():
        return pipeline._encode_video(pixels)[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing says their steps"),
        ({"steps": [1000, 1000]}, "falling"),
        ({**STEPS, "step_count": 8}, "the steps of its list"),
    ],
)
def test_students_without_their_steps_are_asked_for_them(student, given, said):
    with pytest.raises(ContractError, match=said):
        Opened(student[1], given)


def test_a_network_that_is_no_student_takes_no_list(tmp_path):
    checkpoint(tmp_path, RECIPES["nano"])
    with pytest.raises(ContractError, match="step_count instead"):
        Opened(tmp_path, STEPS)
