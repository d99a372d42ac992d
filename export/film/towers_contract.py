"""The contract of a checkpoint of two towers, collected from wherever it is said: the nearest source wins.

In this order: the command line, an `a2d` object in model_index.json, the parts' configs, the family's defaults. Knows
where values stand; what they mean is `runtime/film/contract.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...engines.errors import CheckpointError, ContractError
from ...runtime.bundle.manifest import ModelShape, TextFiles, Words
from ...runtime.decode.contract import AUTOREGRESSIVE, DecodeContract
from ...runtime.film.contract import FilmContract, LatentSpec, NetworkSpec, Schedule, StepList, TextSpec
from ...runtime.film.curves import Sampler, levels
from ...runtime.film.solvers import step_list
from ...runtime.film.towers_spec import ChatSpec, GuidanceSpec, PlacesSpec, TowersSpec
from ...runtime.inputs.patches import VisionSpec
from ...runtime.schema import Violations, check
from ..checkpoint.chat_templates import DEFAULT, chat_templates
from ..checkpoint.json_files import read_json
from ..checkpoint.pipeline import Pipeline
from ..families.film.cosmos3_vision import vision_spec
from ..families.qwen2_5_vl import CHAT_TEMPLATE
from ..graphs.film_shapes import TowersNetwork
from .contract import ResolvedFilm, warped_steps, warps_of
from .towers_presets import Card, presets

__all__ = ["resolve_towers"]

TEMPLATE, TOKENIZER = "chat_template.jinja", "tokenizer.json"
SEEING_TEMPLATE = "chat_template.pictures.jinja"
"""Template of conversations with pictures, where the checkpoint's own knows none."""

ASKED = {
    "step_count": "steps of a clip; any other count may be asked for",
    "shift": "warp of the noise levels",
    "steps": "step list of a distilled network, before its warp (1000,750,500,250 of four-step students, warped by 5)",
    "guidance": "scale of guidance",
    "guidance_interval": "lowest and highest timestep that are guided",
    "negative": "negative prompt where none is given",
    "frames": "pixel frames of a clip, 1 + 4 k",
    "fps": "frames a second",
    "height": "height in pixels",
    "width": "width in pixels",
}
"""Values that a command line or an `a2d` object may give, and their meaning."""

DEFAULTS: dict[bool, dict[str, Any]] = {
    True: {"step_count": 20, "guidance": 5.0, "frames": 121, "fps": 24.0, "height": 480, "width": 832},
    False: {"step_count": 35, "guidance": 6.0, "frames": 189, "fps": 24.0, "height": 720, "width": 1280},
}
"""Values by whether the network is Edge, as their cards and diffusers have them."""

STUDENT = "FlowMatchEulerDiscreteScheduler"
"""Scheduler of distilled networks, which have one step list and guidance inside."""

SYSTEM = "You are a helpful assistant who will generate {} from a give prompt."
"""System message that the network was trained with, as it is spelled there."""

START = "<|vision_start|>"
"""Token behind a prompt, where the rows of the clip begin."""

CONTEXT = 4096
"""Rows of text that positions of a prompt were made for, where no config says more."""

REFUSED: dict[str, Any] = {
    "use_exponential_sigmas": False, "use_beta_sigmas": False, "use_dynamic_shifting": False, "thresholding": False,
    "shift_terminal": None, "predict_x0": True, "solver_order": 2, "solver_type": "bh2", "disable_corrector": [],
    "lower_order_final": True, "prediction_type": "flow_prediction", "use_flow_sigmas": True,
    "final_sigmas_type": "zero", "solver_p": None,
}  # fmt: skip
"""Settings of a scheduler and the only value that is supported."""


def resolve_towers(given: Mapping[str, Any], pipeline: Pipeline, network: TowersNetwork) -> ResolvedFilm:
    """Collect the contract. Raises ContractError that lists every impossible value."""
    values, origins = _collected(given, pipeline, network)
    # A distilled network's list stands in no file, so what was asked for is its own.
    asked = {n: given[n] for n in ("steps", "shift") if n in given} if _distilled(pipeline) else {}
    own, _ = _collected(asked, pipeline, network)
    text = _TextFiles.of(pipeline)
    try:
        made = _built(values, own, pipeline, network, text)
        check(made)
    except (Violations, ValueError) as error:
        raise ContractError(f"the contract cannot be:\n{error}") from error
    files = {TOKENIZER: text.tokenizer, TEMPLATE: text.template.encode()}
    vision = None if network.tower is None else vision_spec(pipeline, network.tower, text.ids)
    if vision is not None and "image" not in text.template:
        files[SEEING_TEMPLATE] = CHAT_TEMPLATE.encode()
    words = _words(pipeline, network, text, vision, SEEING_TEMPLATE if SEEING_TEMPLATE in files else TEMPLATE)
    return ResolvedFilm(made, values, {n: origins[n] for n in ASKED if n in origins}, files, words)


