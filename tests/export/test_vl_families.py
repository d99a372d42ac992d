"""Published vision-language families: read as released, decoded as a slow loop on transformers' classes decodes them.

Every family is exported once; random cases, half of them with a picture, run on its bundle.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vl_published as published
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from vl_reference import How, Noise, Rows, Shown, autoregressive, decode

import a2d
from a2d.engines.errors import CheckpointError, RequestError
from a2d.export.decode_contract import Flags
from a2d.export.export_plan import plan
from a2d.export.job import Job, export
from a2d.export.report import decided
from a2d.runtime.decode.noise import uniform
from a2d.runtime.decode.options import Options
from a2d.runtime.inputs.patches import prepare

CASES = 32
FLAGS = Flags.of(mask_token_id=str(published.MASK), stop_token_ids=tuple(map(str, published.STOPS)))
SAMPLERS = {
    "diffusionvl_qwenvl": {"confidence": "filtered"},
    "diffusionvl_qwen": {"confidence": "raw"},
    "sdar_v": {"confidence": "tempered", "repeats": 20},
    "fast_dvlm": {"token_causal": True, "left": True, "shift": True, "predicted": True},
}
"""What a family's own sampler does besides the rest."""

FRAMES = [
    np.random.default_rng(i).integers(0, 256, (h, w, 3), np.uint8) for i, (h, w) in enumerate([(16, 24), (40, 17)])
]


@dataclass(frozen=True)
class Opened:
    """One family, both ways."""

    model: Any
    runtime: a2d.Model
    path: Path

    @torch.no_grad()
    def seen(self, frames: list[np.ndarray]) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Features of each frame, by transformers' own processor and tower, and the grids of those that have one."""
        inner = self.model.model
        if hasattr(inner, "visual"):
            seen = Qwen2VLImageProcessorPil.from_pretrained(self.path)(frames, return_tensors="pt")
            grids = seen["image_grid_thw"]
            counts = (grids.prod(-1) // 4).tolist()
            return list(inner.visual(seen["pixel_values"], grid_thw=grids).pooler_output.split(counts)), grids
        size = {"height": 16, "width": 16}
        kept = {k: published.CROPPED[k] for k in ("image_mean", "image_std", "image_grid_pinpoints", "resample")}
        seen = LlavaOnevisionImageProcessorPil(size=size, **kept)([frames], return_tensors="pt")
        sizes, counts = seen["image_sizes"], torch.as_tensor(seen["batch_num_images"])
        made = inner.get_image_features(
            seen["pixel_values"], sizes, vision_aspect_ratio="anyres_max_2", batch_num_images=counts
        )
        return list(made.pooler_output), None

    def shown(self, text: list[int], frames: list[np.ndarray]) -> tuple[list[int], Shown]:
        """What the runtime is given, with one placeholder for each picture, and what the reference is shown."""
        features, grids = self.seen(frames) if frames else ([], None)
        given, tokens = text[:2], text[:2]
        for some in features:
            given, tokens = [*given, 92, published.IMAGE, 93], [*tokens, 92, *[published.IMAGE] * len(some), 93]
        given, tokens = given + text[2:], tokens + text[2:]
        line = torch.arange(len(tokens))
        positions = line if isinstance(self.model.model, LlavaOnevisionModel) else line.expand(3, -1)
        following = len(tokens)
        if self.runtime.manifest.decode.positions == "mrope" and grids is not None:
            ids = torch.tensor([tokens])
            kinds = (ids == published.IMAGE).long()
            positions, _ = self.model.model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grids)
            positions, following = positions[:, 0], int(positions.max()) + 1
        return given, Shown(tokens, torch.cat(features) if features else None, published.IMAGE, positions, following)

    def rows(self, shown: Shown) -> Rows:
        return Rows(self.model.model.language_model, self.model.lm_head, shown)


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Opened]:
    """transformers' model and the loaded bundle of one family."""

    @cache
    def opened(name: str) -> Opened:
        folder = tmp_path_factory.mktemp(name)
        model = getattr(published, name)(folder / "checkpoint")
        export(Job(folder / "checkpoint", folder / "bundle", flags=FLAGS, quiet=True, decode_parity=False))
        return Opened(model, a2d.load(folder / "bundle", threads=1), folder / "checkpoint")

    return opened


