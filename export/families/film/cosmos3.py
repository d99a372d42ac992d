"""NVIDIA's Cosmos 3: a diffusers directory with a transformer of two towers and a VAE, and perhaps a vision tower.

Edge (`cosmos3_edge`) has a squared ReLU and a key of its own for what the generating tower sees; Nano and Super
(`cosmos3_omni`) have a gated MLP and one key for both. Sound and actions are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ....engines.errors import CheckpointError
from ...checkpoint.pipeline import Pipeline
from ...checkpoint.sources import Source
from ...graphs.film_shapes import TowersNetwork, TowersShape
from ...graphs.shapes import DecoderShape
from .cosmos3_vision import PART as VISION
from .cosmos3_vision import describe_vision
from .family import FilmFamily, require, size_of, verify
from .pixels import pixel_shape, pixel_sources

__all__ = ["describe_towers"]

PART = "transformer"

LEFT_OUT = {"action_gen": r"transformer/action_\w+(\.\w+)*", "sound_gen": r"transformer/audio_\w+(\.\w+)*"}
"""Switches of the config, and the tensors that come with them, which a2d has no use for."""

EDGE_ADVICE = "its makers advise a shot from a picture, and advise against films from text alone"
UNGUARDED = "no guardrail comes with the bundle: what it is asked and what it shows is for its user to check"
"""Sentences that people should see before they use the network."""

FREQUENCIES = 256
"""Width of a timestep's sinusoid; diffusers fixes it in code."""


def describe_towers(pipeline: Pipeline) -> FilmFamily:
    """Shapes and sources. Raises CheckpointError that lists what is not supported, missing, or not used."""
    config = pipeline.configs[PART]
    towers, tower, seen = _towers(config), None, dict[str, Source]()
    edge = towers.reader.condition_key
    if VISION in pipeline.configs:
        tower, seen = describe_vision(pipeline, towers.reader.hidden)
        _check_depths(len(tower.deep), towers.reader.layers)
        towers = replace(towers, reader=replace(towers.reader, features=True, deep=len(tower.deep)))
    network = TowersNetwork(towers, pixel_shape(pipeline.configs["vae"]), tower)
    if network.towers.channels != network.pixels.channels:
        raise CheckpointError(
            f"{pipeline.path}: the transformer takes {network.towers.channels} latent channels, the VAE has "
            f"{network.pixels.channels}; expected parts of one model."
        )
    made = {**_sources(network.towers), **seen, **pixel_sources(network.pixels)}
    more = [names for switch, names in LEFT_OUT.items() if config.get(switch)]
    verify(pipeline, made, "|".join(more) or "(?!)")
    name = "cosmos3_edge" if edge else "cosmos3_omni"
    notes = [f"{switch} is left out: a2d films, and no more" for switch in LEFT_OUT if config.get(switch)]
    notes += [EDGE_ADVICE] if edge else []
    return FilmFamily(name, network, made, _stepped, (*pipeline.notes, *notes, UNGUARDED))


def _check_depths(features: int, layers: int) -> None:
    if features > layers:
        raise CheckpointError(
            f"{VISION}/config.json: deepstack_visual_indexes has {features} layers, whose features are added behind as "
            f"many layers of the network, and that has {layers}."
        )


def _stepped(name: str) -> bool:
    """The parameter is read by each step; the tower that reads is run once a prompt."""
    return name.startswith(("generator.", "rows_in.", "rows_out."))


def _towers(config: Mapping[str, Any]) -> TowersShape:
    wanted: dict[str, tuple[object, ...]] = {"_class_name": ("Cosmos3OmniTransformer",)}
    wanted |= {"hidden_act": ("silu", "relu2"), "joint_attn_implementation": ("two_way",)}
    require(PART, config, wanted)
    reader = _reader(config)
    channels, patch = size_of(config, PART, "latent_channel", 48), size_of(config, PART, "latent_patch_size", 2)
    values = size_of(config, PART, "patch_latent_dim", channels * patch**2)
    if values != channels * patch**2:
        raise CheckpointError(
            f"{PART}/config.json: patch_latent_dim = {values}, expected {channels} channels of {patch} x {patch} "
            f"latents, {channels * patch**2}."
        )
    return TowersShape(reader, channels, patch, FREQUENCIES)


