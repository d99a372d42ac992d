"""Causal Wan (Self-Forcing, Causal-Forcing, LongLive): a diffusers directory with a Wan transformer, UMT5 and a VAE.

Shapes from the configs of its parts, and the tensors that each parameter is made of. What the configs do not say, such
as block sizes and schedules, is `export/film/contract.py`'s to find.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....engines.errors import CheckpointError
from ...checkpoint.pipeline import Pipeline
from ...checkpoint.sources import Source
from ...graphs.film_shapes import FilmNetwork, Umt5Shape, WanShape
from .family import FilmFamily, require, size_of, verify
from .pixels import DRAFT, UNUSED_OF_DRAFTS, draft_sources, pixel_shape, pixel_sources

__all__ = ["NAME", "describe_film"]

NAME = "causal_wan"

IGNORABLE = rf"text_encoder/encoder\.embed_tokens\.weight|{UNUSED_OF_DRAFTS}"
"""Tensors that may be there and are not used: UMT5's embedding may stand twice."""


def describe_film(pipeline: Pipeline) -> FilmFamily:
    """Shapes and sources. Raises CheckpointError that lists what is not supported, missing, or not used."""
    network = FilmNetwork(
        _wan(pipeline.configs["transformer"]),
        _text(pipeline.configs["text_encoder"], pipeline),
        pixel_shape(pipeline.configs["vae"]),
        pixel_shape(pipeline.configs[DRAFT], DRAFT) if DRAFT in pipeline.configs else None,
    )
    if network.wan.text_dim != network.text.hidden or network.wan.channels != network.pixels.channels:
        raise CheckpointError(
            f"{pipeline.path}: the transformer takes text rows of {network.wan.text_dim} and {network.wan.channels} "
            f"latent channels, but the text encoder gives {network.text.hidden} and the VAE has "
            f"{network.pixels.channels}; expected parts of one model."
        )
    made = {**_wan_sources(network.wan), **_text_sources(network.text), **pixel_sources(network.pixels)}
    if network.draft is not None:
        _check_draft(network)
        made |= draft_sources(network.draft)
    verify(pipeline, made, IGNORABLE)
    return FilmFamily(NAME, network, made, _stepped, pipeline.notes)


def _check_draft(network: FilmNetwork) -> None:
    """Raise CheckpointError where the decoder for drafts takes other latents, or makes other frames of them."""
    wanted, draft = network.pixels, network.draft
    names = {"channels": "latent channels", "spatial": "pixels of a latent's side", "frames": "frames of a latent"}
    lines = [
        f"  {what}: {getattr(draft, name)}, expected {getattr(wanted, name)}"
        for name, what in names.items()
        if getattr(draft, name) != getattr(wanted, name)
    ]
    if lines:
        raise CheckpointError(f"{DRAFT}: its latents are not those of the VAE:\n" + "\n".join(lines))


def _stepped(name: str) -> bool:
    """The parameter is read by each step; keys and values of a prompt are made once."""
    return name.startswith(("layers.", "rows_in.", "rows_out.", "times.")) and ".cross_kv_" not in name


def _wan(config: Mapping[str, Any]) -> WanShape:
    part = "transformer"
    require(
        part,
        config,
        {
            "_class_name": ("WanTransformer3DModel", "CausalWanModel"),
            "qk_norm": ("rms_norm_across_heads",),
            "image_dim": (None,),
            "added_kv_proj_dim": (None,),
        },
    )
    channels = size_of(config, part, "in_channels", 16)
    if (config.get("out_channels") or channels) != channels:
        raise CheckpointError(
            f"{part}/config.json: in_channels {channels} and out_channels {config['out_channels']}, expected as many "
            "out as in: networks that take more latents than they make are not supported."
        )
    patch = config.get("patch_size", [1, 2, 2])
    if not isinstance(patch, list) or len(patch) != 3 or patch[0] != 1:
        raise CheckpointError(f"{part}/config.json: patch_size = {patch!r}, expected [1, height, width].")
    return WanShape(
        layers=size_of(config, part, "num_layers", 32),
        heads=size_of(config, part, "num_attention_heads", 40),
        head_dim=size_of(config, part, "attention_head_dim", 128),
        intermediate=size_of(config, part, "ffn_dim", 13824),
        channels=channels,
        freq_dim=size_of(config, part, "freq_dim", 256),
        text_dim=size_of(config, part, "text_dim", 4096),
        patch_h=patch[1],
        patch_w=patch[2],
        eps=float(config.get("eps", 1e-6)),
        cross_norm=bool(config.get("cross_attn_norm", True)),
    )


def _text(config: Mapping[str, Any], pipeline: Pipeline) -> Umt5Shape:
    part = "text_encoder"
    require(
        part,
        config,
        {
            "model_type": ("umt5",),
            "feed_forward_proj": ("gated-gelu",),
            "dense_act_fn": ("gelu_new",),
            "is_gated_act": (True,),
        },
    )
    vocab = pipeline.files.get("text_encoder/shared.weight")
    if vocab is None:
        raise CheckpointError(f"{pipeline.path / part}: no tensor shared.weight, expected a UMT5EncoderModel.")
    return Umt5Shape(
        layers=size_of(config, part, "num_layers"),
        hidden=size_of(config, part, "d_model"),
        heads=size_of(config, part, "num_heads"),
        head_dim=size_of(config, part, "d_kv"),
        intermediate=size_of(config, part, "d_ff"),
        vocab=pipeline.entry("text_encoder/shared.weight").shape[0],
        buckets=size_of(config, part, "relative_attention_num_buckets", 32),
        max_distance=size_of(config, part, "relative_attention_max_distance", 128),
        eps=float(config.get("layer_norm_epsilon", 1e-6)),
    )


