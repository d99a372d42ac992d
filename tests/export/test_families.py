"""Every family computes what transformers' own classes compute, on random tiny checkpoints saved by transformers."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_model import TINY_VISION

from a2d.engines import load_engine
from a2d.engines.protocol import Engine
from a2d.export.checkpoint.directory import Checkpoint
from a2d.export.checkpoint.sources import assemble
from a2d.export.families import Family, describe
from a2d.export.families.decoder import sizes_of
from a2d.export.graphs.shapes import DecoderShape, Network
from a2d.export.parity.torch_engine import TorchEngine, Weights
from a2d.export.precision import PRECISIONS
from a2d.export.write.graph_models import Builder
from a2d.export.write.piece_cache import default_folder
from a2d.export.write.weight_file import TorchWeightFile, save_graph
from a2d.runtime.bundle.staging import Staging

VOCAB, ROWS = 96, 11
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.25,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
    "rope_theta": 10000.0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10000.0}
LINEAR = {"rope_type": "linear", "factor": 3.0, "rope_theta": 10000.0}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2", {}),
    "qwen2-tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "qwen3-bias-tied": ("Qwen3", {"head_dim": 8, "attention_bias": True, "tie_word_embeddings": True}),
    "qwen3-yarn": ("Qwen3", {"head_dim": 8, "rope_parameters": YARN}),
    "llama": ("Llama", {"num_key_value_heads": 4}),
    "llama-one-key-head": ("Llama", {"num_key_value_heads": 1}),
    "llama-bias": ("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama3": ("Llama", {"rope_parameters": LLAMA3}),
    "llama-linear": ("Llama", {"rope_parameters": LINEAR}),
    "llama-all": ("Llama", {"attention_bias": True, "mlp_bias": True, "rope_parameters": YARN}),
}


@dataclass(frozen=True)
class Made:
    model: Any
    path: Path
    checkpoint: Checkpoint
    family: Family

    @property
    def network(self) -> Network:
        return Network(self.family.shape, self.family.tower)

    def engine(self, graph: str) -> TorchEngine:
        return TorchEngine(graph, self.network, Weights(self.checkpoint, self.family, torch.float32))


def opened(model: Any, path: Path) -> Made:
    checkpoint = Checkpoint.open(path)
    family = describe(checkpoint)
    checkpoint.verify(family.sources, family.ignorable)
    return Made(model, path, checkpoint, family)


def text_model(name: str, path: Path) -> Made:
    kind, fields = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**(SIZES | fields))
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for parameter in model.parameters():  # biases and norms are born as zeros and ones
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(path)
    return opened(model, path)


@pytest.fixture(scope="module")
def vl(tmp_path_factory: pytest.TempPathFactory) -> Made:
    text = SIZES | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 2, 1], "rope_theta": 10000.0}}
    ids = {"image_token_id": 90, "video_token_id": 91, "vision_start_token_id": 92, "vision_end_token_id": 93}
    torch.manual_seed(0)
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=TINY_VISION, **ids)
    model = transformers.Qwen2_5_VLForConditionalGeneration(config).eval()
    path = tmp_path_factory.mktemp("vl")
    model.save_pretrained(path)
    return opened(model, path)


def block_causal(rows: int, block: int = 4) -> np.ndarray:
    index = np.arange(rows) // block
    return (index[None] <= index[:, None])[None, None]


def feeds(
    shape: DecoderShape, rows: slice, tokens: np.ndarray, visible: np.ndarray, past: dict[str, Any]
) -> dict[str, Any]:
    line = np.arange(rows.start, rows.stop)[None]
    empty = np.zeros((1, shape.kv_heads, 0, shape.head_dim), np.float32)
    kinds = [f"{kind}_{i}" for i in range(shape.layers) for kind in ("key", "value")]
    return {
        "tokens": tokens[:, rows],
        "positions": np.stack([line, line // 2, line % 3]) if shape.rope_axes else line,
        "visible": visible[:, :, rows, : rows.stop],
        **{f"past_{kind}": past.get(f"new_{kind}", empty) for kind in kinds},
    }


def cached(engine: Engine, shape: DecoderShape, tokens: np.ndarray, visible: np.ndarray, cut: int) -> np.ndarray:
    """Hidden rows of two chunks, the second against the first's keys and values."""
    first = engine.run(feeds(shape, slice(0, cut), tokens, visible, {}))
    second = engine.run(feeds(shape, slice(cut, tokens.shape[1]), tokens, visible, first))
    return np.concatenate([first["hidden"], second["hidden"]], 1)


