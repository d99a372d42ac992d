"""The common part of Llama-like decoders: tensor names, fused projections, and the rotary embedding of their configs.

Configs are normalised by transformers' own configuration classes, so that old and new spellings (`rope_scaling` and
`rope_theta`, or `rope_parameters`) mean the same here, and sizes are read under optimum's names for them, whatever an
architecture calls them; no modelling code is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from optimum.utils import NormalizedConfigManager, NormalizedTextConfigWithGQA
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from ...engines.errors import CheckpointError
from ..checkpoint.directory import Checkpoint
from ..checkpoint.sources import Source
from ..graphs.shapes import DecoderShape, ExpertShape
from .quiet import quiet

__all__ = [
    "A2D_CONTRACT",
    "EMBEDDING",
    "Traits",
    "decoder_shape",
    "decoder_sources",
    "normalised",
    "rotary",
    "sizes_of",
    "with_head",
]

A2D_CONTRACT = {"prompt_alignment": "left", "schedule": "linear-round", "context_mask": "block_causal"}
"""dLLM's BD3LM sampler. Its block size is the release's, so it is not here."""

ROPE_TYPES = ("default", "linear", "llama3", "yarn")
"""Rotary scalings whose frequencies do not depend on the length of the sequence."""


_LIMITS = {
    "num_hidden_layers": 4096,
    "hidden_size": 1 << 20,
    "intermediate_size": 1 << 20,
    "num_attention_heads": 4096,
    "num_key_value_heads": 4096,
    "vocab_size": 1 << 26,
    "max_position_embeddings": 1 << 26,
}
"""Beyond any model; what is larger is a mistake, or malice."""

MAX_EXPERTS = 4096


@dataclass(frozen=True)
class Traits:
    """Differences between the families."""

    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False


def normalised(kind: type, config: Mapping[str, Any]) -> Any:
    """`config` as the transformers configuration class `kind`. Raises CheckpointError if it refuses."""
    plain = {key: value for key, value in config.items() if key not in ("model_type", "auto_map", "architectures")}
    layers, most = plain.get("num_hidden_layers"), _LIMITS["num_hidden_layers"]
    if isinstance(layers, int | float) and layers > most:  # transformers makes a list of so many texts
        raise CheckpointError(
            f"config.json asks for what a2d does not export: num_hidden_layers = {layers}, at most {most}"
        )
    try:
        with quiet():
            return kind(**plain)
    except Exception as error:  # transformers raises whatever its validators raise
        raise CheckpointError(
            f"config.json is not a {kind.__name__}: {error}. Check it against the model's release."
        ) from error


EMBEDDING = "model.embed_tokens.weight"
"""Name of the embedding table in most checkpoints."""


def decoder_shape(
    config: Any, traits: Traits, features: bool = False, experts: ExpertShape | None = None
) -> DecoderShape:
    """The shape that a normalised config describes. Raises CheckpointError that lists what is not supported."""
    lines = [*_unsupported(config), *(_impossible(experts) if experts is not None else ())]
    if lines:
        raise CheckpointError("config.json asks for what a2d does not export:\n" + "\n".join(f"  {x}" for x in lines))
    sizes = sizes_of(config)
    head_dim = getattr(config, "head_dim", None) or sizes.hidden_size // sizes.num_attention_heads
    inv_freq, scale = rotary(config, head_dim)
    return DecoderShape(
        layers=sizes.num_layers,
        hidden=sizes.hidden_size,
        heads=sizes.num_attention_heads,
        kv_heads=sizes.num_key_value_heads,
        head_dim=head_dim,
        intermediate=config.intermediate_size,
        vocab=sizes.vocab_size,
        norm_eps=config.rms_norm_eps,
        inv_freq=inv_freq,
        rope_scale=scale,
        rope_axes=_axes(_rope(config), head_dim),
        qkv_bias=traits.qkv_bias,
        out_bias=traits.out_bias,
        mlp_bias=traits.mlp_bias,
        qk_norm=traits.qk_norm,
        tied=bool(getattr(config, "tie_word_embeddings", False)),
        features=features,
        experts=experts,
    )


def sizes_of(config: Any) -> Any:
    """The sizes of a transformers config by optimum's names: `num_layers`, `hidden_size`, `num_attention_heads`,
    `num_key_value_heads`, `vocab_size`. An architecture that optimum's table lacks is read as Llama is.
    """
    try:
        kind = NormalizedConfigManager.get_normalized_config_class(config.model_type)
    except KeyError:
        kind = NormalizedTextConfigWithGQA
    return kind(config)


def with_head(
    shape: DecoderShape, checkpoint: Checkpoint, embedding: str = EMBEDDING, head: str = "lm_head.weight"
) -> tuple[DecoderShape, tuple[str, ...]]:
    """`shape`, untied where a head of its own is stored all the same (transformers 5 does so), and a note of it."""
    if not shape.tied or head not in checkpoint or embedding not in checkpoint or checkpoint.same(head, embedding):
        return shape, ()
    note = f"{head} is not {embedding}, although config.json ties them (tie_word_embeddings): the stored head is used"
    return replace(shape, tied=False), (note,)


def _unsupported(config: Any) -> list[str]:
    sizes = {name: getattr(config, name) for name in _LIMITS}
    lines = [
        f"{name} = {value!r}, expected a whole number of 1 to {_LIMITS[name]}"
        for name, value in sizes.items()
        if not isinstance(value, int) or not 1 <= value <= _LIMITS[name]
    ]
    if lines:
        return lines
    if config.hidden_act != "silu":
        lines.append(f"hidden_act = {config.hidden_act!r}, expected 'silu'")
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        lines.append("layer_types or use_sliding_window with sliding attention, expected full attention in every layer")
    if config.num_attention_heads % config.num_key_value_heads:
        lines.append(
            f"{config.num_attention_heads} heads over {config.num_key_value_heads} key heads, expected a multiple"
        )
    kind = _rope(config).get("rope_type", "default")
    if kind not in ROPE_TYPES:
        lines.append(f"rope_type = {kind!r}, expected one of {', '.join(ROPE_TYPES)}")
    if not 0.0 < float(_rope(config).get("partial_rotary_factor", 1.0)) <= 1.0:
        lines.append(f"partial_rotary_factor = {_rope(config)['partial_rotary_factor']}, expected a share of a head")
    return lines


def _impossible(experts: ExpertShape) -> Iterator[str]:
    """Faults of a mixture of experts, one line each."""
    s = experts
    if not 1 <= s.count <= MAX_EXPERTS:
        yield f"{s.count} experts, expected 1 to {MAX_EXPERTS}"
        return
    if not 1 <= s.active <= s.count:
        yield f"num_experts_per_tok = {s.active}, expected 1 to the number of experts, {s.count}"
    if not 1 <= s.intermediate <= _LIMITS["intermediate_size"] or not 0 <= s.shared <= _LIMITS["intermediate_size"]:
        yield f"moe_intermediate_size = {s.intermediate}, shared {s.shared}, expected whole numbers that can be"
    if not 1 <= s.active_groups <= s.groups or s.count % s.groups:
        yield f"n_group = {s.groups}, topk_group = {s.active_groups}, expected groups that divide {s.count} experts"
    elif s.active_groups < s.groups and s.count // s.groups < 2:
        yield f"n_group = {s.groups}, expected groups of two experts at least, of {s.count}"
    elif s.active > s.count // s.groups * s.active_groups:
        yield f"num_experts_per_tok = {s.active}, expected no more than topk_group = {s.active_groups} groups hold"


def _rope(config: Any) -> dict[str, Any]:
    """The rotary parameters with their new names, whichever release of transformers made the config."""
    rope = dict(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {})
    kind = rope.get("rope_type", rope.get("type", "default"))
    rope["rope_type"] = "default" if kind == "mrope" else kind
    rope.setdefault("rope_theta", getattr(config, "rope_theta", None) or 10_000.0)
    return rope


def rotary(config: Any, head_dim: int) -> tuple[tuple[float, ...], float]:
    """Frequencies in radians per position, and the factor on cos and sin."""
    rope = _rope(config)
    if rope["rope_type"] == "default":
        turned = int(head_dim * float(rope.get("partial_rotary_factor", 1.0)))
        exponents = torch.arange(0, turned, 2, dtype=torch.int64).float() / turned
        return tuple((1.0 / rope["rope_theta"] ** exponents).tolist()), 1.0
    inv_freq, scale = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"))
    return tuple(inv_freq.tolist()), float(scale)


def _axes(rope: Mapping[str, Any], head_dim: int) -> tuple[int, ...] | None:
    """For mrope, the position row of each frequency: `[16, 24, 24]` is 16 of time, 24 of row, 24 of column."""
    section = rope.get("mrope_section")
    if section is None:
        return None
    if sum(section) != head_dim // 2 or len(section) != 3:
        raise CheckpointError(f"mrope_section = {section}, expected three counts that sum to {head_dim // 2}.")
    return tuple(axis for axis, count in enumerate(section) for _ in range(count))


def decoder_sources(shape: DecoderShape, prefix: str = "model.", lm_head: str = "lm_head.weight") -> dict[str, Source]:
    """Every parameter of the decoder; `prefix` is what the decoder's tensor names begin with in the checkpoint."""
    table = {"embedding": Source((f"{prefix}embed_tokens.weight",), ((shape.vocab, shape.hidden),))}
    for i in range(shape.layers):
        at = f"{prefix}layers.{i}."
        rest = _experts(shape.experts, shape.hidden, f"{at}mlp.") if shape.sparse(i) else _mlp(shape, f"{at}mlp.")  # type: ignore[arg-type]
        table |= {f"layers.{i}.{name}": s for name, s in (_layer(shape, at) | rest).items()}
    table["norm"] = Source((f"{prefix}norm.weight",), ((shape.hidden,),))
    if not shape.tied:
        table["lm_head"] = Source((lm_head,), ((shape.vocab, shape.hidden),))
    return table


