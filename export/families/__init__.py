"""Model families: `model_type` to the module that knows it, imported when it is asked for.

A family module has one function, `describe(checkpoint) -> Family`. A new family is one file here and one row below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

from ...engines.errors import A2DError, CheckpointError
from ..checkpoint.directory import Checkpoint
from .family import Family

__all__ = ["ARCHITECTURES", "FAMILIES", "Family", "describe"]

FAMILIES = {
    "Fast_dLLM_Qwen": ("fast_dllm_qwen", "Fast-dLLM v2 on Qwen2.5"),
    "a2d-llama": ("llama", "dLLM's A2D Llama"),
    "a2d-qwen2": ("qwen2", "dLLM's A2D Qwen2"),
    "a2d-qwen3": ("qwen3", "dLLM's A2D Qwen3"),
    "diffusionvl_qwen": ("diffusionvl_qwen", "DiffusionVL on SigLIP2 and Qwen2.5"),
    "diffusionvl_qwenvl": ("diffusionvl_qwenvl", "DiffusionVL on Qwen2.5-VL"),
    "fast_dvlm": ("fast_dvlm", "Fast-dVLM on Qwen2.5-VL"),
    "llada2_moe": ("llada2_moe", "LLaDA2.0 and 2.1"),
    "llama": ("llama", "Llama 2 and 3, given a decode contract"),
    "qwen2": ("qwen2", "Qwen2 and Qwen2.5, given a decode contract"),
    "qwen2_5_vl": ("qwen2_5_vl", "Qwen2.5-VL: vision and language"),
    "qwen3": ("qwen3", "Qwen3 (dense), given a decode contract"),
    "qwen3_moe": ("qwen3_moe", "Qwen3 (mixture of experts), given a decode contract"),
    "sdar": ("sdar", "SDAR on Qwen3 (dense)"),
    "sdar_moe": ("sdar_moe", "SDAR on Qwen3 (mixture of experts)"),
    "sdar_v": ("sdar_vl", "SDAR-VL on SigLIP and Qwen3"),
}
"""model_type in config.json to the module here, and what it is for people."""


ARCHITECTURES = {
    "A2DLlamaLMHeadModel": "a2d-llama",
    "A2DQwen2LMHeadModel": "a2d-qwen2",
    "A2DQwen3LMHeadModel": "a2d-qwen3",
    "DiffusionVLQwenForCausalLM": "diffusionvl_qwen",
    "DiffusionVLQwenVLForCausalLM": "diffusionvl_qwenvl",
    "Fast_dLLM_QwenForCausalLM": "Fast_dLLM_Qwen",
    "LLaDA2MoeModelLM": "llada2_moe",
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen2_5_VLForConditionalGeneration": "qwen2_5_vl",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "SDARForCausalLM": "sdar",
    "SDARMoeForCausalLM": "sdar_moe",
}
"""Class in config.json's architectures to the model_type that goes with it."""


def describe(checkpoint: Checkpoint, family: str | None = None) -> Family:
    """Describe the checkpoint as its family sees it; `family` goes before what config.json says.

    Raises CheckpointError: the table for one that is not in it, or both where config.json names two.
    """
    kind = family or checkpoint.config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise CheckpointError(_unknown(checkpoint, kind))
    others = [] if family else [other for other in _of_architectures(checkpoint) if other != kind]
    if others:
        raise CheckpointError(
            f"{checkpoint.path}: config.json matches two families: its model_type is {kind!r}, and its architectures "
            f"{checkpoint.config['architectures']} are {others[0]!r}. They may be decoded in other ways: say which it "
            f"is, [family={kind}] or [family={others[0]}]"
        )
    module = import_module(f"{__name__}.{FAMILIES[kind][0]}")
    find: Callable[[Checkpoint], Family] = module.describe
    config = {**checkpoint.config, "model_type": kind} if family else checkpoint.config
    try:
        return _embedded(find(replace(checkpoint, config=config)), checkpoint)
    except A2DError:
        raise  # it says what is wrong itself
    except BROKEN as error:  # a family asks for dozens of values, each of which may be anything
        raise CheckpointError(
            f"{checkpoint.path}: config.json has a value that no {kind} has ({type(error).__name__}: {error}); "
            "check it against the model's release"
        ) from error


HEADS = ("lm_head.weight", "model.lm_head.weight", "language_model.lm_head.weight")
"""Names of an output projection in checkpoints."""


def _embedded(family: Family, checkpoint: Checkpoint) -> Family:
    """`family` with its embedding read from the head, where the two are one and were stored under the head's name.

    Writers that store shared memory once keep one of its names; transformers reads either.
    """
    source = family.sources["embedding"]
    head = next((name for name in HEADS if name in checkpoint), None)
    if not family.shape.tied or source.names[0] in checkpoint or head is None:
        return family
    note = f"{source.names[0]} is not stored; config.json ties it to {head}, which is read in its place"
    sources = {**family.sources, "embedding": replace(source, names=(head,))}
    return replace(family, sources=sources, notes=(*family.notes, note))


BROKEN = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""Errors that values of the wrong type or size raise where they are used."""


def _of_architectures(checkpoint: Checkpoint) -> list[str]:
    names = checkpoint.config.get("architectures")
    told = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return [ARCHITECTURES[name] for name in told if name in ARCHITECTURES]


def _unknown(checkpoint: Checkpoint, kind: object) -> str:
    rows = "\n".join(f"  {name:<18} {what}" for name, (_, what) in FAMILIES.items())
    code = checkpoint.config.get("auto_map")
    remote = f" Its config.json wants code of its own ({_files(code)}), which a2d never runs." if code else ""
    return (
        f"{checkpoint.path}: model_type is {kind!r} in config.json, expected one of\n{rows}\n"
        f"{remote} If its tensors have the names and shapes of one of these, say so: [family=NAME]".lstrip("\n")
    )


def _files(code: object) -> str:
    """The modules that an auto_map names: `modeling_x.X` is in modeling_x.py."""
    names = code.values() if isinstance(code, dict) else [code]
    texts = {str(part).split(".")[0] for name in names for part in (name if isinstance(name, list) else [name]) if part}
    return ", ".join(sorted(f"{text.split('--')[-1]}.py" for text in texts))