def noise(seed: int) -> Noise:
    return lambda block, step, rows: torch.from_numpy(uniform(seed, block, step, rows)[0])


@dataclass(frozen=True)
class Case:
    """One random case."""

    text: list[int]
    frames: list[np.ndarray]
    chosen: dict[str, Any]

    def how(self, **fields: Any) -> How:
        """What the reference is to do; `fields` are the family's."""
        same = ("max_tokens", "steps", "threshold")
        fields = {name: self.chosen[name] for name in same} | {"sub": self.chosen.get("sub_block_size")} | fields
        return How(
            block=self.chosen["block_size"],
            mask=published.MASK,
            stops=published.STOPS,
            temperature=self.chosen.get("temperature", 0.0),
            top_k=self.chosen.get("top_k", 0),
            top_p=self.chosen.get("top_p", 1.0),
            **fields,
        )


def drawn(name: str, case: int, subs: bool = False) -> Case:
    rng = np.random.default_rng(zlib.crc32(f"{name} {case}".encode()))
    block = int(rng.choice([2, 3, 4, 8, 16]))
    chosen: dict[str, Any] = {
        "block_size": block,
        "max_tokens": int(rng.integers(1, 2 * block + 12)),
        "steps": int(rng.integers(1, block + 1)),
        "threshold": rng.choice([None, 0.2, 0.4, 0.7, 0.9]),
    }
    if rng.random() < 0.3:
        chosen |= {"temperature": float(rng.uniform(0.4, 1.5)), "seed": int(rng.integers(1 << 30))}
        chosen |= [{}, {"top_k": int(rng.integers(2, 20))}, {"top_p": float(rng.uniform(0.5, 0.95))}][rng.integers(3)]
    if subs:
        chosen["sub_block_size"] = min(int(rng.choice([1, 2, 4, 8])), block)
    text = rng.integers(4, 88, rng.integers(3, 30)).tolist()
    return Case(text, FRAMES[: case % 3] if rng.random() < 0.7 else [], chosen)


@pytest.mark.parametrize("case", range(CASES))
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "fast_dvlm"])
def test_decodes_as_the_reference(family: Callable[[str], Opened], name: str, case: int) -> None:
    opened, c = family(name), drawn(name, case)
    given, shown = opened.shown(c.text, c.frames)
    expected = decode(opened.rows(shown), c.how(**SAMPLERS[name]), noise(c.chosen.get("seed", 0)))
    assert generated(opened, c, given, commit="merged") == expected
    assert generated(opened, c, given, commit="separate") == expected


@pytest.mark.parametrize("case", range(CASES))
def test_fast_dvlm_decodes_as_the_reference(family: Callable[[str], Opened], case: int) -> None:
    opened, c = family("fast_dvlm"), drawn("fast_dvlm", case, subs=True)
    given, shown = opened.shown(c.text, c.frames)
    how = c.how(**SAMPLERS["fast_dvlm"])  # a caller's steps replace the contract's threshold
    assert generated(opened, c, given) == decode(opened.rows(shown), how, noise(c.chosen.get("seed", 0)))


@pytest.mark.parametrize("case", range(CASES))
def test_speculative_decoding_equals_one_token_per_forward(family: Callable[[str], Opened], case: int) -> None:
    opened, c = family("fast_dvlm"), drawn("speculative", case)
    given, shown = opened.shown(c.text, c.frames)
    chosen = {k: v for k, v in c.chosen.items() if k not in ("steps", "threshold")} | {"decode": "speculative"}
    result = opened.runtime.generate(given, images=c.frames, options=Options(**chosen))
    assert list(result.tokens) == autoregressive(opened.rows(shown), c.how(), noise(c.chosen.get("seed", 0)))
    assert result.forwards <= 1 + 2 * len(result.tokens)


