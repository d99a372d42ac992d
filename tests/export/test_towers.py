"""Cosmos 3 checkpoints of many settings: a2d's pieces in torch, under its own loop, against the stock pipeline."""

from __future__ import annotations

import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
import torch
from towers_checkpoints import RECIPES, Opened, checkpoint, stock

from a2d.engines.errors import CheckpointError, ContractError, RequestError
from a2d.runtime.film.options import FilmOptions, settled
from a2d.runtime.film.towers_spec import GuidanceSpec

PROMPT, NEGATIVE = "A paper boat, in the rain...", "blurry, distorted."


@pytest.fixture(scope="module", params=RECIPES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp(request.param)
    return checkpoint(folder, RECIPES[request.param]), Opened(folder)


SHOTS = {
    "still": {"frames": 1, "size": (2, 3), "steps": 4, "guidance": 3.0, "fps": 24.0},
    "clip": {"frames": 9, "size": (3, 5), "steps": 7, "guidance": 4.5, "fps": 16.0, "picture": True},
    "text": {"frames": 13, "size": (2, 2), "steps": 3, "guidance": 1.0, "fps": 30.0},
    "short": {"frames": 5, "size": (5, 3), "steps": 1, "guidance": 2.0, "fps": 23.976, "negative": None},
    "two": {"frames": 5, "size": (3, 2), "steps": 2, "guidance": 0.0, "fps": 12.5, "picture": True},
}
"""Requests; sizes are in latents."""


@pytest.mark.parametrize("name", SHOTS)
def test_makes_the_clip_of_the_stock_pipeline(made, name):
    pipeline, opened = made
    shot, spatial = SHOTS[name], opened.contract.latent.spatial
    rng, (high, wide) = np.random.default_rng(5), shot["size"]
    height, width, negative = high * spatial, wide * spatial, shot.get("negative", NEGATIVE)
    latents = opened.contract.latent_frames(shot["frames"])
    noise = rng.standard_normal((opened.contract.latent.channels, latents, high, wide)).astype(np.float32)
    image = rng.integers(0, 256, (height, width, 3), np.uint8) if shot.get("picture") else None
    wanted, pixels = stock(
        pipeline, PROMPT, noise, image, negative_prompt=negative, num_frames=shot["frames"], height=height,
        width=width, fps=shot["fps"], num_inference_steps=shot["steps"], guidance_scale=shot["guidance"],
    )  # fmt: skip
    film = opened.studio().film(
        PROMPT, image=image, noise=noise, frames=shot["frames"], height=height, width=width, steps=shot["steps"],
        negative=negative, guidance=shot["guidance"], fps=shot["fps"],
    )  # fmt: skip
    (block,) = film
    scale = np.abs(wanted).max()
    assert scale > 0.3, "weights under which the network says nothing"
    assert np.abs(block.latents - wanted).max() <= 1e-4 * max(1.0, scale)
    assert np.abs(block.pixels - pixels).max() <= 2e-4
    assert film.forwards == shot["steps"] * (1 if shot["guidance"] == 1 else 2)
    assert film.remarks == ()


def test_tokens_are_those_of_the_stock_pipeline(made):
    pipeline, opened = made
    reader = opened.studio()._reader
    from a2d.runtime.film.clip import clip_of
    from a2d.runtime.film.wording import said

    spatial = opened.contract.latent.spatial
    for prompt, frames, fps in (("Ends in dots...", 1, 24.0), ("", 5, 29.97), ("Ünïcode, “quotes”", 17, 12.5)):
        clip = clip_of(opened.contract, frames, 4 * spatial, 6 * spatial)
        both = pipeline.tokenize_prompt(
            prompt, prompt, num_frames=frames, height=clip.height, width=clip.width, fps=fps
        )
        for negative, ids in enumerate(both):
            mine = said(
                prompt, clip, fps, opened.contract.towers.chat, reader.template, reader.text, True, bool(negative)
            )
            assert mine.tokens.tolist() == ids
        plain = pipeline.tokenize_prompt(
            prompt, prompt, num_frames=frames, add_resolution_template=False, add_duration_template=False
        )
        mine = said(prompt, clip, fps, opened.contract.towers.chat, reader.template, reader.text, False)
        assert mine.tokens.tolist() == plain[0]


def test_steps_are_those_of_the_stock_scheduler(made):
    from a2d.runtime.film.curves import levels

    pipeline, opened = made
    for count in (1, 2, 5, 20, 35):
        if pipeline.config.use_native_flow_schedule:
            sigmas = np.linspace(1 - 1 / 1000, 0, count + 1)[:-1]
            pipeline.scheduler.set_timesteps(count, sigmas=sigmas)
        else:
            pipeline.scheduler.set_timesteps(count)
        timesteps, mine = levels(opened.contract.schedule.sampler, count)
        assert timesteps == pipeline.scheduler.timesteps.tolist()
        np.testing.assert_allclose(mine, pipeline.scheduler.sigmas.numpy(), rtol=2e-7)


@torch.no_grad()
def test_a_wrong_key_or_place_or_a_pad_is_seen(made):
    """Controls: what must not be mixed up changes the velocity by far more than any rounding."""
    from a2d.runtime.film.clip import clip_of
    from a2d.runtime.film.network import Part

    _, opened = made
    studio, spatial = opened.studio(), opened.contract.latent.spatial
    wanted = settled(opened.contract, FilmOptions(frames=9, height=3 * spatial, width=5 * spatial, guidance=3.0))
    clip = clip_of(opened.contract, 9, 3 * spatial, 5 * spatial)
    network = studio._reader.network(PROMPT, wanted, clip, 1)
    noise = np.random.default_rng(1).standard_normal((opened.contract.latent.channels, 3, 3, 5)).astype(np.float32)
    part = Part(clip.blocks[0], noise, 900.0)
    right = network.velocity(part)

    def off(**changed) -> float:
        return float(np.abs(replace(network, **changed).velocity(part) - right).max())

    towards, away = network.wanted, network.unwanted
    swapped = replace(away, rope_cos=towards.rope_cos, rope_sin=towards.rope_sin)
    assert off(unwanted=swapped) > 1e-2
    assert off(clean=0) > 1e-2
    padded = {n: _padded(b) for n, b in towards.condition.feeds.items()}
    assert off(wanted=replace(towards, condition=replace(towards.condition, feeds=padded))) > 1e-2
    if opened.contract.towers.own_key:
        from a2d.runtime.film.condition import read

        tokens = next(iter(studio._reader._read))
        other = read(np.frombuffer(tokens, np.int64), opened.engine("backbone"), studio.shape, own_key=False)
        assert off(unwanted=replace(away, condition=other)) > 1e-2


def _padded(buffer):
    """A prompt's keys or values with rows of zeros behind them."""
    from a2d.engines.host import HostBuffer

    held = np.asarray(buffer.numpy())
    return HostBuffer(np.pad(held, ((0, 0), (0, 0), (0, 40), (0, 0))))


ASKED = {"frames": 5, "height": 32, "width": 48, "steps": 4, "guidance": 3.0}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edge")
    checkpoint(folder, RECIPES["edge"])
    return folder


def test_an_interval_guides_some_steps_alone(edge):
    studio = Opened(edge).studio()
    timesteps = studio.film(PROMPT, **ASKED).script.first.timesteps
    ends = studio.film(PROMPT, **ASKED, guidance_interval=(timesteps[2], timesteps[1]))
    (some,) = ends
    assert ends.forwards == 4 + 2, "both ends are inside"
    (none,) = studio.film(PROMPT, **ASKED, guidance_interval=(0.0, 1.0))
    (plain,) = studio.film(PROMPT, **(ASKED | {"guidance": 1.0}))
    assert np.array_equal(none.latents, plain.latents)
    assert np.abs(some.latents - plain.latents).max() > 1e-2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"guidance_interval": (900.0, 100.0)}, "interval"),
        ({"guidance_interval": (900.0,)}, "interval"),
        ({"window": 3}, "window"),
        ({"commit": "merged"}, "commit"),
        ({"steps": 0}, "steps"),
        ({"frames": 6}, "nearest is 5 or 9"),
        ({"height": 40}, "multiple of 16"),
        ({"guidance": -1.0}, "guidance"),
        ({"prompt": "word " * 5000}, "at most 4096"),
        ({"negative": "word " * 5000}, "negative"),
        ({"prompt": "\ud800"}, "Unicode"),
        ({"noise": np.zeros((48, 2, 2, 2), np.float32)}, "noise"),
    ],
)
def test_bad_requests_say_what_to_change(edge, wrong, said):
    with pytest.raises(RequestError, match=said):
        Opened(edge).studio().film(**({"prompt": PROMPT} | ASKED | wrong))


