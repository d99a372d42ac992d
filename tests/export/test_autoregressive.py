"""The originals, one token per forward through a2d's loop, against transformers' own greedy `generate`."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_model import TINY_VISION

import a2d
from a2d.engines.errors import ContractError, RequestError
from a2d.engines.protocol import Engine
from a2d.export.checkpoint.directory import Checkpoint
from a2d.export.decode_contract import Flags, resolve
from a2d.export.families import describe
from a2d.export.graphs.shapes import Network
from a2d.export.job import Job, export
from a2d.export.parity.torch_engine import TorchEngine, Weights
from a2d.runtime.decode.block import Prompt
from a2d.runtime.decode.cache import CacheShape
from a2d.runtime.decode.options import Options
from a2d.runtime.decode.session import Session
from a2d.runtime.inputs.patches import prepare
from a2d.runtime.inputs.prompt import mrope_positions

VOCAB, IMAGE = 96, 90
STOPS = [7, 23, 41, 66, 80]
"""Several, so that random models meet one now and then."""
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.25,
    "eos_token_id": STOPS,
    "pad_token_id": 0,
    "bos_token_id": None,
}
CASES = 30


class Original:
    """One of transformers' models, saved, and the same checkpoint behind the torch engine."""

    def __init__(self, model: Any, path: Path) -> None:
        self.model, self.path = model.eval(), path
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(path)
        checkpoint = Checkpoint.open(path)
        self.family = describe(checkpoint)
        flags = Flags.of(contract="autoregressive", stop_token_ids=tuple(map(str, STOPS)))
        self.contract = resolve(flags, checkpoint, self.family).contract
        network = Network(self.family.shape, self.family.tower)
        weights = Weights(checkpoint, self.family, torch.float32, resident=True)

        @cache
        def engine(graph: str) -> Engine:
            return TorchEngine(graph, network, weights)

        self.engine = engine

    def session(self) -> Session:
        s = self.family.shape
        cache_shape = CacheShape(s.layers, s.kv_heads, s.head_dim, "float32")
        return Session(self.engine, self.contract, cache_shape, self.family.max_context)


def original(kind: str, path: Path) -> Original:
    torch.manual_seed(0)
    if kind == "Qwen2_5_VL":
        rope = {"rope_type": "default", "mrope_section": [1, 2, 1], "rope_theta": 10000.0}
        ids = {"image_token_id": IMAGE, "video_token_id": 91, "vision_start_token_id": 92, "vision_end_token_id": 93}
        text = SIZES | {"rope_parameters": rope}
        config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=TINY_VISION, **ids)
        return Original(transformers.Qwen2_5_VLForConditionalGeneration(config), path)
    config = getattr(transformers, f"{kind}Config")(**SIZES)
    return Original(getattr(transformers, f"{kind}ForCausalLM")(config), path)


def generated(model: Any, tokens: np.ndarray, wanted: int, **more: Any) -> list[int]:
    ids = torch.from_numpy(tokens)[None]
    chosen = {"do_sample": False, "max_new_tokens": wanted, "eos_token_id": STOPS, "pad_token_id": 0}
    with torch.no_grad():
        made = model.generate(ids, attention_mask=torch.ones_like(ids), **chosen, **more)
    return made[0, len(tokens) :].tolist()


@pytest.mark.parametrize("kind", ["Qwen2", "Qwen3", "Llama"])
def test_token_for_token(kind: str, tmp_path: Path) -> None:
    made, rng, stopped = original(kind, tmp_path), np.random.default_rng(0), 0
    for case in range(CASES):
        tokens, wanted = rng.integers(8, VOCAB, rng.integers(1, 40)), int(rng.integers(1, 30))
        prompt = Prompt.of(tokens, np.arange(len(tokens)), len(tokens))
        options = Options(max_tokens=wanted, commit=("merged", "separate")[case % 2])
        result = made.session().generate(prompt, options)
        assert list(result.tokens) == generated(made.model, tokens, wanted)
        assert result.forwards == len(result.tokens)  # the prompt's makes the first token
        stopped += result.stop_reason == "stop"
    assert 0 < stopped < CASES


