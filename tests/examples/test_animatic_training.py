"""The block-causal pass against stock network and cached loop; runs that stop and go on; the checkpoint."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="the animatic's training needs diffusers; pip install diffusers")
sys.path.append(str(Path(__file__).parents[2] / "examples" / "animatic"))

import torch
from diffusers import AutoencoderTiny, WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from studio import autoencoder, checkpoint, compression, corpus, film, forcing, language, latents, network
from studio.clip import clip
from studio.emphasis import emphasis
from studio.optim import Mean
from torch import Tensor

T, C, H, W, L = 3, 12, 4, 6, 5
ROWS = (H // 2) * (W // 2)


@pytest.fixture(scope="module")
def net() -> Any:
    made = network.fresh(C, 16, width=128, layers=2, ffn=64)
    torch.nn.init.normal_(made.proj_out.weight, std=0.1)
    return made.eval()


@pytest.fixture(scope="module")
def words() -> Any:
    return language.tokenizer(60)


def _drawn(copies: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    return (
        torch.randn(2, T, C, H, W),
        torch.randn(2, copies, T, C, H, W),
        torch.rand(2, copies, T),
        torch.randn(2, L, 16),
    )


# -- the block-causal pass


@pytest.mark.parametrize("copies", [1, 2])
@torch.no_grad()
def test_the_training_pass_is_the_cached_loop(net: Any, copies: int) -> None:
    clean, noisy, sigma, text = _drawn(copies)
    made = network.teacher_forced(net, clean, noisy, sigma, text)
    for n in range(2):
        for copy in range(copies):
            cache = network.Cache(net, text[n : n + 1])
            for frame in range(T):
                v = network.step(net, noisy[n : n + 1, copy, frame], float(sigma[n, copy, frame]), cache)
                torch.testing.assert_close(v[0], made[n, copy, frame], atol=2e-5, rtol=0)
                network.step(net, clean[n : n + 1, frame], 0.0, cache, commit=True)


class _Masked(WanAttnProcessor):  # type: ignore[misc]
    """The stock attention under a mask of our own, where it attends to itself."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def __call__(self, attn: Any, x: Tensor, text: Any = None, mask: Any = None, turn: Any = None) -> Tensor:
        return super().__call__(attn, x, text, self.mask if text is None else None, turn)


@torch.no_grad()
def test_the_stock_network_under_the_mask_says_the_same(net: Any) -> None:
    clean, noisy, sigma, text = _drawn(1)
    made = network.teacher_forced(net, clean, noisy, sigma, text)
    block = torch.arange(T * ROWS) // ROWS
    mask = block[:, None] >= block
    for part in net.blocks:
        part.attn1.set_processor(_Masked(mask))
    for frame in range(T):
        x = torch.cat([clean[:, :frame], noisy[:, 0, frame : frame + 1], clean[:, frame + 1 :]], 1)
        time = torch.zeros(2, T).index_copy_(1, torch.tensor([frame]), 1000 * sigma[:, 0, frame : frame + 1])
        told = net(x.transpose(1, 2), timestep=time.repeat_interleave(ROWS, 1), encoder_hidden_states=text).sample
        torch.testing.assert_close(told[:, :, frame], made[:, 0, frame], atol=2e-4, rtol=0)
    for part in net.blocks:
        part.attn1.set_processor(WanAttnProcessor())


@torch.no_grad()
def test_a_later_frame_changes_nothing_before_it(net: Any) -> None:
    clean, noisy, sigma, text = _drawn(1)
    made = network.teacher_forced(net, clean, noisy, sigma, text)
    clean[:, 1:] += 1
    other = network.teacher_forced(net, clean, noisy, sigma, text)
    assert torch.equal(made[:, :, :2], other[:, :, :2])
    assert not torch.allclose(made[:, :, 2], other[:, :, 2], atol=1e-3)


def test_every_parameter_learns(net: Any) -> None:
    clean, noisy, sigma, text = _drawn()
    network.teacher_forced(net, clean, noisy, sigma, text).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    net.zero_grad(set_to_none=True)