def theirs(decoder: Any, tokens: np.ndarray, visible: np.ndarray, positions: np.ndarray) -> torch.Tensor:
    mask = torch.where(torch.from_numpy(visible), 0.0, torch.finfo(torch.float32).min)
    with torch.no_grad():
        made: torch.Tensor = decoder(
            inputs_embeds=decoder.get_input_embeddings()(torch.from_numpy(tokens)),
            attention_mask=mask if decoder.config.model_type == "llama" else {"full_attention": mask},
            position_ids=torch.from_numpy(positions),
            use_cache=False,
        ).last_hidden_state
    return made


def agree(made: Made, decoder: Any, engine: Engine) -> None:
    shape = made.family.shape
    tokens = np.random.default_rng(0).integers(0, VOCAB, (1, ROWS))
    visible = block_causal(ROWS)
    fed = feeds(shape, slice(0, ROWS), tokens, visible, {})
    hidden = engine.run(fed)["hidden"]
    reference = theirs(decoder, tokens, visible, fed["positions"])
    np.testing.assert_allclose(hidden, reference.numpy(), atol=1e-4)
    for cut in (4, 8):
        np.testing.assert_allclose(cached(engine, shape, tokens, visible, cut), hidden, atol=1e-5)
    beliefs_agree(made, reference, hidden)


def beliefs_agree(made: Made, reference: torch.Tensor, hidden: np.ndarray) -> None:
    with torch.no_grad():
        chances = made.model.lm_head(reference)[0].softmax(-1)
    block = {
        "hidden": hidden,
        "carry": np.zeros_like(hidden[:, :1]),
        "gather": np.arange(ROWS)[None] + 1,
        "tokens": np.full((1, ROWS), 5),
        "masked": np.ones((1, ROWS), np.bool_),
        "count": np.array([2]),
        "threshold": np.array([2.0], np.float32),
        "allowed": np.full((1, made.engine("denoise").inputs["allowed"].shape[1]), 255, np.uint8),
        "allowed_by": np.zeros((1, ROWS), np.int64),
    }
    out = made.engine("denoise").run(block)
    np.testing.assert_allclose(out["confidence"][0], chances.amax(-1).numpy(), atol=1e-4)
    np.testing.assert_allclose(out["held"][0], chances[:, 5].numpy(), atol=1e-4)
    np.testing.assert_allclose(out["entropy"][0], torch.special.entr(chances).sum(-1).numpy(), atol=1e-4)
    assert (out["proposed"][0] == chances.argmax(-1).numpy()).all()


@pytest.mark.parametrize("name", MODELS)
def test_text_families_equal_transformers(name: str, tmp_path: Path) -> None:
    made = text_model(name, tmp_path)
    agree(made, made.model.model, made.engine("backbone"))


def exported(made: Made, staging: Staging, graphs: list[str]) -> dict[str, Engine]:
    fp32 = PRECISIONS["fp32"]
    weights, builder = TorchWeightFile.new(fp32, staging), Builder(made.network, (fp32,), graphs, default_folder())
    for name, source in made.family.sources.items():
        weights.write(name, assemble(source, made.checkpoint.read, fp32.dtype))
    weights.file.close()
    paths = {g: save_graph(weights.link(builder.build(g, fp32), {}), g, fp32, staging) for g in graphs}
    return {g: load_engine("onnxruntime", path, threads=1) for g, path in paths.items()}


