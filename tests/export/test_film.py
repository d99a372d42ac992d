"""Checkpoints that film through the exporter: graphs against the libraries' own classes, golden decodes, and errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
import torch
from film_checkpoints import RECIPES, VOCAB, Parts, checkpoint, draft_vae, original, tiny_decoded
from film_opened import Opened
from safetensors.torch import load_file, save_file

from a2d.engines.errors import BundleError, CheckpointError, ContractError, RequestError
from a2d.export.checkpoint.pipeline import Pipeline
from a2d.export.checkpoint.sources import Source, assemble
from a2d.export.export_plan import Job
from a2d.export.families.film.causal_wan import describe_film
from a2d.export.film.contract import warped
from a2d.export.film.job import export_film

GOLDEN = Path(__file__).parents[1] / "data" / "golden-frames"
GIVEN = {"block_frames": 2, "steps": (1000, 500), "height": 64, "width": 64}


@pytest.fixture(scope="module", params=RECIPES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Parts, Opened]:
    folder, recipe = tmp_path_factory.mktemp(request.param), RECIPES[request.param]
    parts = checkpoint(folder / "checkpoint", recipe)
    given = {} if recipe.own else GIVEN
    draft = folder / "draft" if request.param == "plain" else None
    if draft is not None:
        parts = replace(parts, draft=draft_vae(draft))
        given = given | {"draft_height": 32, "draft_width": 48, "draft_steps": 1}
    export_film(Job(folder / "checkpoint", folder / "bundle", film=given, draft=draft, parity="own", quiet=True))
    return parts, Opened(folder / "bundle")


@torch.no_grad()
def test_the_text_graph_is_transformers_encoder(made):
    parts, opened = made
    tokens = torch.randint(2, VOCAB, (1, 60), generator=torch.Generator().manual_seed(0))
    rows = opened.engine("text").run({"tokens": tokens.numpy()})["text_rows"]
    np.testing.assert_allclose(rows, parts.text(input_ids=tokens).last_hidden_state.numpy(), atol=1e-5)


@torch.no_grad()
def test_streamed_pixels_are_diffusers_whole_clip(made):
    parts, opened = made
    latents = torch.randn(1, parts.wan.config.in_channels, 4, 2, 3, generator=torch.Generator().manual_seed(1))
    answer = opened.engine("pixels_first").run({"latents": latents[:, :, :1].numpy()})
    shown = [answer["pixels"][0]]
    for part in (latents[:, :, 1:3], latents[:, :, 3:]):  # groups of any size are the same
        past = {name.replace("new_", "past_"): state for name, state in answer.items() if name != "pixels"}
        answer = opened.engine("pixels_next").run({"latents": part.numpy(), **past})
        shown.append(answer["pixels"][0])
    np.testing.assert_allclose(np.concatenate(shown), parts.decoded(latents).numpy(), atol=1e-5)


@torch.no_grad()
def test_a_picture_is_encoded_as_diffusers_does(made):
    parts, opened = made
    latent = opened.bundle.manifest.film.latent
    image = torch.rand(1, 2 * latent.spatial, 3 * latent.spatial, 3, generator=torch.Generator().manual_seed(2))
    latents = opened.engine("encode_first").run({"image": image.numpy()})["latents"]
    np.testing.assert_allclose(latents, parts.encoded(image).numpy(), atol=1e-5)


@torch.no_grad()
def test_one_block_is_a_plain_decode_of_diffusers_network(made):
    """Cleaned prompt, pads attended, dmd steps: written from the definition around the stock forward."""
    parts, opened = made
    contract, studio = opened.bundle.manifest.film, opened.studio()
    channels, frames = contract.latent.channels, contract.block_frames
    down, across = contract.size_multiple
    high, wide = 2 * contract.latent.patch_h, 3 * contract.latent.patch_w
    steps, generator = contract.schedule.first, torch.Generator().manual_seed(3)
    noise = torch.randn(channels, frames, high, wide, generator=generator)
    renoise = torch.randn(len(steps) - 1, channels, frames, high, wide, generator=generator)
    rows, _ = studio.encode("a red ball")
    text = torch.zeros(1, contract.text.length, contract.text.dim)
    text[0, : len(rows)] = torch.from_numpy(rows)
    x = noise
    for s, t in enumerate(steps.timesteps):
        v = parts.wan(x[None], torch.tensor([t]), text).sample[0]
        x0 = x - steps.sigmas[s] * v
        after = steps.sigmas[s + 1]
        x = x0 if after == 0 else (1 - after) * x0 + after * renoise[s]
    length = contract.pixel_frames(frames)
    sizes = {"frames": length, "height": 2 * down, "width": 3 * across}
    (block,) = studio.film("a red ball", noise=noise.numpy(), renoise=renoise.numpy(), **sizes)
    np.testing.assert_allclose(block.latents, x.numpy(), atol=2e-4)
    np.testing.assert_allclose(block.pixels, parts.decoded(x[None]).numpy(), atol=2e-4)


@torch.no_grad()
def test_a_draft_is_decoded_by_the_small_decoder(made):
    parts, opened = made
    contract, studio = opened.bundle.manifest.film, opened.studio()
    if parts.draft is None:
        with pytest.raises(RequestError, match="draft: this bundle has no preset"):
            studio.film("a red ball", draft=True)
        return
    look = contract.presets["draft"]
    assert (look.height, look.width, look.steps, look.small_decoder) == (32, 48, "1", True)
    draft = studio.film("a red ball", frames=17, draft=True)
    first = next(draft)
    kept = draft.snapshot()
    blocks = [first, *draft]
    assert (draft.clip.height, draft.clip.width, len(draft.script.rest)) == (32, 48, 1)
    latents = torch.from_numpy(np.concatenate([block.latents for block in blocks], 1))[None]
    pixels = np.concatenate([block.pixels for block in blocks])
    np.testing.assert_allclose(pixels, tiny_decoded(parts.draft, latents).numpy(), atol=1e-5)
    final = list(studio.film("a red ball", frames=17, height=32, width=48, steps=1))
    np.testing.assert_array_equal(np.concatenate([block.latents for block in final], 1), latents[0].numpy())
    assert np.abs(np.concatenate([block.pixels for block in final]) - pixels).max() > 0.1  # another decoder
    again = list(studio.film(start=kept, frames=17, draft=True))
    np.testing.assert_array_equal(again[-1].pixels, blocks[-1].pixels)
    with pytest.raises(RequestError, match="draft: got False, the film that goes on has True: its decoder is another"):
        studio.film(start=kept, frames=17)


@pytest.fixture(scope="module", params=["v1", "v2"])
def golden(request: pytest.FixtureRequest, golden_film: Callable[[str], Path]) -> tuple[Path, Opened]:
    """A checkpoint of another code, with its cases."""
    return GOLDEN / request.param, Opened(golden_film(request.param))


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("commit", ["separate", "merged"])
def test_golden_decodes(golden, number, commit):
    """Tolerances are those that the reference's own distance to float64 allows."""
    folder, opened = golden
    case = json.loads((folder / f"case-{number}.json").read_text())
    arrays, studio = np.load(folder / f"case-{number}.npz"), opened.studio()
    rows, _ = studio.encode(case["prompt"])
    np.testing.assert_allclose(rows, arrays["text_rows"][: len(rows)], atol=2e-5)
    sizes = {name: case[name] for name in ("frames", "height", "width")}
    image = folder / case["image"] if case["image"] else None
    noise = {name: arrays[name] for name in ("noise", "renoise")}
    film = studio.film(case["prompt"], image=image, commit=commit, **noise, **sizes)
    blocks = list(film)
    np.testing.assert_allclose(np.concatenate([b.latents for b in blocks], 1), arrays["latents"], atol=3e-4)
    np.testing.assert_allclose(np.concatenate([b.pixels for b in blocks]), arrays["pixels"], atol=3e-4)
    assert film.forwards == case[f"forwards_{commit}"]