def _collected(
    given: Mapping[str, Any], pipeline: Pipeline, network: TowersNetwork
) -> tuple[dict[str, Any], dict[str, str]]:
    own = pipeline.index.get("a2d") or {}
    wrong = sorted(set(own) - {*ASKED, "family"}) if isinstance(own, dict) else [type(own).__name__]
    wrong += sorted(f"{name} (command line)" for name in set(given) - set(ASKED))
    if wrong:
        raise ContractError(f"got {', '.join(wrong)}, and a network of two towers takes: {', '.join(ASKED)}")
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    scheduler = pipeline.configs["scheduler"]
    distilled = _distilled(pipeline)
    shift = scheduler.get("shift" if distilled else "flow_shift", 1.0)
    usual = DEFAULTS[network.decoder.condition_key] | ({"guidance": 1.0, "step_count": None} if distilled else {})
    for origin, found in (
        ("command line", given),
        ("model_index.json, a2d", own),
        ("scheduler", {"shift": shift}),
        ("the family's default", usual),
    ):
        for name, value in found.items():
            if name in ASKED and name not in values and value is not None:
                values[name], origins[name] = value, origin
    if isinstance(values["frames"], int):
        values["frames"] = 1 + (values["frames"] - 1) // network.pixels.frames * network.pixels.frames
    return values, origins


def _distilled(pipeline: Pipeline) -> bool:
    return pipeline.configs["scheduler"].get("_class_name") == STUDENT


@dataclass(frozen=True)
class _TextFiles:
    """The tokenizer's folder."""

    tokenizer: bytes
    template: str
    special: Mapping[str, str]
    ids: Mapping[str, int]

    @staticmethod
    def of(pipeline: Pipeline) -> _TextFiles:
        """Raises CheckpointError where a template or a token is missing."""
        assert pipeline.tokenizer is not None, "Pipeline.open refuses a directory without one"
        folder = pipeline.tokenizer.parent
        config, data = read_json(folder / "tokenizer_config.json") or {}, read_json(pipeline.tokenizer) or {}
        template = chat_templates(folder, config).get(DEFAULT)
        if template is None:
            raise CheckpointError(f"{folder}: no chat template, expected {TEMPLATE}. Fetch the checkpoint again.")
        named = {key: value for key, value in config.items() if key.endswith("_token")}
        texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in named.items()}
        special = {key: text for key, text in texts.items() if isinstance(text, str)}
        ids = {str(t["content"]): int(t["id"]) for t in data.get("added_tokens") or [] if {"content", "id"} <= set(t)}
        missing = [text for text in (special.get("eos_token"), START) if text not in ids]
        if missing:
            raise CheckpointError(
                f"{folder}: {' and '.join(map(str, missing))} is no token of tokenizer.json, expected the eos_token of "
                f"tokenizer_config.json and {START}, which stand behind a prompt."
            )
        return _TextFiles(pipeline.tokenizer.read_bytes(), template, special, ids)

    @property
    def end(self) -> int:
        """Id of the token that ends a turn."""
        return self.ids[self.special["eos_token"]]


def _schedule(values: Mapping[str, Any], pipeline: Pipeline) -> Schedule:
    config = pipeline.configs["scheduler"]
    if _distilled(pipeline):
        steps = _student_steps(values, config)
        return Schedule(steps, steps)
    if "steps" in values:
        raise ValueError("  steps: got a list, and this scheduler makes its own levels; give step_count instead")
    sampler = _sampler(values, config, bool(pipeline.index.get("use_native_flow_schedule", False)))
    count = values["step_count"]
    if not isinstance(count, int) or not 1 <= count <= 1000:
        raise ValueError(f"  step_count: got {count!r}, expected 1 to 1000")
    steps = step_list(sampler.rule, *levels(sampler, count))
    return Schedule(steps, steps, sampler=sampler)


def _student_steps(values: Mapping[str, Any], config: Mapping[str, Any]) -> StepList:
    """The one step list that a student was trained for: no file of a checkpoint has it."""
    if warps := warps_of(config):
        raise ValueError(f"  scheduler: got {', '.join(warps)}, expected none: they make other levels than a list says")
    if "steps" not in values:
        raise ValueError(
            f"  steps: the scheduler is {STUDENT}, that of distilled networks, and nothing says their steps. Give "
            f"them ({ASKED['steps']})"
        )
    if "step_count" in values:
        raise ValueError(f"  step_count: got {values['step_count']}, and a distilled network has the steps of its list")
    return warped_steps(
        "steps", values["steps"], "dmd" if config.get("stochastic_sampling") else "euler", values["shift"]
    )