def test_exported_graph_equals_transformers(tmp_path: Path) -> None:
    """Every optional weight at once, and a factor on cos and sin; the other shapes are pieces of this one."""
    made = text_model("llama-all", tmp_path / "checkpoint")
    with Staging(tmp_path / "bundle") as staging:
        agree(made, made.model.model, exported(made, staging, ["backbone"])["backbone"])


def test_exported_vision_language_equals_transformers(vl: Made, tmp_path: Path) -> None:
    with Staging(tmp_path / "bundle") as staging:
        engines = exported(vl, staging, ["backbone", "vision"])
        # Row features are off in `agree`: it feeds none.
        backbone = engines["backbone"]
        none = {"features": np.zeros((1, ROWS, 32), np.float32), "is_feature": np.zeros((1, ROWS), np.bool_)}
        agree(vl, vl.model.model.language_model, _With(backbone, none))
        features_take_the_place_of_tokens(vl, backbone)


def test_vision_language_equals_transformers(vl: Made) -> None:
    none = {"features": np.zeros((1, ROWS, 32), np.float32), "is_feature": np.zeros((1, ROWS), np.bool_)}
    agree(vl, vl.model.model.language_model, _With(vl.engine("backbone"), none))
    features_take_the_place_of_tokens(vl, vl.engine("backbone"))


class _With:
    """An engine with constant feeds, cut to the rows at hand."""

    def __init__(self, engine: Engine, constant: dict[str, np.ndarray]) -> None:
        self._engine, self._constant = engine, constant

    def run(self, given: dict[str, Any]) -> Any:
        rows = given["tokens"].shape[1]
        return self._engine.run({**given, **{name: value[:, :rows] for name, value in self._constant.items()}})


def features_take_the_place_of_tokens(vl: Made, engine: Engine) -> None:
    shape, rng = vl.family.shape, np.random.default_rng(1)
    tokens, visible = rng.integers(0, VOCAB, (1, ROWS)), block_causal(ROWS)
    fed = feeds(shape, slice(0, ROWS), tokens, visible, {})
    fed["features"] = vl.model.model.language_model.embed_tokens.weight.detach().numpy()[rng.permutation(ROWS)][None]
    fed["is_feature"] = rng.random((1, ROWS)) < 0.5
    replaced = np.where(fed["is_feature"][..., None], fed["features"], 0)
    embedded = vl.model.model.language_model.embed_tokens(torch.from_numpy(tokens)).detach()
    mixed = torch.where(torch.from_numpy(fed["is_feature"])[..., None], torch.from_numpy(replaced), embedded)
    mask = torch.where(torch.from_numpy(visible), 0.0, torch.finfo(torch.float32).min)
    with torch.no_grad():
        reference = vl.model.model.language_model(
            inputs_embeds=mixed,
            attention_mask={"full_attention": mask},
            position_ids=torch.from_numpy(fed["positions"]),
            use_cache=False,
        ).last_hidden_state
    np.testing.assert_allclose(engine.run(fed)["hidden"], reference.numpy(), atol=1e-4)


def test_vision_tower_equals_transformers(vl: Made) -> None:
    from a2d.runtime.inputs.patches import prepare

    assert vl.family.vision is not None
    frame = np.random.default_rng(0).integers(0, 256, (40, 72, 3), dtype=np.uint8)
    patches = prepare([frame], vl.family.vision)
    (fed,) = patches.feeds()
    features = vl.engine("vision").run(fed)["features"]
    raster = (
        patches.pixels[0].reshape(-1, 4, patches.pixels.shape[-1])[patches.order].reshape(-1, patches.pixels.shape[-1])
    )
    grid = torch.tensor([[patches.grid.t, patches.grid.h, patches.grid.w]])
    with torch.no_grad():
        reference = vl.model.model.visual(torch.from_numpy(raster), grid_thw=grid).pooler_output
    np.testing.assert_allclose(features, reference.numpy(), atol=1e-4)