@pytest.mark.parametrize("name", ["diffusionvl_qwenvl", "fast_dvlm"])
def test_videos_are_decoded_too(family: Callable[[str], Opened], name: str) -> None:
    opened = family(name)
    video = [np.roll(FRAMES[0], shift, axis=1) for shift in range(4)]
    assert opened.runtime.manifest.vision is not None
    seen = prepare(video, opened.runtime.manifest.vision, is_video=True)
    raster = seen.pixels.reshape(seen.grid.t, -1, 4, seen.pixels.shape[-1])[:, seen.order]
    grid = torch.tensor([[seen.grid.t, seen.grid.h, seen.grid.w]])
    with torch.no_grad():
        features = opened.model.model.visual(torch.from_numpy(raster).flatten(0, 2), grid_thw=grid).pooler_output
    tokens = [5, 7, 92, *[published.VIDEO] * len(features), 93, 8, 9, 10]
    ids, line = torch.tensor([tokens]), torch.arange(len(tokens))
    positions, following = line.expand(3, -1), len(tokens)
    if name == "fast_dvlm":
        kinds = 2 * (ids == published.VIDEO).long()
        positions, _ = opened.model.model.get_rope_index(
            ids, mm_token_type_ids=kinds, video_grid_thw=grid, second_per_grid_ts=[1.0]
        )
        positions, following = positions[:, 0], int(positions.max()) + 1
    shown = Shown(tokens, features, published.VIDEO, positions, following)
    case = Case([], [], {"block_size": 4, "max_tokens": 14, "steps": 2, "threshold": 0.6, "sub_block_size": 4})
    options = Options(**case.chosen)
    result = opened.runtime.generate([5, 7, 92, published.VIDEO, 93, 8, 9, 10], images=[video], options=options)
    assert list(result.tokens) == decode(opened.rows(shown), case.how(**SAMPLERS[name]))


def generated(opened: Opened, case: Case, given: list[int], **more: Any) -> list[int]:
    return list(opened.runtime.generate(given, images=case.frames, options=Options(**case.chosen, **more)).tokens)


@pytest.mark.parametrize("converted", [False, True], ids=["release", "converted"])
def test_diffusionvl_qwenvl_is_read_as_released(tmp_path: Path, converted: bool) -> None:
    """With the real vocabulary: the mask and the stop token stand in the authors' code alone."""
    model = published.diffusionvl_qwenvl(tmp_path, vocab=151936, converted=converted)
    made = plan(Job(tmp_path, tmp_path / "bundle"))
    contract = made.resolved.contract
    assert (contract.mask_token_id, contract.stop_token_ids, contract.block_size) == (151671, (151645,), 8)
    assert (contract.positions, contract.prompt_alignment, contract.context_mask) == (
        "arange_x3",
        "tail",
        "block_causal",
    )
    (name,) = made.family.sources["vision.merger.down.weight"].names
    assert torch.equal(made.checkpoint.read(name), model.model.visual.merger.mlp[2].weight)


def test_fast_dvlm_is_read_as_released(tmp_path: Path) -> None:
    published.fast_dvlm(tmp_path, vocab=151936)
    contract = plan(Job(tmp_path, tmp_path / "bundle")).resolved.contract
    assert (contract.mask_token_id, contract.stop_token_ids) == (151665, (151645,))
    assert (contract.block_size, contract.sub_block_size, contract.threshold) == (32, 8, 0.9)
    assert (contract.context_mask, contract.opening, contract.positions) == ("token_causal", "predicted", "mrope")