def test_a_step_list_is_warped_as_the_schedulers_do():
    timesteps, sigmas = warped((1000, 750, 500, 250), 5.0)
    assert timesteps == [1000.0, 937.5, 833.3333129882812, 625.0]
    assert sigmas == [1.0, 0.9375, 0.8333333134651184, 0.625, 0.0]


def test_weights_in_bfloat16_and_in_shards_are_read(tmp_path):
    parts = checkpoint(tmp_path / "checkpoint", RECIPES["plain"], torch.bfloat16, "50KB")
    assert len(list((tmp_path / "checkpoint" / "transformer").glob("*.safetensors"))) > 1
    export_film(Job(tmp_path / "checkpoint", tmp_path / "bundle", film=GIVEN, parity="own", quiet=True))
    tokens = torch.arange(2, 30)[None]
    rows = Opened(tmp_path / "bundle").engine("text").run({"tokens": tokens.numpy()})["text_rows"]
    with torch.no_grad():
        np.testing.assert_allclose(rows, parts.text(input_ids=tokens).last_hidden_state.numpy(), atol=1e-5)


@pytest.fixture
def copy(tmp_path) -> Path:
    shutil.copytree(GOLDEN / "v1" / "checkpoint", tmp_path / "checkpoint")
    for path in (tmp_path / "checkpoint").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path / "checkpoint"