def swapped(name: str) -> str:
    """The name in the other style: which one transformers saves depends on its release."""
    for new, old in (("model.language_model.", "model."), ("model.visual.", "visual.")):
        if name.startswith(new):
            return old + name.removeprefix(new)
    for new, old in (("model.language_model.", "model."), ("model.visual.", "visual.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def test_all_prefixes_and_config_styles_mean_the_same(vl: Made, tmp_path: Path) -> None:
    """Old releases keep text fields at the top and the tower beside the model."""
    old = Path(shutil.copytree(vl.path, tmp_path / "old"))
    tensors = load_file(old / "model.safetensors")
    save_file({swapped(name): tensor for name, tensor in tensors.items()}, old / "model.safetensors")
    config = json.loads((old / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    config |= {k: v for k, v in text.items() if k not in ("model_type", "dtype")}
    config |= {
        "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
        "rope_theta": rope["rope_theta"],
    }
    (old / "config.json").write_text(json.dumps(config))
    made = opened(vl.model, old)
    assert made.family.shape == vl.family.shape
    assert set(made.family.sources) == set(vl.family.sources)
    theirs, ours = (
        Weights(vl.checkpoint, vl.family, torch.float32),
        Weights(made.checkpoint, made.family, torch.float32),
    )
    assert all(torch.equal(theirs.get(name), ours.get(name)) for name in vl.family.sources)


def test_dllm_names_are_the_same_with_a_contract(tmp_path: Path) -> None:
    made = text_model("qwen3", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "a2d-qwen3"}
    config["architectures"] = ["A2DQwen3LMHeadModel"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    renamed = describe(Checkpoint.open(tmp_path))
    assert renamed.shape == made.family.shape
    assert renamed.contract["prompt_alignment"] == "left"
    assert "block_size" not in renamed.contract


@pytest.mark.parametrize(
    ("name", "fields", "word"),
    [
        ("config.json", {"rope_theta": 1.0, "text_config": {}}, "mrope_section"),
        ("preprocessor_config.json", {"patch_size": 14}, "patch_size = 14, expected 4"),
        ("preprocessor_config.json", {"do_normalize": False}, "do_normalize = False"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "image_mean"),
        ("preprocessor_config.json", {"size": {"height": 448, "width": 448}}, "size is {'height': 448"),
        ("preprocessor_config.json", {"size": 448}, "size is 448"),
        ("preprocessor_config.json", {"min_pixels": 10, "max_pixels": 5}, "min_pixels"),
    ],
)
def test_bad_vision_configs(vl: Made, tmp_path: Path, name: str, fields: dict[str, Any], word: str) -> None:
    copy = Path(shutil.copytree(vl.path, tmp_path / "copy"))
    data = json.loads((copy / name).read_text()) if (copy / name).exists() else {}
    (copy / name).write_text(json.dumps(data | fields))
    with pytest.raises(Exception, match=word.replace("(", r"\(")) as caught:
        describe(Checkpoint.open(copy))
    assert type(caught.value).__name__ == "CheckpointError"


def test_template_of_checkpoints_without_one(vl: Made) -> None:
    import jinja2

    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(str(vl.family.chat_template))
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "read"}]}
    text = template.render(messages=[message], add_generation_prompt=True)
    assert text == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>read<|im_end|>\n<|im_start|>assistant\n"
    )
    plain = template.render(messages=[{"role": "user", "content": "hi"}], add_generation_prompt=False)
    assert plain == "<|im_start|>user\nhi<|im_end|>\n"
    assert any("chat template" in note for note in vl.family.notes)


@pytest.mark.parametrize("kind", ["Qwen2", "Qwen3", "Qwen3Moe", "Llama", "Glm4Moe", "Qwen2_5_VLText"])
def test_sizes_by_optimums_names_are_the_configs_own(kind):
    import transformers

    made = {"vocab_size": 97, "hidden_size": 40, "num_hidden_layers": 3}
    made |= {"num_attention_heads": 10, "num_key_value_heads": 5}
    config = getattr(transformers, f"{kind}Config")(**made)
    sizes = sizes_of(config)
    got = (sizes.vocab_size, sizes.hidden_size, sizes.num_layers, sizes.num_attention_heads, sizes.num_key_value_heads)
    assert got == tuple(made.values())
