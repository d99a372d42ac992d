"""Causal Wan (Self-Forcing, Causal-Forcing, LongLive): a diffusers directory with a Wan transformer, UMT5 and a VAE.

Shapes from the configs of its parts, and the tensors that each parameter is made of. What the configs do not say, such
as block sizes and schedules, is `export/film/contract.py`'s to find.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...engines.errors import CheckpointError
from ..checkpoint.pipeline import Pipeline
from ..checkpoint.sources import Source
from ..graphs.film_shapes import FilmNetwork, TinyShape, Umt5Shape, WanShape, WanVaeShape
from ..graphs.pixels import AUTOENCODERS

__all__ = ["NAME", "FilmFamily", "describe_film"]

NAME = "causal_wan"

IGNORABLE = r"vae/encoder\..*\.time_conv\.(weight|bias)|text_encoder/encoder\.embed_tokens\.weight"
"""Tensors that may be there and are not used: a single picture has no past, and UMT5's embedding may stand twice."""


@dataclass(frozen=True)
class FilmFamily:
    """One checkpoint that films, as its family sees it."""

    name: str
    network: FilmNetwork
    sources: Mapping[str, Source]
    """Graph parameter to checkpoint tensors."""
    notes: tuple[str, ...] = ()

    @property
    def aliases(self) -> Mapping[str, str]:
        """Parameters that are stored under another's name."""
        return {}


def describe_film(pipeline: Pipeline) -> FilmFamily:
    """Shapes and sources. Raises CheckpointError that lists what is not supported, missing, or not used."""
    network = FilmNetwork(
        _wan(pipeline.configs["transformer"]),
        _text(pipeline.configs["text_encoder"], pipeline),
        _pixels(pipeline.configs["vae"]),
    )
    if network.wan.text_dim != network.text.hidden or network.wan.channels != network.pixels.channels:
        raise CheckpointError(
            f"{pipeline.path}: the transformer takes text rows of {network.wan.text_dim} and {network.wan.channels} "
            f"latent channels, but the text encoder gives {network.text.hidden} and the VAE has "
            f"{network.pixels.channels}; expected parts of one model."
        )
    made = {**_wan_sources(network.wan), **_text_sources(network.text), **_pixel_sources(network)}
    _verify(pipeline, made)
    return FilmFamily(NAME, network, made, pipeline.notes)


def _size(config: Mapping[str, Any], part: str, key: str, default: int | None = None) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 26:
        raise CheckpointError(f"{part}/config.json: {key} = {value!r}, expected a positive whole number.")
    return value


def _require(part: str, config: Mapping[str, Any], wanted: Mapping[str, tuple[object, ...]]) -> None:
    """Raise CheckpointError for keys that hold another value than those listed."""
    lines = [
        f"  {key} = {config[key]!r}, expected {' or '.join(map(repr, values))}"
        for key, values in wanted.items()
        if key in config and config[key] not in values
    ]
    if lines:
        raise CheckpointError(f"{part}/config.json asks for what a2d does not export:\n" + "\n".join(lines))


def _wan(config: Mapping[str, Any]) -> WanShape:
    part = "transformer"
    _require(
        part,
        config,
        {
            "_class_name": ("WanTransformer3DModel", "CausalWanModel"),
            "qk_norm": ("rms_norm_across_heads",),
            "image_dim": (None,),
            "added_kv_proj_dim": (None,),
        },
    )
    channels = _size(config, part, "in_channels", 16)
    if (config.get("out_channels") or channels) != channels:
        raise CheckpointError(
            f"{part}/config.json: in_channels {channels} and out_channels {config['out_channels']}, expected as many "
            "out as in: networks that take more latents than they make are not supported."
        )
    patch = config.get("patch_size", [1, 2, 2])
    if not isinstance(patch, list) or len(patch) != 3 or patch[0] != 1:
        raise CheckpointError(f"{part}/config.json: patch_size = {patch!r}, expected [1, height, width].")
    return WanShape(
        layers=_size(config, part, "num_layers", 32),
        heads=_size(config, part, "num_attention_heads", 40),
        head_dim=_size(config, part, "attention_head_dim", 128),
        intermediate=_size(config, part, "ffn_dim", 13824),
        channels=channels,
        freq_dim=_size(config, part, "freq_dim", 256),
        text_dim=_size(config, part, "text_dim", 4096),
        patch_h=patch[1],
        patch_w=patch[2],
        eps=float(config.get("eps", 1e-6)),
        cross_norm=bool(config.get("cross_attn_norm", True)),
    )


def _text(config: Mapping[str, Any], pipeline: Pipeline) -> Umt5Shape:
    part = "text_encoder"
    _require(
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
        layers=_size(config, part, "num_layers"),
        hidden=_size(config, part, "d_model"),
        heads=_size(config, part, "num_heads"),
        head_dim=_size(config, part, "d_kv"),
        intermediate=_size(config, part, "d_ff"),
        vocab=pipeline.entry("text_encoder/shared.weight").shape[0],
        buckets=_size(config, part, "relative_attention_num_buckets", 32),
        max_distance=_size(config, part, "relative_attention_max_distance", 128),
        eps=float(config.get("layer_norm_epsilon", 1e-6)),
    )


