"""Tiny Cosmos 3 checkpoints made with diffusers' own classes, their stock pipeline, and a2d's studio on them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundles import MANIFEST, record, variant_of
from diffusers import (
    AutoencoderKLWan,
    Cosmos3OmniPipeline,
    Cosmos3OmniTransformer,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoTokenizer
from transformers.models.cosmos3_edge.configuration_cosmos3_edge import Cosmos3EdgeConfig
from transformers.models.cosmos3_edge.image_processing_pil_cosmos3_edge import Cosmos3EdgeImageProcessorPil
from transformers.models.cosmos3_edge.modeling_cosmos3_edge import Cosmos3EdgeForConditionalGeneration
from transformers.models.cosmos3_omni.configuration_cosmos3_omni import Cosmos3OmniConfig
from transformers.models.cosmos3_omni.modeling_cosmos3_omni import Cosmos3OmniForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from a2d.export.export_plan import Job
from a2d.export.film.plan import plan_film
from a2d.export.parity.torch_engine import TorchEngine, Weights
from a2d.runtime.bundle.manifest import WORDS
from a2d.runtime.film.studio import Studio
from a2d.runtime.inputs.tokenizer import ChatTemplate, Text

PUBLISHED = Path(__file__).parent / "data" / "golden-frames" / "v3" / "checkpoint"

VAE = {
    "base_dim": 4, "decoder_base_dim": 8, "z_dim": 48, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1,
    "is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16,
    "latents_mean": [0.1] * 48, "latents_std": [0.7] * 48,
}  # fmt: skip

SIZES = {
    "hidden_size": 48, "head_dim": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 80,
    "num_hidden_layers": 2, "vocab_size": 320, "rope_axes_dim": [6, 3, 3],
}  # fmt: skip
EDGE = {"hidden_act": "relu2", "qk_norm_for_text": False, "use_und_k_norm_for_gen": True, "rms_norm_eps": 1e-5}
EDGE |= {"rope_theta": 1e8}


@dataclass(frozen=True)
class Recipe:
    """Settings of each part's class."""

    network: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    pipeline: dict[str, Any] = field(default_factory=dict)
    vae: dict[str, Any] = field(default_factory=dict)
    student: bool = False
    """The scheduler is that of distilled networks."""


RECIPES = {
    "edge": Recipe(EDGE, {"flow_shift": 12.0}, {"use_native_flow_schedule": True, "default_use_system_prompt": False}),
    "nano": Recipe(
        {"rms_norm_eps": 1e-6},
        {"use_karras_sigmas": True, "sigma_max": 200.0, "sigma_min": 0.147, "flow_shift": 3.0},
    ),
    "odd": Recipe(
        {**EDGE, "attention_bias": True, "enable_fps_modulation": False, "unified_3d_mrope_reset_spatial_ids": False,
         "unified_3d_mrope_temporal_modality_margin": 700, "timestep_scale": 0.002, "num_key_value_heads": 1,
         "rope_axes_dim": [24, 20, 20]},
        {"flow_shift": 7.0},
    ),
    "beside": Recipe(
        {"qk_norm_for_text": True, "hidden_act": "relu2", "use_und_k_norm_for_gen": True, "base_fps": 16,
         "action_gen": True, "action_dim": 6, "sound_gen": True, "sound_dim": 8, "latent_channel": 16,
         "latent_patch_size": 1, "patch_latent_dim": 16},
        {"use_karras_sigmas": True},
        {"default_use_system_prompt": False},
        {"is_residual": False, "patch_size": None, "in_channels": 3, "out_channels": 3, "z_dim": 16,
         "scale_factor_spatial": 8, "latents_mean": [0.2] * 16, "latents_std": [1.3] * 16, "decoder_base_dim": None},
    ),
}  # fmt: skip
"""Networks that differ in what released ones and their relatives differ in."""