@pytest.mark.parametrize("old", [True, False], ids=["transformers 4.52", "new names"])
def test_sdar_vl_is_read_as_released(tmp_path: Path, old: bool) -> None:
    model = published.sdar_v(tmp_path, vocab=151936, old=old)
    made = plan(Job(tmp_path, tmp_path / "bundle"))
    contract = made.resolved.contract
    assert (contract.mask_token_id, contract.block_size, contract.positions) == (151669, 4, "arange")
    assert contract.stop_token_ids == (151645, 151643)  # generate.py's; text_config has the second alone
    assert made.resolved.origins["stop_token_ids"] == "family sdar_v, its code"
    (name,) = made.family.sources["vision.second.weight"].names
    assert torch.equal(made.checkpoint.read(name), model.model.multi_modal_projector.linear_2.weight)


@pytest.mark.parametrize("apart", [False, True], ids=["one place", "files apart"])
def test_diffusionvl_qwen_is_read_as_released(tmp_path: Path, apart: bool) -> None:
    model = published.diffusionvl_qwen(tmp_path, vocab=151936, apart=apart)
    made = plan(Job(tmp_path, tmp_path / "bundle"))
    contract = made.resolved.contract
    assert (contract.mask_token_id, contract.stop_token_ids, contract.block_size) == (151671, (151645,), 8)
    assert made.vision is not None and made.vision.image_token_id == 151655
    assert made.family.tower is not None and made.family.tower.depth == 2  # of 3: SigLIP's last layer is not run
    (name,) = made.family.sources["vision.second.weight"].names
    assert torch.equal(made.checkpoint.read(name), model.model.multi_modal_projector.linear_2.weight)


@pytest.mark.parametrize(
    ("name", "fields", "word"),
    [
        ("diffusionvl_qwen", {"image_aspect_ratio": "pad"}, "pictures cut by 'pad', expected anyres_max_N"),
        ("diffusionvl_qwen", {"mm_projector_type": "linear"}, "mm_projector_type = 'linear', expected 'mlp2x_gelu'"),
        ("diffusionvl_qwen", {"image_token_id": 500}, "tokens .500, 91., expected ids in the vocabulary of 96"),
        ("diffusionvl_qwen", {"image_grid_pinpoints": "all"}, "image_grid_pinpoints = 'all'"),
        ("sdar_v", {"vision_feature_select_strategy": "default"}, "vision_feature_select_strategy = 'default'"),
        ("sdar_v", {"vision_feature_layer": [1, 2]}, "vision_feature_layer = .1, 2., expected one layer"),
        ("sdar_v", {"image_grid_pinpoints": [[16, 17]]}, r"grids.0.: got .16, 17., expected"),
    ],
)
def test_what_is_not_supported_is_said(tmp_path: Path, name: str, fields: dict[str, Any], word: str) -> None:
    getattr(published, name)(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | fields
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=word):
        plan(Job(tmp_path, tmp_path / "bundle", flags=FLAGS))


def test_a_template_without_pictures_is_not_taken(tmp_path: Path) -> None:
    published.diffusionvl_qwen(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    made = plan(Job(tmp_path, tmp_path / "bundle", flags=FLAGS))
    assert made.chat_template == made.family.chat_template
    assert "the checkpoint's knows no pictures" in decided(made)
    assert "remote code (auto_map); it is not run" in decided(made)


def test_a_bundle_that_sees_crops_refuses_videos(family: Callable[[str], Opened]) -> None:
    with pytest.raises(RequestError, match="got a video"):
        family("sdar_v").runtime.generate([5, published.IMAGE], images=[[FRAMES[0], FRAMES[0]]])


def test_llava_writes_its_sizes_as_a_range_too(tmp_path: Path) -> None:
    published.diffusionvl_qwen(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"image_grid_pinpoints": "(1x1),...,(3x3)"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = plan(Job(tmp_path, tmp_path / "bundle", flags=FLAGS))
    assert made.vision is not None and made.vision.crops is not None
    assert sorted(made.vision.crops.grids) == sorted(map(tuple, published.GRIDS))