def refused(path: Path, error: type[Exception], **given: object) -> str:
    """The message, once it is sure that nothing was written."""
    bundle = path.parent / "bundle"
    with pytest.raises(error) as raised:
        export_film(Job(path, bundle, film=given or GIVEN, quiet=True))
    assert [p for p in path.parent.iterdir() if p != path] == []
    return str(raised.value)


def edited(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")


def test_what_the_checkpoint_does_not_say_is_asked_for(copy):
    message = refused(copy, ContractError, window=4)
    assert "block_frames" in message
    assert "steps" in message
    assert "nothing is guessed" in message


@pytest.mark.parametrize("setting", ["use_karras_sigmas", "use_beta_sigmas", "use_dynamic_shifting"])
def test_a_shift_that_the_scheduler_does_not_go_by_is_asked_for(copy, setting):
    edited(copy / "scheduler" / "scheduler_config.json", **{setting: True})
    assert setting in refused(copy, ContractError)


def test_a_rule_that_the_scheduler_leaves_open_is_asked_for(copy):
    edited(copy / "scheduler" / "scheduler_config.json", stochastic_sampling=False)
    assert "rule" in refused(copy, ContractError)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": (500, 1000)}, "falling numbers"),
        ({"block_frames": 0}, "block_frames"),
        ({"window": 2, "block_frames": 3}, "window"),
        ({"frames": 20}, "1 + 4 k"),
        ({"height": 50}, "multiples of 16"),
        ({"rule": "heun"}, "dmd"),
    ],
)
def test_impossible_contracts_are_refused(copy, given, said):
    assert said in refused(copy, ContractError, **{"block_frames": 3, "steps": (1000, 500), **given})


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("transformer", {"qk_norm": "layer_norm"}, "qk_norm"),
        ("transformer", {"num_layers": 4}, "missing"),
        ("transformer", {"num_layers": 2}, "extra"),
        ("transformer", {"in_channels": 36}, "out as in"),
        ("transformer", {"_class_name": "CogVideoXTransformer3DModel"}, "_class_name"),
        ("vae", {"latents_std": [1.0]}, "latents_std"),
        ("vae", {"_class_name": "AutoencoderKL"}, "AutoencoderKLWan"),
        ("text_encoder", {"model_type": "t5"}, "umt5"),
    ],
)
def test_configs_that_do_not_fit_are_refused(copy, part, changes, said):
    edited(copy / part / "config.json", **changes)
    assert said in refused(copy, CheckpointError)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(copy, part):
    shutil.rmtree(copy / part)
    assert part in refused(copy, CheckpointError)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"channels": 4, "scales": 4}, "latent channels: 4, expected 16"),
        ({"scales": 3}, "pixels of a latent's side: 4, expected 8"),
    ],
)
def test_a_draft_decoder_of_other_latents_is_refused(copy, tmp_path, recipe, said):
    draft_vae(tmp_path / "draft", **recipe)
    with pytest.raises(CheckpointError, match=said):
        describe_film(Pipeline.open(copy, draft=tmp_path / "draft"))
    with pytest.raises(CheckpointError, match="config.json"):
        describe_film(Pipeline.open(copy, draft=tmp_path / "nothing"))