def _layer(shape: DecoderShape, prefix: str) -> dict[str, Source]:
    s, attention = shape, f"{prefix}self_attn."
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    qkv = [f"{attention}{name}_proj" for name in "qkv"]
    table = {
        "attention_norm": _vector([f"{prefix}input_layernorm.weight"], [s.hidden]),
        "qkv": _matrix(qkv, [q, kv, kv], s.hidden),
        "out": _matrix([f"{attention}o_proj"], [s.hidden], q),
        "mlp_norm": _vector([f"{prefix}post_attention_layernorm.weight"], [s.hidden]),
    }
    if s.qkv_bias:
        table["qkv_bias"] = _vector([f"{name}.bias" for name in qkv], [q, kv, kv])
    if s.out_bias:
        table["out_bias"] = _vector([f"{attention}o_proj.bias"], [s.hidden])
    if s.qk_norm:
        table |= {f"{x}_norm": _vector([f"{attention}{x}_norm.weight"], [s.head_dim]) for x in "qk"}
    return table


def _mlp(shape: DecoderShape, mlp: str) -> dict[str, Source]:
    hidden, wide = shape.hidden, shape.intermediate
    gate_up = [f"{mlp}gate_proj", f"{mlp}up_proj"]
    table = {
        "gate_up": _matrix(gate_up, [wide, wide], hidden),
        "down": _matrix([f"{mlp}down_proj"], [hidden], wide),
    }
    if shape.mlp_bias:
        table["gate_up_bias"] = _vector([f"{name}.bias" for name in gate_up], [wide, wide])
        table["down_bias"] = _vector([f"{mlp}down_proj.bias"], [hidden])
    return table