def _pixels(config: Mapping[str, Any]) -> WanVaeShape | TinyShape:
    kind = str(config.get("_class_name"))
    if kind not in PIXELS:
        raise CheckpointError(f"vae/config.json: _class_name = {kind!r}, expected one of {', '.join(PIXELS)}.")
    return PIXELS[kind](config)


def _wan_vae(config: Mapping[str, Any]) -> WanVaeShape:
    part, channels = "vae", _size(config, "vae", "z_dim", 16)
    base = _size(config, part, "base_dim", 96)
    mean, std = (tuple(float(v) for v in config.get(key) or ()) for key in ("latents_mean", "latents_std"))
    if len(mean) != channels or len(std) != channels:
        raise CheckpointError(
            f"vae/config.json: latents_mean and latents_std have {len(mean)} and {len(std)} numbers, expected one for "
            f"each of {channels} channels."
        )
    temporal = tuple(bool(v) for v in config.get("temperal_downsample", (False, True, True)))
    multipliers = tuple(int(v) for v in config.get("dim_mult", (1, 2, 4, 4)))
    if len(temporal) != len(multipliers) - 1:
        raise CheckpointError(
            f"vae/config.json: temperal_downsample has {len(temporal)} steps, expected {len(multipliers) - 1}, one "
            "fewer than dim_mult."
        )
    patch = config.get("patch_size") or 1
    wanted: dict[str, tuple[object, ...]] = {"out_channels": (3 * patch**2,), "in_channels": (3 * patch**2,)}
    _require(part, config, wanted | {"attn_scales": ([], None)})  # diffusers cannot encode with any either
    return WanVaeShape(
        channels=channels,
        encoder_dim=base,
        decoder_dim=config.get("decoder_base_dim") or base,
        multipliers=multipliers,
        blocks=_size(config, part, "num_res_blocks", 2),
        temporal=temporal,
        mean=mean,
        std=std,
        residual=bool(config.get("is_residual", False)),
        patch=patch,
    )


def _tiny(config: Mapping[str, Any]) -> TinyShape:
    colours = _size(config, "vae", "in_channels", 3)
    _require(
        "vae",
        config,
        {
            "act_fn": ("relu",),
            "upsample_fn": ("nearest",),
            "upsampling_scaling_factor": (2,),
            "out_channels": (colours,),
        },
    )
    if colours % 3:
        raise CheckpointError(f"vae/config.json: in_channels = {colours}, expected three for each frame of a group.")
    encoder, decoder = (tuple(config[f"num_{name}_blocks"]) for name in ("encoder", "decoder"))
    return TinyShape(
        channels=_size(config, "vae", "latent_channels", 4),
        group=colours // 3,
        encoder_widths=tuple(config["encoder_block_out_channels"]),
        decoder_widths=tuple(config["decoder_block_out_channels"]),
        encoder_blocks=encoder,
        decoder_blocks=decoder,
    )


PIXELS: dict[str, Callable[[Mapping[str, Any]], WanVaeShape | TinyShape]] = {
    "AutoencoderKLWan": _wan_vae,
    "AutoencoderTiny": _tiny,
}
"""Autoencoders by diffusers' class."""


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


def _pixel_sources(network: FilmNetwork) -> dict[str, Source]:
    """Parameters of the autoencoder have the checkpoint's own names."""
    row = AUTOENCODERS[type(network.pixels)]
    with torch.device("meta"):
        modules = [row.first(network.pixels), row.encoder(network.pixels)]
    named = {name: tuple(weight.shape) for module in modules for name, weight in module.named_parameters()}
    return {f"pixels.{name}": Source((f"vae/{name}",), (shape,)) for name, shape in named.items()}


def _verify(pipeline: Pipeline, sources: Mapping[str, Source]) -> None:
    """Raise CheckpointError that lists every missing, extra and mis-shaped tensor."""
    wanted = {n: shape for s in sources.values() for n, shape in zip(s.names, s.shapes, strict=True)}
    lines = [*_differing(pipeline, wanted)]
    if lines:
        shown = "\n".join(f"  {line}" for line in lines)
        raise CheckpointError(
            f"{pipeline.path}: the tensors are not those of its configs ({len(lines)} differ):\n{shown}\n"
            f"{_advice(lines)}"
        )


def _differing(pipeline: Pipeline, wanted: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for name, shape in wanted.items():
        if name not in pipeline.files:
            yield f"missing  {name} {list(shape)}"
        elif (found := pipeline.entry(name)).shape != shape:
            yield f"shape    {name} is {list(found.shape)}, expected {list(shape)}"
        elif not found.dtype.is_floating_point or found.dtype.itemsize < 2:
            yield f"dtype    {name} is {found.dtype}, expected float32, float16 or bfloat16"
    for name in sorted(pipeline.files):
        if name not in wanted and not re.fullmatch(IGNORABLE, name):
            yield f"extra    {name} {list(pipeline.entry(name).shape)}"


def _advice(lines: list[str]) -> str:
    if any(".lora_" in line for line in lines):
        return (
            "A LoRA adapter's tensors are among them: merge it first, with diffusers "
            "(pipe.load_lora_weights(...); pipe.fuse_lora(); pipe.unload_lora_weights(); "
            "pipe.save_pretrained(NEW_DIR))."
        )
    return "Check that configs and weights belong together."
