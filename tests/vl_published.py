"""Tiny vision-language checkpoints that look like the published ones: files, tensor names, config keys, omissions.

Each function writes a directory and returns transformers' own class with the same weights, which is what decodes are
held against. Sizes are small, and so is the vocabulary unless a test wants the real one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

VOCAB, MASK, STOPS, IMAGE, VIDEO = 96, 94, (2, 3), 90, 91

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-06,
    "initializer_range": 0.25,
    "attention_dropout": 0.0,
    "max_window_layers": 70,
    "rope_scaling": {"mrope_section": [1, 2, 1], "rope_type": "default", "type": "default"},
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "use_cache": True,
    "use_sliding_window": False,
    "torch_dtype": "float32",
}
VISION = {
    "depth": 2,
    "hidden_act": "silu",
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_heads": 2,
    "in_channels": 3,
    "in_chans": 3,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "spatial_patch_size": 4,
    "temporal_patch_size": 2,
    "tokens_per_second": 2,
    "window_size": 16,
    "out_hidden_size": 32,
    "fullatt_block_indexes": [1],
    "initializer_range": 0.25,
    "model_type": "qwen2_5_vl",
}
PREPROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "merge_size": 2,
    "min_pixels": 64,
    "max_pixels": 1024,
    "patch_size": 4,
    "temporal_patch_size": 2,
    "processor_class": "Qwen2_5_VLProcessor",
}
SHARPNESS = 4.0
"""Of the output projection: confidences of a random network are flat, and no threshold would tell rows apart."""


def lively(model: Any) -> Any:
    """Biases and norms are born as zeros and ones; and decisions shall be clear."""
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.lm_head.weight.data *= SHARPNESS
    return model.eval()


def qwen2_5_vl(vocab: int, tied: bool, **sizes: Any) -> Any:
    """transformers' class, random."""
    torch.manual_seed(0)
    ids = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": 92, "vision_end_token_id": 93}
    text = TEXT | {"vocab_size": vocab} | sizes
    vision = VISION | {"out_hidden_size": text["hidden_size"]}
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied, **ids)
    return lively(transformers.Qwen2_5_VLForConditionalGeneration(config).float())


def renamed(state: dict[str, torch.Tensor], prefixes: dict[str, str]) -> dict[str, torch.Tensor]:
    """Each tensor under the name that the longest matching prefix gives it; None drops it."""
    made = {}
    for name, tensor in state.items():
        old = max((p for p in prefixes if name.startswith(p)), key=len)
        made[prefixes[old] + name[len(old) :]] = tensor
    return made