def test_pickled_weights_are_refused(copy):
    (copy / "transformer" / "diffusion_pytorch_model.safetensors").rename(copy / "transformer" / "pytorch_model.bin")
    assert "pickle" in refused(copy, CheckpointError)


def test_the_licence_of_the_card_is_printed_and_kept(copy):
    (copy / "README.md").write_text("---\nlicense: apache-2.0\ntags: [video]\n---\n# A model\n", encoding="utf-8")
    said: list[str] = []
    manifest = export_film(Job(copy, copy.parent / "bundle", film=GIVEN, quiet=True), said.append)
    assert manifest.film.licence == "apache-2.0"
    assert "licence of the weights: apache-2.0" in said[0]


def test_a_bundle_that_exists_is_not_replaced(copy):
    (copy.parent / "bundle").mkdir()
    (copy.parent / "bundle" / "mine").write_text("x")
    with pytest.raises(BundleError):
        export_film(Job(copy, copy.parent / "bundle", film=GIVEN, quiet=True))


@pytest.mark.parametrize("prefix", ["", "model.", "generator_ema.model."])
def test_the_authors_names_are_read(copy, prefix):
    before = describe_film(Pipeline.open(copy))
    numbers = {name: copy_of(Pipeline.open(copy), s) for name, s in before.sources.items()}
    original(copy, prefix)
    after = Pipeline.open(copy)
    for name, source in describe_film(after).sources.items():
        torch.testing.assert_close(copy_of(after, source), numbers[name], rtol=0, atol=0)


def copy_of(pipeline: Pipeline, source: Source) -> torch.Tensor:
    return assemble(source, pipeline.read, torch.float32)


def test_a_network_in_one_file_goes_with_the_parts_of_another_directory(copy, tmp_path):
    file = original(copy, file="network.safetensors")
    file = file.rename(tmp_path / "self_forcing.safetensors")
    with pytest.raises(CheckpointError, match="parts=DIR"):
        Pipeline.open(file)
    assert describe_film(Pipeline.open(file, copy)).network.wan.layers == 3


def test_settings_under_their_authors_names_are_read(copy):
    original(copy)
    config = {"_class_name": "WanModel", "model_type": "t2v", "dim": 64, "num_heads": 2, "num_layers": 3}
    config |= {"ffn_dim": 128, "freq_dim": 256, "in_dim": 16, "out_dim": 16, "text_dim": 32, "text_len": 512}
    (copy / "transformer" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert describe_film(Pipeline.open(copy)).network.wan.head_dim == 32


def test_two_networks_in_a_file_are_told_apart_by_their_mean(copy):
    file = original(copy, "generator_ema.model.")
    stored = load_file(file)
    others = {name.replace("generator_ema", "generator"): tensor + 1 for name, tensor in stored.items()}
    save_file(stored | others, file)
    pipeline = Pipeline.open(copy)
    assert any("another network" in note for note in pipeline.notes)
    torch.testing.assert_close(pipeline.read("transformer/patch_embedding.bias"), stored[f"generator_ema.model.{BIAS}"])


BIAS = "patch_embedding.bias"


def test_a_pickle_is_refused_with_the_way_to_convert_it(copy):
    (copy / "transformer" / "diffusion_pytorch_model.safetensors").rename(copy / "self_forcing_dmd.pt")
    message = refused(copy, CheckpointError)
    assert "generator_ema" in message
    assert "save_file" in message