def _experts(shape: ExpertShape, hidden: int, mlp: str) -> dict[str, Source]:
    """Router and experts, a matrix a tensor, as released checkpoints have them."""
    count, wide = shape.count, shape.intermediate
    halves = [f"{mlp}experts.{e}.{half}_proj" for e in range(count) for half in ("gate", "up")]
    downs = [f"{mlp}experts.{e}.down_proj" for e in range(count)]
    table = {
        "router": Source((f"{mlp}gate.weight",), ((count, hidden),), exact=True),
        "experts_gate_up": replace(_matrix(halves, [wide] * len(halves), hidden), stack=2),
        "experts_down": replace(_matrix(downs, [hidden] * count, wide), stack=1),
    }
    if shape.bias:
        table["router_bias"] = Source((f"{mlp}gate.e_score_correction_bias",), ((count,),), exact=True)
    if shape.shared:
        shared = [f"{mlp}shared_experts.{half}_proj" for half in ("gate", "up")]
        table["shared_gate_up"] = _matrix(shared, [shape.shared] * 2, hidden)
        table["shared_down"] = _matrix([f"{mlp}shared_experts.down_proj"], [hidden], shape.shared)
    return table


def _vector(names: list[str], widths: list[int]) -> Source:
    return Source(tuple(names), tuple((width,) for width in widths))


def _matrix(names: list[str], outs: list[int], width_in: int) -> Source:
    return Source(tuple(f"{n}.weight" for n in names), tuple((out, width_in) for out in outs), transpose=True)
