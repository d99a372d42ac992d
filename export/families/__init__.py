"""Model families: `model_type` to the module that knows it, imported when it is asked for.

A family module has one function, `describe(checkpoint) -> Family`. A new family is one file here and one row below.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ...engines.errors import CheckpointError
from ..checkpoint import Checkpoint
from .family import Family

__all__ = ["FAMILIES", "Family", "describe"]

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


def describe(checkpoint: Checkpoint) -> Family:
    """What the checkpoint's family says of it. Raises CheckpointError that prints the table."""
    kind = checkpoint.config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        rows = "\n".join(f"  {name:<18} {what}" for name, (_, what) in FAMILIES.items())
        raise CheckpointError(f"{checkpoint.path}: model_type is {kind!r} in config.json, expected one of\n{rows}")
    module = import_module(f"{__name__}.{FAMILIES[kind][0]}")
    find: Callable[[Checkpoint], Family] = module.describe
    return find(checkpoint)