def test_levels_of_a_decode() -> None:
    assert film.sigmas(4, shift=5.0) == pytest.approx([1.0, 0.9375, 0.8333333, 0.625, 0.0])
    assert film.sigmas(1) == [1.0, 0.0]
    assert len(film.sigmas(32)) == 33
    with pytest.raises(ValueError, match="at least 1"):
        film.sigmas(0)


# -- the autoencoder


def test_frames_are_packed_by_four_after_the_first() -> None:
    frames = torch.arange(9.0).view(1, 9, 1, 1, 1).expand(2, 9, 3, 8, 8)
    packed = autoencoder.groups(frames)
    assert packed.shape == (2, 3, 12, 8, 8)
    assert packed[0, :, ::3, 0, 0].tolist() == [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert torch.equal(autoencoder.ungrouped(packed), frames)
    with pytest.raises(ValueError, match=r"got 8 frames, expected 1 \+ 4k"):
        autoencoder.groups(frames[:, :8])


@pytest.mark.parametrize("name", list(autoencoder.KINDS))
@torch.no_grad()
def test_every_autoencoder_returns_as_many_frames_as_it_got(name: str) -> None:
    kind = autoencoder.KINDS[name]
    frames = torch.rand(1, 5, 3, 16, 16)
    vae = autoencoder.made(kind).eval()
    z = autoencoder.encoded(vae, kind, frames)
    assert z.shape == (1, 5 if kind.frames == 1 else 2, kind.channels, 2, 2)
    assert autoencoder.decoded(vae, kind, z).shape == frames.shape


def test_an_interrupted_autoencoder_goes_on(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    np.save(tmp_path / "clips" / "a.npy", np.random.default_rng(0).integers(0, 255, (2, 9, 16, 16, 3), np.uint8))
    seen = [compression.train("packed-32", tmp_path / "clips", tmp_path / "out", m / 60)["seen"] for m in (0.3, 0.6)]
    assert 0 < seen[0] < seen[1]
    kept = torch.load(tmp_path / "out" / "state.pt", weights_only=True)
    vae = checkpoint.part(AutoencoderTiny, tmp_path / "out" / "vae")
    assert all(torch.equal(kept["vae"][name], value) for name, value in vae.state_dict().items())


# -- prompts


def test_a_prompt_becomes_rows_that_end_with_it(words: Any) -> None:
    encoder = language.fresh(words).eval()
    with torch.no_grad():
        made = language.rows(encoder, words, ["wide, dusk", "wide, dusk, two figures walk left, slow push in", ""])
    ids = words("wide, dusk")["input_ids"]
    assert made.shape == (3, language.LENGTH, language.WIDTH)
    assert (made[0] != 0).any(-1).sum() == len(ids) and ids[-1] == words.eos_token_id
    assert (made[2] != 0).any(-1).sum() == 1
    assert words.decode(words("Žižkov 7b")["input_ids"], skip_special_tokens=True).strip() == "žižkov 7b"


# -- runs that stop and go on

PARTS = dict(forcing.PARTS)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _run(words: Any, out: Path) -> forcing.Run:
    net = network.fresh(C, language.WIDTH, width=128, layers=1, ffn=64)
    return forcing.Run(net, words, language.fresh(words), out, forcing.Plan(batch=2, copies=1))


@pytest.fixture
def stored(tmp_path: Path) -> latents.Latents:
    rng = np.random.default_rng(0)
    corpus.save(tmp_path / "train-00000.npy", rng.standard_normal((corpus.SHARD, T, C, 14, 24)).astype(np.float16))
    return latents.Latents(tmp_path, corpus.TRAINING)


def test_a_resumed_run_is_the_run_that_never_stopped(words: Any, stored: latents.Latents, tmp_path: Path) -> None:
    whole = _run(words, tmp_path / "whole")
    whole.train(stored, steps=4)
    _run(words, tmp_path / "halves").train(stored, steps=2)
    (tmp_path / "halves" / "state.pt.part").write_bytes(b"half a state")  # killed while it wrote the next one
    again = _run(words, tmp_path / "halves")
    assert again.steps == 2
    again.train(stored, steps=4)
    for (name, a), b in zip(whole.net.named_parameters(), again.net.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert torch.equal(whole.mean.values[name], again.mean.values[name])


def test_steps_are_of_first_frames_openings_and_whole_clips(
    words: Any, stored: latents.Latents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(words, tmp_path / "run")
    for frames, clips in ((1, 14), (2, 5), (None, 2)):
        monkeypatch.setattr(forcing, "PARTS", {f: (float(f == frames), cost) for f, (_, cost) in PARTS.items()})
        indices, clean = run._drawn(stored, np.random.default_rng(0))
        assert clean.shape == (clips, frames or T, C, 14, 24)
        for index, made in zip(indices, clean, strict=True):
            assert torch.equal(made, torch.from_numpy(stored._files[0][index].astype(np.float32))[:frames])


def test_first_frames_of_other_clips_are_taken_where_there_are_some(
    words: Any, stored: latents.Latents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.save(_made(tmp_path / "firsts") / "train-00007.npy", np.ones((corpus.SHARD, 1, C, 14, 24), np.float16))
    run = _run(words, tmp_path / "run")
    run.train(stored, steps=0, firsts=latents.Latents(tmp_path / "firsts", corpus.TRAINING))
    monkeypatch.setattr(forcing, "PARTS", {f: (float(f == 1), cost) for f, (_, cost) in PARTS.items()})
    indices, clean = run._drawn(stored, np.random.default_rng(0))
    assert (clean == 1).all() and all(700 <= index < 800 for index in indices)


def test_the_rate_falls_to_nothing_at_the_end(words: Any, tmp_path: Path) -> None:
    run = _run(words, tmp_path / "run")
    run.plan, run._minutes = replace(run.plan, cool=0.25), 1.0
    shares = []
    for run.seconds in (0.0, 45.0, 52.5, 60.0, 70.0):
        shares.append(run._cooled())
    assert shares == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0])


def test_figures_weigh_more_than_what_is_behind_them() -> None:
    for index in range(40):
        scene = corpus.scene_of(corpus.TRAINING, index)
        weights = emphasis(scene, 2)
        assert weights.shape == (2, 14, 24) and weights.mean((1, 2)) == pytest.approx(1.0, abs=1e-5)
        if scene.size == "wide":
            bare = replace(scene, figures=(), thing="none", action="stand", side="centre")
            apart = np.abs(clip(scene, first=1)[0].astype(int) - clip(bare, first=1)[0]).sum(-1) > 60
            cells = apart.reshape(14, 8, 24, 8).mean((1, 3)) > 0.5
            assert cells.any() and weights[0][cells].mean() > 1.4 > weights[0][~cells].mean()


def test_weights_of_one_change_nothing(net: Any, words: Any) -> None:
    noised, text = forcing.Noised.drawn(torch.randn(2, T, C, H, W), 2, 3.0), torch.randn(2, L, 16)
    losses = [
        forcing.flow_loss(net, noised, text, noised.velocity, weights=weights).item()
        for weights in (None, torch.ones(2, T, H, W))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_guidance_goes_from_the_bare_velocity_through_the_prompted_one(net: Any) -> None:
    noised = forcing.Noised.drawn(torch.randn(2, T, C, H, W), 2, 3.0)
    text, bare = torch.randn(2, L, 16), torch.randn(2, L, 16)
    said, free = (network.teacher_forced(net, noised.clean, noised.noisy, noised.sigma, rows) for rows in (text, bare))
    for scale, wanted in ((0.0, free), (1.0, said), (3.0, 3 * said - 2 * free)):
        assert torch.allclose(forcing.guided(net, noised, text, bare, scale), wanted, atol=1e-4)


def test_a_student_begins_as_its_teacher_and_goes_to_what_it_says_under_guidance(
    words: Any, stored: latents.Latents, tmp_path: Path
) -> None:
    teacher = network.fresh(C, language.WIDTH, width=128, layers=1, ffn=64)
    torch.nn.init.normal_(teacher.proj_out.weight, std=0.1)
    kept = {name: value.clone() for name, value in teacher.state_dict().items()}
    noised = forcing.Noised.drawn(torch.randn(2, T, C, 14, 24), 1, 3.0)
    losses = []
    for scale in (1.0, 4.0):
        run = _run(words, tmp_path / f"student {scale}")
        run.plan = replace(run.plan, guidance=scale, warm=1, rate=0.0005)
        run.follow(teacher)
        assert all(torch.equal(value, kept[name]) for name, value in run.net.state_dict().items())
        text = language.rows(run.encoder, words, ["dusk, a figure in red", "night, two figures"])
        aim = forcing.guided(teacher, noised, text, language.rows(run.encoder, words, ["", ""]), scale)
        losses.append([forcing.flow_loss(run.net, noised, text, aim).item()])
        run.train(stored, steps=12)
        losses[-1].append(forcing.flow_loss(run.net, noised, text, aim).item())
    assert losses[0][0] == pytest.approx(0.0, abs=1e-8)
    assert losses[1][1] < losses[1][0]
    again = _run(words, tmp_path / "student 4.0")
    again.follow(teacher)
    assert again.steps == 12 and not torch.equal(again.net.proj_out.weight, teacher.proj_out.weight)
    assert all(torch.equal(value, kept[name]) for name, value in teacher.state_dict().items())


def test_the_mean_is_short_at_first_and_what_is_written(words: Any, stored: latents.Latents, tmp_path: Path) -> None:
    run = _run(words, tmp_path / "run")
    run.train(stored, steps=2)
    written = dict(checkpoint.part(WanTransformer3DModel, tmp_path / "run" / "transformer").named_parameters())
    assert all(torch.equal(value, written[name]) for name, value in run.mean.values.items())
    model = torch.nn.Linear(1, 1)
    mean = Mean(model)
    with torch.no_grad():
        model.weight += 1
    before = mean.values["weight"].clone()
    mean.update(model, 0)
    assert torch.allclose(mean.values["weight"], before + 0.95)


def test_a_folder_without_latents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run train.py latents first"):
        latents.Latents(tmp_path, corpus.TRAINING)


# -- the checkpoint


def test_the_checkpoint_is_what_it_was_and_films(words: Any, tmp_path: Path) -> None:
    kind = autoencoder.KINDS["packed-32"]
    parts = checkpoint.Checkpoint(
        network.fresh(C, language.WIDTH, layers=1), autoencoder.made(kind), language.fresh(words), words
    )
    size = checkpoint.write(parts, tmp_path / "model")
    assert size == sum(path.stat().st_size for path in (tmp_path / "model").rglob("*") if path.is_file())
    index = json.loads((tmp_path / "model" / "model_index.json").read_text(encoding="utf-8"))
    assert all((tmp_path / "model" / part).is_dir() for part, value in index.items() if isinstance(value, list))
    loaded = checkpoint.load(tmp_path / "model")
    assert loaded.kind == kind
    for part in ("net", "vae", "encoder"):
        for name, value in getattr(parts, part).state_dict().items():
            assert torch.equal(getattr(loaded, part).state_dict()[name].half(), value.half()), name
    one = film.filmed(loaded, ["wide, dusk", "close, dawn"], [1, 2], steps=2)
    assert one.shape == (2, 17, 112, 192, 3) and one.dtype == np.uint8
    assert np.abs(film.filmed(loaded, ["close, dawn"], [2], steps=2)[0].astype(int) - one[1]).max() <= 1
    with pytest.raises(ValueError, match="lacks vae, text_encoder, tokenizer"):
        (tmp_path / "half" / "transformer").mkdir(parents=True)
        checkpoint.load(tmp_path / "half")