def test_nothing_goes_on_behind_a_clip_that_is_made_at_once(edge):
    film = Opened(edge).studio().film(PROMPT, **ASKED)
    next(film)
    with pytest.raises(RequestError, match="at once"):
        film.snapshot()


def test_presets_are_the_checkpoints_own_whatever_the_export_was_asked_for(edge):
    own = Opened(edge).contract
    asked = {"step_count": 3, "shift": 2.0, "guidance": 2.0, "guidance_interval": [400, 1000], "negative": "blurry"}
    made = Opened(edge, asked | {"frames": 9, "height": 32, "width": 48, "fps": 12.0}).contract
    assert list(own.presets) == list(made.presets) == ["card", "draft"] and own.presets["card"].steps is None
    card, usual = settled(made, FilmOptions(preset="card")), settled(own, FilmOptions())
    assert card == replace(usual, options=card.options) and len(card.first) == 20
    assert (card.guidance.scale, card.guidance.interval, card.guidance.negative) == (5.0, (), "")
    plain, draft = settled(made, FilmOptions()), settled(made, FilmOptions(draft=True))
    assert (draft.height, draft.width) == (192, 320) and len(draft.first) == 3
    assert replace(draft, height=32, width=48, options=plain.options) == plain
    less = settled(made, FilmOptions(preset="card", steps=2, frames=5, negative="dull", guidance_interval=(1.0, 2.0)))
    assert (len(less.first), less.frames, less.guidance) == (2, 5, GuidanceSpec(5.0, (1.0, 2.0), "dull"))
    with pytest.raises(RequestError, match=r"preset: got 'final', this bundle has\n  card .*\n  draft "):
        settled(made, FilmOptions(preset="final"))