def _sampler(values: Mapping[str, Any], config: Mapping[str, Any], native: bool) -> Sampler:
    kind = config.get("_class_name")
    lines = (
        []
        if kind == "UniPCMultistepScheduler"
        else [f"  _class_name: got {kind!r}, expected UniPCMultistepScheduler or {STUDENT}"]
    )
    karras = bool(config.get("use_karras_sigmas", False))
    for name, value in REFUSED.items():
        got = config.get(name, value)
        if got != value and not (got is None and value == []):
            lines.append(f"  {name}: got {got!r}, expected {value!r}")
    trained = int(config.get("num_train_timesteps", 1000))
    high, low = config.get("sigma_max"), config.get("sigma_min")
    if karras and (high is None or low is None):
        if native:
            lines.append("  sigma_max, sigma_min: got none, expected numbers, as use_karras_sigmas needs them here")
        else:
            high, low = _trained_range(config, trained, high, low)
    if lines:
        raise ContractError("scheduler/scheduler_config.json asks for what a2d does not do:\n" + "\n".join(lines))
    curve = "karras_flow" if karras else "native_flow" if native else "flow"
    range_ = {"high": float(high), "low": float(low)} if karras else {}  # type: ignore[arg-type]
    return Sampler(curve, "unipc", float(values["shift"]), trained=trained, **range_)


def _trained_range(config: Mapping[str, Any], trained: int, high: Any, low: Any) -> tuple[float, float]:
    """Noise over signal at both ends of the betas that a scheduler counts by where it names no range."""
    start, end = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    schedule = config.get("beta_schedule", "linear")
    if schedule not in ("linear", "scaled_linear") or config.get("trained_betas") is not None:
        raise ContractError(f"scheduler: beta_schedule = {schedule!r}, expected sigma_max and sigma_min as numbers")
    power = 2 if schedule == "scaled_linear" else 1
    betas = torch.linspace(start ** (1 / power), end ** (1 / power), trained, dtype=torch.float32) ** power
    signal = torch.cumprod(1 - betas, 0)  # in float32, as schedulers do: near 1 its last digits count
    ends = (((1 - signal) / signal) ** 0.5)[[-1, 0]]
    return (float(ends[0]) if high is None else high), (float(ends[1]) if low is None else low)


def _built(
    values: Mapping[str, Any],
    own: Mapping[str, Any],
    pipeline: Pipeline,
    network: TowersNetwork,
    text: _TextFiles,
) -> FilmContract:
    config, s, pixels = pipeline.configs["transformer"], network.towers, network.pixels
    axes = s.reader.rope_axes or ()
    turned = tuple(2 * axes.count(axis) for axis in range(3))
    schedule = _schedule(values, pipeline)
    rows, others = presets(Card(own, _schedule(own, pipeline).first, pixels.spatial), schedule)
    return FilmContract(
        latent=LatentSpec(pixels.channels, pixels.spatial, pixels.frames, 1, 1),
        network=NetworkSpec(s.reader.layers, s.reader.kv_heads, s.reader.head_dim, turned, 10000.0, s.freq_dim),
        text=TextSpec(TOKENIZER, s.reader.hidden, CONTEXT),
        schedule=replace(schedule, others=others),
        block_frames=WHOLE,
        frames=values["frames"],
        height=values["height"],
        width=values["width"],
        fps=float(values["fps"]),
        presets=rows,
        licence=pipeline.licence,
        towers=TowersSpec(
            chat=_chat(pipeline, text),
            places=_places(config, network),
            guidance=GuidanceSpec(
                float(values["guidance"]), tuple(values.get("guidance_interval") or ()), values.get("negative", "")
            ),
            patch=s.patch,
            time_scale=float(config.get("timestep_scale", 0.001)),
            own_key=s.reader.condition_key,
        ),
    )


WHOLE = 1 << 20
"""Latent frames of a block that is any clip as a whole."""


def _chat(pipeline: Pipeline, text: _TextFiles) -> ChatSpec:
    told = bool(pipeline.index.get("default_use_system_prompt", True))
    still, clip = (SYSTEM.format(made) if told else None for made in ("images", "videos"))
    return ChatSpec(TEMPLATE, dict(text.special), (text.end, text.ids[START]), still, clip)


def _places(config: Mapping[str, Any], network: TowersNetwork) -> PlacesSpec:
    modulated = bool(config.get("enable_fps_modulation", True))
    return PlacesSpec(
        network.decoder.inv_freq,
        network.decoder.rope_axes or (),
        float(config.get("unified_3d_mrope_temporal_modality_margin", 15000)),
        float(config.get("base_fps", 24)) if modulated else None,
        bool(config.get("unified_3d_mrope_reset_spatial_ids", True)),
    )


def _words(
    pipeline: Pipeline, network: TowersNetwork, text: _TextFiles, vision: VisionSpec | None, template: str
) -> Words:
    """The tower that reads also writes, a token a forward."""
    r, config = network.decoder, read_json(pipeline.path / "config.json") or {}
    spoken = config.get("text_config") or {}
    plain: dict[str, Any] = {**AUTOREGRESSIVE, "mask_token_id": None, "stop_token_ids": (text.end,)}
    rows = spoken.get("max_position_embeddings", CONTEXT)
    return Words(
        model=ModelShape(r.layers, r.hidden, r.kv_heads, r.head_dim, r.vocab, rows),
        decode=DecodeContract(**plain, positions="arange_x3" if vision is None else "mrope"),
        text=TextFiles(TOKENIZER, template, dict(text.special)),
        vision=vision,
    )
