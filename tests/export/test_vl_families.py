"""Published vision-language families: read as released, decoded as a slow loop on transformers' classes decodes them.

Every family is exported once; random cases, half of them with a picture, run on its bundle.
"""

from __future__ import annotations

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
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from vl_reference import How, Noise, Rows, Shown, autoregressive, decode

import a2d
from a2d.export.contract import Flags
from a2d.export.job import Job, export
from a2d.export.plan import plan
from a2d.runtime.noise import uniform
from a2d.runtime.options import Options

CASES = 32
FLAGS = Flags(mask_token=str(published.MASK), stop_tokens=tuple(map(str, published.STOPS)))
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
    def shown(self, text: list[int], frame: np.ndarray | None, plain: bool) -> tuple[list[int], Shown]:
        """What the runtime is given, with one placeholder for the picture, and what the reference is shown."""
        if frame is None:
            line = torch.arange(len(text)).expand(3, -1)
            return text, Shown(text, None, published.IMAGE, line, len(text))
        seen = Qwen2VLImageProcessorPil.from_pretrained(self.path)(frame, return_tensors="pt")
        features = self.model.model.visual(seen["pixel_values"], grid_thw=seen["image_grid_thw"]).pooler_output
        given = [*text[:2], 92, published.IMAGE, 93, *text[2:]]
        tokens = [*text[:2], 92, *[published.IMAGE] * len(features), 93, *text[2:]]
        ids = torch.tensor([tokens])
        if plain:
            return given, Shown(tokens, features, published.IMAGE, torch.arange(len(tokens)).expand(3, -1), len(tokens))
        kinds = (ids == published.IMAGE).long()
        grid = seen["image_grid_thw"]
        positions, _ = self.model.model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grid)
        return given, Shown(tokens, features, published.IMAGE, positions[:, 0], int(positions.max()) + 1)

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
    frame: np.ndarray | None
    chosen: dict[str, Any]

    def how(self, **fields: Any) -> How:
        """What the reference is to do; `fields` are the family's."""
        fields = {name: self.chosen[name] for name in ("max_tokens", "steps", "threshold")} | fields
        return How(
            block=self.chosen["block_size"],
            mask=published.MASK,
            stops=published.STOPS,
            sub=self.chosen.get("sub_block_size"),
            temperature=self.chosen.get("temperature", 0.0),
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
    if subs:
        chosen["sub_block_size"] = min(int(rng.choice([1, 2, 4, 8])), block)
    text = rng.integers(4, 88, rng.integers(3, 30)).tolist()
    return Case(text, FRAMES[case % 2] if rng.random() < 0.5 else None, chosen)


@pytest.mark.parametrize("case", range(CASES))
def test_diffusionvl_qwenvl_decodes_as_the_reference(family: Callable[[str], Opened], case: int) -> None:
    opened, c = family("diffusionvl_qwenvl"), drawn("diffusionvl_qwenvl", case)
    given, shown = opened.shown(c.text, c.frame, plain=True)
    expected = decode(opened.rows(shown), c.how(), noise(c.chosen.get("seed", 0)))
    assert generated(opened, c, given, commit="merged") == expected
    assert generated(opened, c, given, commit="separate") == expected


@pytest.mark.parametrize("case", range(CASES))
def test_fast_dvlm_decodes_as_the_reference(family: Callable[[str], Opened], case: int) -> None:
    opened, c = family("fast_dvlm"), drawn("fast_dvlm", case, subs=True)
    given, shown = opened.shown(c.text, c.frame, plain=False)
    # Where a caller asks for no threshold, the contract's counts.
    threshold = 0.9 if c.chosen["threshold"] is None else c.chosen["threshold"]
    how = c.how(token_causal=True, left=True, shift=True, predicted=True, threshold=threshold)
    assert generated(opened, c, given) == decode(opened.rows(shown), how, noise(c.chosen.get("seed", 0)))


@pytest.mark.parametrize("case", range(CASES))
def test_speculative_decoding_equals_one_token_per_forward(family: Callable[[str], Opened], case: int) -> None:
    opened, c = family("fast_dvlm"), drawn("speculative", case)
    given, shown = opened.shown(c.text, c.frame, plain=False)
    chosen = {k: v for k, v in c.chosen.items() if k not in ("steps", "threshold")} | {"decode": "speculative"}
    images = [] if c.frame is None else [c.frame]
    result = opened.runtime.generate(given, images=images, options=Options(**chosen))
    assert list(result.tokens) == autoregressive(opened.rows(shown), c.how(), noise(c.chosen.get("seed", 0)))
    assert result.forwards <= 1 + 2 * len(result.tokens)


def generated(opened: Opened, case: Case, given: list[int], **more: Any) -> list[int]:
    images = [] if case.frame is None else [case.frame]
    return list(opened.runtime.generate(given, images=images, options=Options(**case.chosen, **more)).tokens)


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