def test_a_still_leaves_a_picture_out_and_says_so(edge):
    film = Opened(edge).studio().film(PROMPT, **(ASKED | {"frames": 1}), image=np.zeros((32, 48, 3), np.uint8))
    assert any("left out" in remark for remark in film.remarks)


@pytest.mark.parametrize(
    ("prompt", "plain", "doubted"), [('{"a": 1}', False, 1), ('{"a": 1}', True, 0), ("[]", False, 0)]
)
def test_sentences_behind_a_json_prompt_are_doubted(edge, prompt, plain, doubted):
    film = Opened(edge).studio().film(prompt, plain=plain, **(ASKED | {"frames": 1}))
    assert len([remark for remark in film.remarks if "the setting plain" in remark]) == doubted


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        (
            "scheduler/scheduler_config.json",
            {"solver_order": 3, "use_beta_sigmas": True},
            "solver_order",
        ),
        ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}, "UniPCMultistepScheduler"),
        ("scheduler/scheduler_config.json", {"use_karras_sigmas": True}, "sigma_max"),
        ("transformer/config.json", {"use_und_k_norm_for_gen": False}, "k_norm_und_for_gen"),
        ("transformer/config.json", {"hidden_act": "gelu"}, "hidden_act"),
        ("transformer/config.json", {"num_hidden_layers": 3}, "missing"),
        ("transformer/config.json", {"latent_channel": 16}, "patch_latent_dim"),
        ("transformer/config.json", {"num_key_value_heads": 3}, "multiple"),
        ("model_index.json", {"a2d": {"window": 3}}, "window"),
    ],
)
def test_checkpoints_that_cannot_be_exported_say_why(edge, tmp_path, part, changes, said):
    folder = tmp_path / "checkpoint"
    shutil.copytree(edge, folder)
    config = json.loads((folder / part).read_text())
    (folder / part).write_text(json.dumps(config | changes))
    with pytest.raises((CheckpointError, ContractError), match=said):
        Opened(folder)


def test_pixels_of_a_long_clip_are_held_a_part_at_a_time(edge):
    options = ASKED | {"frames": 25, "steps": 1}
    film = Opened(edge).studio().film(PROMPT, **options)
    firsts, shown, before = [], [], None
    for block in film:
        assert before is None or before() is None, "the part before is still held"
        firsts.append((block.first, len(block.frames)))
        shown.append(block.frames.copy())
        before = weakref.ref(block.pixels)
        del block
    assert firsts == [(0, 13), (13, 12)]
    whole = Opened(edge).studio().film(PROMPT, **options)
    whole.most = None
    (block,) = whole
    assert np.array_equal(np.concatenate(shown), block.frames)
    some = Opened(edge).studio().film(PROMPT, **options)
    next(some)
    some.cancel()
    assert [*some] == []