def _reader(config: Mapping[str, Any]) -> DecoderShape:
    heads, kv_heads = (size_of(config, PART, f"num_{name}_heads") for name in ("attention", "key_value"))
    head_dim, relu = size_of(config, PART, "head_dim"), config.get("hidden_act", "silu") == "relu2"
    if heads % kv_heads or head_dim % 2:
        raise CheckpointError(
            f"{PART}/config.json: {heads} heads over {kv_heads} key heads of {head_dim} channels, expected a multiple, "
            "and an even number of channels."
        )
    biased, normed = bool(config.get("attention_bias", False)), bool(config.get("qk_norm_for_text", True))
    return DecoderShape(
        layers=size_of(config, PART, "num_hidden_layers"),
        hidden=size_of(config, PART, "hidden_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=size_of(config, PART, "intermediate_size"),
        vocab=size_of(config, PART, "vocab_size"),
        norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        inv_freq=_frequencies(float(config.get("rope_theta", 5e6)), head_dim),
        rope_axes=_axes(config, head_dim),
        qkv_bias=biased,
        out_bias=biased,
        qk_norm=normed,
        mlp="relu2" if relu else "swiglu",
        wide_norms=relu,
        condition_key=bool(config.get("use_und_k_norm_for_gen", False)) and not normed,
    )


def _frequencies(theta: float, head_dim: int) -> tuple[float, ...]:
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    return tuple((1.0 / (theta**exponents)).tolist())


def _axes(config: Mapping[str, Any], head_dim: int) -> tuple[int, ...]:
    """The position row of each frequency: time, but from 1 on every third is height's, from 2 on width's, as counted.

    Interleaved, unlike Qwen2-VL's, so that each axis has slow and fast frequencies.
    """
    section = config.get("rope_axes_dim") or (config.get("rope_scaling") or {}).get("mrope_section") or [24, 20, 20]
    if not isinstance(section, list) or len(section) != 3 or not all(isinstance(n, int) and n >= 0 for n in section):
        raise CheckpointError(
            f"{PART}/config.json: rope_axes_dim or mrope_section = {section!r}, expected counts of frequencies for "
            "time, height and width."
        )
    axes = [0] * (head_dim // 2)
    for axis in (1, 2):
        for at in range(axis, min(3 * section[axis], head_dim // 2), 3):
            axes[at] = axis
    return tuple(axes)


def _sources(s: TowersShape) -> dict[str, Source]:
    r = s.reader
    made = {
        "embedding": Source((f"{PART}/embed_tokens.weight",), ((r.vocab, r.hidden),)),
        "norm": _vector("norm", r.hidden),
        "lm_head": Source((f"{PART}/lm_head.weight",), ((r.vocab, r.hidden),)),
        "rows_in.weight": _matrix(("proj_in",), (r.hidden,), s.patch_values),
        "rows_in.bias": _vector("proj_in", r.hidden, "bias"),
        "rows_out.norm": _vector("norm_moe_gen", r.hidden),
        "rows_out.weight": _matrix(("proj_out",), (s.patch_values,), r.hidden),
        "rows_out.bias": _vector("proj_out", s.patch_values, "bias"),
        **_time("in", "time_embedder.linear_1", s.freq_dim, r.hidden),
        **_time("out", "time_embedder.linear_2", r.hidden, r.hidden),
    }
    for i in range(r.layers):
        made |= {f"layers.{i}.{name}": source for name, source in _layer(r, f"layers.{i}.", READING).items()}
        own = _layer(s.generator, f"layers.{i}.", GENERATING)
        made |= {f"generator.layers.{i}.{name}": source for name, source in own.items()}
    return made


READING = {
    "q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out", "q_norm": "norm_q", "k_norm": "norm_k", "suffix": "",
}  # fmt: skip
GENERATING = {
    "q": "add_q_proj", "k": "add_k_proj", "v": "add_v_proj", "out": "to_add_out", "q_norm": "norm_added_q",
    "k_norm": "norm_added_k", "suffix": "_moe_gen",
}  # fmt: skip
"""Names of a layer's tensors in either tower."""


def _layer(s: DecoderShape, at: str, names: Mapping[str, str]) -> dict[str, Source]:
    attention, mlp, suffix = f"{at}self_attn.", f"{at}mlp{names['suffix']}.", names["suffix"]
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    qkv = tuple(f"{attention}{names[x]}" for x in "qkv")
    made = {
        "attention_norm": _vector(f"{at}input_layernorm{suffix}", s.hidden),
        "mlp_norm": _vector(f"{at}post_attention_layernorm{suffix}", s.hidden),
        "qkv": _matrix(qkv, (q, kv, kv), s.hidden),
        "out": _matrix((f"{attention}{names['out']}",), (s.hidden,), q),
        "down": _matrix((f"{mlp}down_proj",), (s.hidden,), s.intermediate),
    }
    if s.mlp == "relu2":
        made["up"] = _matrix((f"{mlp}up_proj",), (s.intermediate,), s.hidden)
    else:
        made["gate_up"] = _matrix((f"{mlp}gate_proj", f"{mlp}up_proj"), (s.intermediate,) * 2, s.hidden)
    if s.qkv_bias:
        made["qkv_bias"] = Source(tuple(f"{PART}/{name}.bias" for name in qkv), ((q,), (kv,), (kv,)))
        made["out_bias"] = _vector(f"{attention}{names['out']}", s.hidden, "bias")
    if s.qk_norm:
        made |= {f"{x}_norm": _vector(f"{attention}{names[f'{x}_norm']}", s.head_dim) for x in "qk"}
    if s.condition_key:
        made["condition_norm"] = _vector(f"{attention}k_norm_und_for_gen", s.head_dim)
    return made


def _vector(module: str, width: int, leaf: str = "weight") -> Source:
    return Source((f"{PART}/{module}.{leaf}",), ((width,),))


def _matrix(modules: tuple[str, ...], outs: tuple[int, ...], width_in: int) -> Source:
    return Source(tuple(f"{PART}/{m}.weight" for m in modules), tuple((out, width_in) for out in outs), transpose=True)


def _time(name: str, module: str, width_in: int, width_out: int) -> dict[str, Source]:
    return {
        f"rows_in.time_{name}_weight": Source((f"{PART}/{module}.weight",), ((width_out, width_in),), True, exact=True),
        f"rows_in.time_{name}_bias": Source((f"{PART}/{module}.bias",), ((width_out,),), exact=True),
    }