def _matrix(names: tuple[str, ...], width_out: int, width_in: int) -> Source:
    return Source(names, ((width_out, width_in),) * len(names), True)


def _linear(
    prefix: str, names: tuple[str, ...], width_in: int, width_out: int, exact: bool = False
) -> dict[str, Source]:
    """`{prefix}_weight` and `{prefix}_bias` of projections that are joined."""
    weights = tuple(f"transformer/{name}.weight" for name in names)
    biases = tuple(f"transformer/{name}.bias" for name in names)
    return {
        f"{prefix}_weight": Source(weights, ((width_out, width_in),) * len(names), True, exact=exact),
        f"{prefix}_bias": Source(biases, ((width_out,),) * len(names), exact=exact),
    }


def _vector(name: str, width: int) -> Source:
    return Source((f"transformer/{name}",), ((width,),), exact=True)


def _table(name: str, rows: int, width: int) -> Source:
    return Source((f"transformer/{name}",), ((1, rows, width),), reshape=(rows, width), exact=True)


def _wan_sources(s: WanShape) -> dict[str, Source]:
    h, condition = s.hidden, "condition_embedder"
    kernel = (h, s.channels, 1, s.patch_h, s.patch_w)
    made = {
        **_linear("times.in", (f"{condition}.time_embedder.linear_1",), s.freq_dim, h, True),
        **_linear("times.out", (f"{condition}.time_embedder.linear_2",), h, h, True),
        **_linear("times.modulation", (f"{condition}.time_proj",), h, 6 * h, True),
        "rows_in.weight": Source(("transformer/patch_embedding.weight",), (kernel,)),
        "rows_in.bias": Source(("transformer/patch_embedding.bias",), ((h,),)),
        **_linear("words.in", (f"{condition}.text_embedder.linear_1",), s.text_dim, h),
        **_linear("words.out", (f"{condition}.text_embedder.linear_2",), h, h),
        "rows_out.scale_shift": _table("scale_shift_table", 2, h),
        "rows_out.weight": Source(("transformer/proj_out.weight",), ((s.patch_values, h),), True),
        "rows_out.bias": Source(("transformer/proj_out.bias",), ((s.patch_values,),)),
    }
    for i in range(s.layers):
        made |= _layer_sources(s, f"layers.{i}.", f"blocks.{i}.")
    return made


def _layer_sources(s: WanShape, to: str, block: str) -> dict[str, Source]:
    h, own, cross = s.hidden, f"{block}attn1.", f"{block}attn2."
    made = {
        f"{to}scale_shift": _table(f"{block}scale_shift_table", 6, h),
        f"{to}norm_q": _vector(f"{own}norm_q.weight", h),
        f"{to}norm_k": _vector(f"{own}norm_k.weight", h),
        f"{to}cross_norm_q": _vector(f"{cross}norm_q.weight", h),
        f"{to}cross_norm_k": _vector(f"{cross}norm_k.weight", h),
        **_linear(f"{to}qkv", (f"{own}to_q", f"{own}to_k", f"{own}to_v"), h, h),
        **_linear(f"{to}out", (f"{own}to_out.0",), h, h),
        **_linear(f"{to}cross_q", (f"{cross}to_q",), h, h),
        **_linear(f"{to}cross_kv", (f"{cross}to_k", f"{cross}to_v"), h, h),
        **_linear(f"{to}cross_out", (f"{cross}to_out.0",), h, h),
        **_linear(f"{to}up", (f"{block}ffn.net.0.proj",), h, s.intermediate),
        **_linear(f"{to}down", (f"{block}ffn.net.2",), s.intermediate, h),
    }
    if s.cross_norm:
        made |= {f"{to}cross_norm_{what}": _vector(f"{block}norm2.{what}", h) for what in ("weight", "bias")}
    return made


def _text_sources(s: Umt5Shape) -> dict[str, Source]:
    inner, prefix = s.heads * s.head_dim, "text_encoder/"
    made = {
        "text.embedding": Source((f"{prefix}shared.weight",), ((s.vocab, s.hidden),)),
        "text.norm.weight": Source((f"{prefix}encoder.final_layer_norm.weight",), ((s.hidden,),), exact=True),
    }
    for i in range(s.layers):
        to, block = f"text.layers.{i}.", f"{prefix}encoder.block.{i}.layer."
        attention, dense = f"{block}0.SelfAttention.", f"{block}1.DenseReluDense."
        bias = f"{attention}relative_attention_bias.weight"
        made |= {
            f"{to}qkv": _matrix(tuple(f"{attention}{name}.weight" for name in "qkv"), inner, s.hidden),
            f"{to}out": _matrix((f"{attention}o.weight",), s.hidden, inner),
            f"{to}gate_up": _matrix((f"{dense}wi_0.weight", f"{dense}wi_1.weight"), s.intermediate, s.hidden),
            f"{to}down": Source((f"{dense}wo.weight",), ((s.hidden, s.intermediate),), True, exact=True),
            f"{to}distance": Source((bias,), ((s.buckets, s.heads),), exact=True),
            f"{to}norm": Source((f"{block}0.layer_norm.weight",), ((s.hidden,),), exact=True),
            f"{to}norm_up": Source((f"{block}1.layer_norm.weight",), ((s.hidden,),), exact=True),
        }
    return made