def checkpoint(path: Path, recipe: Recipe, dtype: torch.dtype = torch.float32) -> Cosmos3OmniPipeline:
    """Write a diffusers directory with random weights of `dtype`, and give the pipeline in float32 as it was stored."""
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "solver_order": 2, "solver_type": "bh2"}
    scheduler = (
        FlowMatchEulerDiscreteScheduler(**recipe.scheduler)
        if recipe.student
        else UniPCMultistepScheduler(**{**flow, **recipe.scheduler})
    )
    pipeline = Cosmos3OmniPipeline(
        transformer=_random(Cosmos3OmniTransformer(**{**SIZES, **recipe.network}), 1),
        text_tokenizer=AutoTokenizer.from_pretrained(PUBLISHED / "text_tokenizer"),
        vae=_random(AutoencoderKLWan(**{**VAE, **recipe.vae}), 2),
        scheduler=scheduler,
        enable_safety_checker=False,
        **recipe.pipeline,
    )
    for name in ("transformer", "vae"):
        getattr(pipeline, name).to(dtype).save_pretrained(path / name)
        getattr(pipeline, name).float()
    pipeline.scheduler.save_pretrained(path / "scheduler")
    shutil.copytree(PUBLISHED / "text_tokenizer", path / "text_tokenizer")
    own = {key: value for key, value in pipeline.config.items() if isinstance(value, bool)}
    index = {"_class_name": "Cosmos3OmniPipeline", **own}
    (path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return pipeline


def _random(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Weights under which every part of the network counts."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        shape = weight.shape
        if "norm" in name and weight.dim() == 1:
            weight.data = 1.2 + 0.6 * torch.randn(shape, generator=generator)
        else:
            scale = 0.9 / weight[0].numel() ** 0.5 if weight.dim() > 1 else 0.1
            weight.data = torch.randn(shape, generator=generator) * scale
    return module.eval()


EDGE_VISION = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 4,
    "num_patches": 25,
}  # fmt: skip
OMNI_VISION = {
    "hidden_size": 24, "intermediate_size": 40, "depth": 4, "num_heads": 3, "patch_size": 4, "out_hidden_size": 48,
    "num_position_embeddings": 25, "deepstack_visual_indexes": [0, 2],
}  # fmt: skip
PROCESSORS = {"edge": Cosmos3EdgeImageProcessorPil, "nano": Qwen2VLImageProcessorPil}
"""Image processors that transformers has for the class of each recipe."""
PICTURES = {"image": 320, "video": 321, "vision_start": 3, "vision_end": 4}


def seeing(path: Path, recipe: Recipe) -> tuple[Cosmos3OmniPipeline, Any]:
    """A checkpoint with a vision tower, and transformers' class of all that reads, from the same tensors."""
    pipeline = checkpoint(path, replace(recipe, network={**recipe.network, "vocab_size": 330}))
    edge = recipe.network.get("use_und_k_norm_for_gen", False)
    model = (_edge_reasoner if edge else _omni_reasoner)({**SIZES, **recipe.network, "vocab_size": 330}, path)
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    seen = {name: value for name, value in tensors.items() if name.startswith(("model.visual", "model.projector"))}
    # Releases of the omni class keep the tower under flat names.
    stored = seen if edge else {name.removeprefix("model.visual."): value for name, value in seen.items()}
    save_file(stored, path / "vision_encoder" / "model.safetensors")
    tokenizer = json.loads((path / "text_tokenizer" / "tokenizer.json").read_text())
    for name in ("image", "video"):
        added = {**tokenizer["added_tokens"][0], "id": PICTURES[name], "content": f"<|{name}_pad|>"}
        tokenizer["added_tokens"].append(added)
    (path / "text_tokenizer" / "tokenizer.json").write_text(json.dumps(tokenizer))
    for name, value in pipeline.transformer.state_dict().items():
        theirs = _reasoner(name, edge)
        if theirs in tensors:
            tensors[theirs] = value
    model.load_state_dict(tensors)
    return pipeline, model


def _edge_reasoner(config: dict[str, Any], path: Path) -> Any:
    text = {name: config[name] for name in config if name not in ("rope_theta", "rope_axes_dim")}
    whole = Cosmos3EdgeConfig(
        text_config=text | _turned(config), vision_config=EDGE_VISION, projector_hidden_size=56, **_tokens()
    )
    own = {"model_type": "cosmos3_edge_vision", "spatial_merge_size": 2, "num_channels": 3, **EDGE_VISION}
    _write_vision(path, own, {"temporal_patch_size": 1})
    return _random(Cosmos3EdgeForConditionalGeneration(whole), 4)


def _omni_reasoner(config: dict[str, Any], path: Path) -> Any:
    text = {name: config[name] for name in config if name not in ("rope_theta", "rope_axes_dim")}
    turned = _turned({"rope_theta": 5e6, **config})
    whole = Cosmos3OmniConfig(text_config=text | turned, vision_config=dict(OMNI_VISION), **_tokens())
    normal = {"image_mean": [0.5, 0.4, 0.6], "image_std": [0.5, 0.6, 0.4]}
    _write_vision(path, {"model_type": "qwen3_vl", **OMNI_VISION}, {"temporal_patch_size": 2, **normal})
    return _random(Cosmos3OmniForConditionalGeneration(whole), 4)


def _turned(config: dict[str, Any]) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": config["rope_theta"], "mrope_section": config["rope_axes_dim"]}
    return {"rope_parameters": rope}


def _tokens() -> dict[str, int]:
    return {f"{name}_token_id": token for name, token in PICTURES.items()}


def _write_vision(path: Path, config: dict[str, Any], processor: dict[str, Any]) -> None:
    (path / "vision_encoder").mkdir()
    (path / "vision_encoder" / "config.json").write_text(json.dumps(config))
    size = {"shortest_edge": 24 * 24, "longest_edge": 80 * 80}
    settings = {"patch_size": 4, "merge_size": 2, "size": size, **processor}
    (path / "preprocessor_config.json").write_text(json.dumps(settings))


def _reasoner(name: str, edge: bool) -> str:
    """The name of a tensor of the reading tower in transformers' class."""
    names = [("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"), ("to_out", "o_proj")]
    names += [("mlp.up_proj", "mlp.fc1"), ("mlp.down_proj", "mlp.fc2")] if edge else []
    names += [] if edge else [("norm_q", "q_norm"), ("norm_k", "k_norm")]
    for ours, theirs in names:
        name = name.replace(f".{ours}.", f".{theirs}.")
    return name if name.startswith("lm_head") else f"model.language_model.{name}"


@dataclass
class Opened:
    """A checkpoint behind a2d's plan: engines in torch, and the studio on them."""

    path: Path
    given: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plan = plan_film(Job(self.path, self.path / "bundle", film=self.given, quiet=True))
        self.contract = self.plan.resolved.contract
        self.engine = cache(self._engine)

    def _engine(self, graph: str) -> TorchEngine:
        weights = Weights(self.plan.checkpoint, self.plan.family, torch.float32, resident=True)
        return TorchEngine(graph, self.plan.family.network, weights)

    def studio(self) -> Studio:
        folder, chat = self.path / "text_tokenizer", self.contract.towers.chat
        template = ChatTemplate(self.plan.resolved.files[chat.template].decode(), chat.special_tokens)
        return Studio(self.engine, self.contract, "float32", Text(folder / "tokenizer.json"), True, template)


@torch.no_grad()
def stock(
    pipeline: Cosmos3OmniPipeline,
    prompt: str,
    noise: np.ndarray,
    image: np.ndarray | None = None,
    anchor: torch.Tensor | None = None,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Latents `[C, T, h, w]` and pixels `[N, H, W, 3]` of the stock pipeline, from the same noise.

    `anchor [C, 1, h, w]` is put back as the first frame after each step.
    """
    latents = torch.from_numpy(noise)[None].clone()
    picture = None if image is None else Image.fromarray(image)
    if picture is not None and options["num_frames"] > 1:
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1
        latents[:, :, :1] = pipeline._encode_video(pixels)
    kept: list[torch.Tensor] = []

    def keep(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        latents = tensors["latents"].clone()
        if anchor is not None:
            latents[..., :1, :, :] = anchor
        kept.append(latents)
        return {} if anchor is None else {"latents": latents}

    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(prompt, image=picture, latents=latents, output_type="np", callback_on_step_end=keep, **options)
    return kept[-1][0].numpy(), np.asarray(made.video).reshape(-1, options["height"], options["width"], 3)


def written(folder: Path, opened: Opened) -> Path:
    """A bundle's folder whose graphs' files hold their names, for `film_bundles.loader(opened.engine)`."""
    folder.mkdir()
    graphs = {name: f"{name}.fp32.onnx" for name in (*WORDS, "velocity", "pixels_first", "pixels_next")}
    graphs["encode_first"] = "encode_first.fp32.onnx"
    content = {file: name.encode() for name, file in graphs.items()} | {"weights-fp32.bin": bytes(1000)}
    content |= dict(opened.plan.resolved.files)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    variant = variant_of(graphs, parity=())
    files = {name: record(data) for name, data in content.items()}
    made = replace(
        MANIFEST, words=opened.plan.resolved.words, film=opened.contract, family="cosmos3_edge",
        variants={"fp32": variant}, files=files,
    )  # fmt: skip
    (folder / "manifest.json").write_text(made.dumps(), encoding="utf-8")
    return folder