def saved(path: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor], shards: int, **files: Any) -> None:
    """The directory: shards with an index, JSON files, and remote code that nobody runs."""
    path.mkdir(parents=True, exist_ok=True)
    for name, data in {"config": config, **files}.items():
        (path / f"{name}.json").write_text(json.dumps(data))
    (path / f"modeling_{config['model_type']}.py").write_text("raise SystemExit('remote code was run')\n")
    if shards == 1:
        save_file({n: t.contiguous().clone() for n, t in tensors.items()}, path / "model.safetensors", {"format": "pt"})
        return
    names, weight_map = sorted(tensors), {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_file({n: tensors[n].contiguous().clone() for n in names[i::shards]}, path / file, {"format": "pt"})
        weight_map |= dict.fromkeys(names[i::shards], file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def diffusionvl_qwenvl(path: Path, vocab: int = VOCAB, converted: bool = False, **sizes: Any) -> Any:
    """hustvl/DiffusionVL-Qwen2.5VL-7B, or what its authors' conversion script writes."""
    model = qwen2_5_vl(vocab, tied=False, **sizes)
    text = TEXT | {"vocab_size": vocab, "model_type": "qwen2_5_vl_text"} | sizes
    config = text | {
        "architectures": ["DiffusionVL_Qwen2_5_VL_ForConditionalGeneration"],
        "auto_map": {
            "AutoConfig": "configuration_diffusionvl_qwen2_5_vl.DiffusionVL_Qwen2_5_VL_Config",
            "AutoModelForCausalLM": "modeling_diffusionvl.DiffusionVL_Qwen2_5_VL_ForConditionalGeneration",
        },
        "model_type": "diffusionvl_qwenvl",
        "enable_bd3lm": True,
        "bd3lm_block_size": 8,
        "bd3lm_block_aligned_eos": True,
        "bd3lm_antithetic_sampling": True,
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "vision_start_token_id": 92,
        "vision_end_token_id": 93,
        "vision_token_id": 92,
        "mm_hidden_size": 16,
        "mm_patch_merge_type": "flat",
        "mm_projector_type": "qwen_merger",
        "mm_vision_select_layer": -2,
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": VISION | {"out_hidden_size": text["hidden_size"]},
    }
    names = {
        "model.language_model.": "model.",
        "model.visual.": "model.vision_tower.vision_tower.",
        "model.visual.merger.": "model.mm_projector.merger.",
        "lm_head.": "lm_head.",
    }
    if not converted:
        saved(path, config, renamed(model.state_dict(), names), 3, preprocessor_config=PREPROCESSOR)
        return model
    vision = config.pop("vision_config")
    apart = renamed(model.state_dict(), names | {"model.visual.": "tower:", "model.visual.merger.": "projector:"})
    rest = {n: t for n, t in apart.items() if ":" not in n}
    saved(path, config, rest, 1, preprocessor_config=PREPROCESSOR, vision_config=vision)
    for name, file in (("tower:", "vision_tower"), ("projector:", "projector")):
        own = {n.removeprefix(name): t.contiguous().clone() for n, t in apart.items() if n.startswith(name)}
        save_file(own, path / f"{file}.safetensors")
    return model


def fast_dvlm(path: Path, vocab: int = VOCAB, **sizes: Any) -> Any:
    """Efficient-Large-Model/Fast_dVLM_3B: tied, and two block sizes, of which the outer one counts."""
    model = qwen2_5_vl(vocab, tied=True, **sizes)
    text = (
        TEXT | {"vocab_size": vocab, "model_type": "fast_dvlm_text", "bd_size": 8, "tie_word_embeddings": True} | sizes
    )
    config = {
        "architectures": ["Fast_dVLMForConditionalGeneration"],
        "auto_map": {
            "AutoConfig": "configuration.Fast_dVLMConfig",
            "AutoModelForCausalLM": "modeling.Fast_dVLMForConditionalGeneration",
        },
        "model_type": "fast_dvlm",
        "bd_size": 32,
        "complementary_mask": True,
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "vision_start_token_id": 92,
        "vision_end_token_id": 93,
        "vision_token_id": 92,
        "text_config": text,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.53.1",
        "vision_config": VISION | {"out_hidden_size": text["hidden_size"]},
    }
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    saved(path, config, tensors, 2, preprocessor_config=PREPROCESSOR)
    return model


LLAVA_TEXT = TEXT | {"rope_scaling": None, "head_dim": 16, "attention_bias": False, "tie_word_embeddings": False}
SIGLIP = {
    "attention_dropout": 0.0,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 16,
    "image_size": 16,
    "intermediate_size": 20,
    "layer_norm_eps": 1e-06,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 2,
    "num_channels": 3,
    "num_hidden_layers": 2,
    "patch_size": 5,
    "vision_use_head": False,
}
GRIDS = [[height, width] for height in (16, 32, 48) for width in (16, 32, 48)]
CROPPED = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "crop_size": None,
    "do_center_crop": None,
    "image_grid_pinpoints": GRIDS,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "LlavaOnevisionImageProcessorFast",
    "processor_class": "LlavaOnevisionProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 16, "width": 16},
}


def llava_onevision(text: Any, **fields: Any) -> Any:
    """transformers' class, random, with few features left of a large picture."""
    torch.manual_seed(0)
    config = transformers.LlavaOnevisionConfig(
        text_config=text,
        vision_config=SIGLIP | fields.pop("vision", {}),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        image_grid_pinpoints=GRIDS,
        vision_aspect_ratio="anyres_max_2",
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
        **fields,
    )
    model = lively(transformers.LlavaOnevisionForConditionalGeneration(config).float())
    # Which of its names are new, and which are old, depends on the release of transformers.
    model.tower = "model.vision_tower." + "vision_model." * hasattr(model.model.vision_tower, "vision_model")
    return model


def sdar_v(path: Path, vocab: int = VOCAB, old: bool = True, **sizes: Any) -> Any:
    """JetLM/SDAR-VL-*: tensor names of transformers 4.52, or new ones."""
    text = LLAVA_TEXT | {"vocab_size": vocab} | sizes
    model = llava_onevision(transformers.Qwen3Config(**{k: v for k, v in text.items() if k != "torch_dtype"}))
    inner = text | {
        "architectures": ["SDAR"],
        "auto_map": {"AutoConfig": "configuration_sdar.SDARConfig", "AutoModel": "modeling_sdar.SDARModel"},
        "block_size": 4,
        "bos_token_id": STOPS[0] if vocab == VOCAB else 151643,
        "eos_token_id": STOPS[0] if vocab == VOCAB else 151643,
        "fuse_cross_entropy": True,
        "mask_token_id": MASK if vocab == VOCAB else 151669,
        "model_type": "sdar",
    }
    remote = "modeling_llava_onevision.LlavaOnevisionForConditionalGeneration"
    config = {
        "architectures": ["LlavaOnevisionForConditionalGeneration"],
        "auto_map": {
            "AutoConfig": "configuration_llava_onevision.LlavaOnevisionConfig",
            "AutoModelForCausalLM": remote,
        },
        "hidden_size": text["hidden_size"],
        "ignore_index": -100,
        "image_grid_pinpoints": GRIDS,
        "image_token_index": IMAGE,
        "model_type": "sdar_v",
        "multimodal_projector_bias": True,
        "projector_hidden_act": "gelu",
        "text_config": inner,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.52.4",
        "use_image_newline_parameter": True,
        "video_token_index": VIDEO,
        "vision_aspect_ratio": "anyres_max_2",
        "vision_config": SIGLIP,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    }
    legacy = {
        "model.language_model.": "language_model.model.",
        "lm_head.": "language_model.lm_head.",
        model.tower: "vision_tower.vision_model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "model.image_newline": "image_newline",
    }
    names = (
        legacy if old else {"model.": "model.", "lm_head.": "lm_head.", model.tower: "model.vision_tower.vision_model."}
    )
    saved(path, config, renamed(model.state_dict(), names), 2, preprocessor_config=CROPPED)
    return model


def diffusionvl_qwen(path: Path, vocab: int = VOCAB, apart: bool = False, **sizes: Any) -> Any:
    """hustvl/DiffusionVL-Qwen2.5-7B: LLaVA's names and keys, a tower without its last layer; or with files apart."""
    text = (
        {k: v for k, v in LLAVA_TEXT.items() if k not in ("head_dim", "attention_bias")} | {"vocab_size": vocab} | sizes
    )
    tower = {"num_hidden_layers": 3}
    inner = transformers.Qwen2Config(**{k: v for k, v in text.items() if k != "torch_dtype"})
    model = llava_onevision(inner, vision=tower, vision_feature_layer=-2)
    config = text | {
        "architectures": ["DiffusionVLQwenForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_diffusionvl_qwen.DiffusionVLQwenConfig"},
        "model_type": "diffusionvl_qwen",
        "enable_bd3lm": True,
        "bd3lm_block_size": 8,
        "image_aspect_ratio": "anyres_max_2",
        "image_grid_pinpoints": [[width, height] for height, width in GRIDS],
        "image_token_index": -200,
        "mm_hidden_size": 16,
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "/path/to/siglip2-so400m-patch14-384",
        "tokenizer_model_max_length": 8192,
        "use_mm_proj": True,
        "vision_config": SIGLIP | tower,
        **({"image_token_id": IMAGE, "video_token_id": VIDEO} if vocab == VOCAB else {}),
    }
    names = {
        "model.language_model.": "model.",
        "lm_head.": "lm_head.",
        model.tower: "model.vision_tower.vision_tower.vision_model.",
        "model.multi_modal_projector.linear_1.": "model.mm_projector.0.",
        "model.multi_modal_projector.linear_2.": "model.mm_projector.2.",
        "model.image_newline": "model.image_newline",
    }
    if not apart:
        kept = {n: t for n, t in renamed(model.state_dict(), names).items() if "encoder.layers.2." not in n}
        saved(path, config, kept, 2, preprocessor_config=CROPPED)
        return model
    moved = {model.tower: "tower:vision_model."} | {
        k: f"projector:{v[-2:]}" for k, v in names.items() if "mm_proj" in v
    }
    tensors, vision = renamed(model.state_dict(), names | moved), config.pop("vision_config")
    saved(path, config, {n: t for n, t in tensors.items() if ":" not in n}, 1, vision_config=vision)
    for name, file in (("tower:", "vision_tower"), ("projector:", "projector")):
        own = {n.removeprefix(name): t.contiguous().clone() for n, t in tensors.items() if n.startswith(name)}
        save_file(own, path / f"{file}.safetensors")
    return model