def test_with_images(tmp_path: Path) -> None:
    made, rng = original("Qwen2_5_VL", tmp_path), np.random.default_rng(0)
    assert made.contract.positions == "mrope" and made.family.vision is not None
    for _ in range(CASES):
        frame = rng.integers(0, 256, (int(rng.integers(40, 90)), int(rng.integers(40, 90)), 3), dtype=np.uint8)
        patches = prepare([frame], made.family.vision)
        (fed,) = patches.feeds()
        features = np.asarray(made.engine("vision").run(fed)["features"])
        before, after = rng.integers(8, 90, rng.integers(1, 6)), rng.integers(8, 90, rng.integers(1, 9))
        tokens = np.concatenate([before, [92], np.full(len(features), IMAGE), [93], after])
        positions, following = mrope_positions(tokens, [patches.grid], made.family.vision)
        plain = Prompt.of(tokens, positions, following)
        rows = np.zeros((len(tokens), 32), np.float32)
        rows[tokens == IMAGE] = features
        result = made.session().generate(
            replace(plain, rows=replace(plain.rows, features=rows, is_feature=tokens == IMAGE)),
            Options(max_tokens=12),
        )
        raster = patches.pixels[0].reshape(-1, 4, patches.pixels.shape[-1])[patches.order]
        pixels = torch.from_numpy(raster.reshape(-1, patches.pixels.shape[-1]))
        grid = torch.tensor([[patches.grid.t, patches.grid.h, patches.grid.w]])
        kinds = torch.from_numpy((tokens == IMAGE).astype(np.int64))[None]
        more = {"pixel_values": pixels, "image_grid_thw": grid, "mm_token_type_ids": kinds}
        assert list(result.tokens) == generated(made.model, tokens, 12, **more)


def test_sampling_goes_on_from_the_row_before(tmp_path: Path) -> None:
    made, tokens = original("Qwen3", tmp_path), np.array([9, 10, 11])
    prompt = Prompt.of(tokens, np.arange(3), 3)
    runs = [
        made.session().generate(prompt, Options(max_tokens=16, temperature=1.5, seed=seed, commit=commit)).tokens
        for seed, commit in ((1, "merged"), (1, "separate"), (2, "merged"))
    ]
    assert runs[0] == runs[1] != runs[2]


def test_an_exported_original(tmp_path: Path) -> None:
    """No mask id anywhere: from the checkpoint through the manifest to a decode by ONNX Runtime."""
    made = original("Qwen3", tmp_path / "checkpoint")
    path = tmp_path / "original.a2d"
    export(Job(made.path, path, flags=Flags.of(contract="autoregressive"), quiet=True))
    assert json.loads((path / "manifest.json").read_text())["words"]["decode"]["mask_token_id"] is None
    model, tokens = a2d.load(path, threads=1), np.arange(20, 33)
    result = model.generate(tokens, max_tokens=24)
    assert list(result.tokens) == generated(made.model, tokens, 24)
    assert result.forwards == len(result.tokens)
    with pytest.raises(RequestError, match="block_size: got 8, expected 1: this bundle has no mask token"):
        model.generate(tokens, block_size=8)


def test_flags_go_before_a_named_contract(tmp_path: Path) -> None:
    made = original("Qwen2", tmp_path)
    checkpoint = Checkpoint.open(made.path)
    flags = Flags.of(contract="autoregressive", block_size=4)
    with pytest.raises(ContractError, match="mask_token_id"):  # blocks of four have masks again
        resolve(flags, checkpoint, made.family)
    with pytest.raises(ContractError, match="autoregressive .*one token per forward"):
        resolve(Flags.of(contract="parallel"), checkpoint, made.family)
