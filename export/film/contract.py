"""The contract of a checkpoint that films, collected from wherever it is said: the nearest source wins.

In this order: the command line, an `a2d` object in model_index.json, the parts' configs, the family's defaults. Block
sizes and step lists have no default, for the same network is released with several. Knows where values stand; what
they mean is `runtime/film/contract.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...engines.errors import ContractError
from ...runtime.bundle.manifest import Words
from ...runtime.film.contract import FilmContract, LatentSpec, NetworkSpec, Schedule, StepList, TextSpec
from ...runtime.film.presets import DRAFT, Preset
from ...runtime.film.solvers import RULES, step_list
from ...runtime.schema import Violations, check
from ..checkpoint.pipeline import Pipeline
from ..graphs.film_shapes import FilmNetwork

__all__ = ["ASKED", "ResolvedFilm", "resolve_film", "warped", "warped_steps", "warps_of"]

ASKED = {
    "block_frames": "latent frames of a block (chunkwise releases: 3, framewise ones: 1)",
    "steps": "step list before it is warped (1000,750,500,250 of Self-Forcing; 1000,500 of two-step releases)",
    "first_steps": "step list of the first block that is denoised, where it differs",
    "rule": f"update rule: {', '.join(f'{name} ({what})' for name, (what, _) in RULES.items())}",
    "shift": "warp of the step list (5 of Self-Forcing)",
    "window": "latent frames that a block sees, itself and the sink included",
    "sink": "first latent frames that a window never loses",
    "text_length": "rows of text that the network attends, pads included",
    "commit_timestep": "timestep at which a finished block is run once more",
    "frames": "pixel frames of a clip, 1 + 4 k",
    "fps": "frames a second",
    "height": "height in pixels",
    "width": "width in pixels",
    "draft_height": "height of a draft in pixels",
    "draft_width": "width of a draft in pixels",
    "draft_steps": "steps of a block in a draft",
}
"""Values that a command line or an `a2d` object may give, and their meaning."""

DEFAULTS = {
    "sink": 0, "text_length": 512, "commit_timestep": 0.0, "frames": 81, "fps": 16.0, "height": 480, "width": 832,
}  # fmt: skip
"""Values that every released causal Wan has."""

SILENT = ("family", "first_group")
"""Keys of an `a2d` object that say what is known anyway."""

LISTS = {"1": (1000,), "2": (1000, 500), "4": (1000, 750, 500, 250), "8": (1000, 875, 750, 625, 500, 375, 250, 125)}
"""Step lists that every schedule offers besides its own."""

WARPS = (
    "use_dynamic_shifting", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas",
    "shift_terminal",
)  # fmt: skip
"""Settings of schedulers that make other noise levels than a shift does."""

TRAINED = 1000
"""Steps that step lists count in."""


@dataclass(frozen=True)
class ResolvedFilm:
    """The contract, and for each value where it stood."""

    contract: FilmContract
    values: Mapping[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Texts of the bundle by name."""
    words: Words | None = None
    """The contracts of decoding words, where the checkpoint does that as well."""

    def lines(self) -> list[str]:
        """One line a value, for people."""
        return [f"{name:<17} {_shown(self.values[name]):<20} {origin}" for name, origin in self.origins.items()]


def resolve_film(given: Mapping[str, Any], pipeline: Pipeline, network: FilmNetwork) -> ResolvedFilm:
    """Collect the contract. Raises ContractError that lists every missing value, or every impossible one."""
    values, origins = _collected(given, pipeline)
    missing = [f"  {name}: {ASKED[name]}" for name in ("block_frames", "steps", "rule", "shift") if name not in values]
    warps = warps_of(pipeline.configs["scheduler"])
    if missing and warps and "shift" not in values:
        missing.append(
            f"  The scheduler's {', '.join(warps)} would warp the list otherwise, so its shift is not taken."
        )
    if missing:
        raise ContractError(
            f"{pipeline.path} does not say how it films, and nothing is guessed. Missing:\n" + "\n".join(missing) + "\n"
            "Give them, or write them into model_index.json as an object a2d."
        )
    try:
        made = _built(values, pipeline, network)
        check(made)
    except (Violations, ValueError) as error:
        raise ContractError(f"the contract cannot be:\n{error}") from error
    assert pipeline.tokenizer is not None, "Pipeline.open refuses a directory without one"
    files = {made.text.tokenizer: pipeline.tokenizer.read_bytes()}
    return ResolvedFilm(made, values, {name: origins[name] for name in ASKED if name in origins}, files)


def _collected(given: Mapping[str, Any], pipeline: Pipeline) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, found in (
        ("command line", given),
        ("model_index.json, a2d", _own(pipeline)),
        ("scheduler", _scheduled(pipeline.configs["scheduler"])),
        ("the family's default", DEFAULTS),
    ):
        for name, value in found.items():
            if name not in values and value is not None:
                values[name], origins[name] = value, origin
    return values, origins


def _own(pipeline: Pipeline) -> Mapping[str, Any]:
    own = pipeline.index.get("a2d") or {}
    known = (*ASKED, *SILENT)
    if not isinstance(own, dict) or not set(own) <= set(known):
        wrong = sorted(set(own) - set(known)) if isinstance(own, dict) else type(own).__name__
        raise ContractError(f"model_index.json: a2d has {wrong}, expected an object with keys of: {', '.join(known)}")
    return {name: value for name, value in own.items() if name in ASKED}


def warps_of(config: Mapping[str, Any]) -> list[str]:
    """Settings of the scheduler under which noise levels are not the shifted step list."""
    return [name for name in WARPS if config.get(name)]


def _scheduled(config: Mapping[str, Any]) -> dict[str, Any]:
    """Shift, and the rule where the scheduler's class and settings leave one only."""
    kind = str(config.get("_class_name", ""))
    shift = config.get("flow_shift") if "UniPC" in kind else config.get("shift")
    made: dict[str, Any] = {} if warps_of(config) else {"shift": shift}
    if config.get("stochastic_sampling") or kind == "FlowMatchLCMScheduler":
        return made | {"rule": "dmd"}
    if kind == "FlowMapEulerDiscreteScheduler":
        return made | {"rule": "euler"}
    return made


def warped(steps: tuple[float, ...], shift: float) -> tuple[list[float], list[float]]:
    """Timesteps and noise levels of a step list, in float32 as schedulers hold them: shift s / (1 + (shift - 1) s)."""
    s = np.asarray(steps, np.float32) / np.float32(TRAINED)
    sigmas = (np.float32(shift) * s / (1 + np.float32(shift - 1) * s)).astype(np.float32)
    return [float(t) for t in sigmas * np.float32(TRAINED)], [*(float(x) for x in sigmas), 0.0]


def warped_steps(name: str, value: Any, rule: str, shift: float) -> StepList:
    """The steps of a list that counts down from TRAINED. Raises ValueError."""
    steps = tuple(value) if isinstance(value, list | tuple) else ()
    falling = all(a > b for a, b in itertools.pairwise(steps))
    if not steps or not falling or not all(isinstance(s, int | float) and 0 < s <= TRAINED for s in steps):
        raise ValueError(f"  {name}: got {value!r}, expected falling numbers over 0, at most {TRAINED}")
    return step_list(rule, *warped(steps, shift))


def _built(values: Mapping[str, Any], pipeline: Pipeline, network: FilmNetwork) -> FilmContract:
    rule, shift, wan, pixels = str(values["rule"]), float(values["shift"]), network.wan, network.pixels
    rest = warped_steps("steps", values["steps"], rule, shift)
    first = warped_steps("first_steps", values.get("first_steps", values["steps"]), rule, shift)
    side = 2 * (wan.head_dim // 6)
    return FilmContract(
        latent=LatentSpec(pixels.channels, pixels.spatial, pixels.frames, wan.patch_h, wan.patch_w),
        network=NetworkSpec(
            wan.layers, wan.heads, wan.head_dim, (wan.head_dim - 2 * side, side, side), 10000.0, wan.freq_dim
        ),
        text=TextSpec(
            "tokenizer.json",
            network.text.hidden,
            values["text_length"],
            pipeline.configs["text_encoder"].get("eos_token_id"),
            "wan",
        ),
        schedule=Schedule(first, rest, {n: warped_steps(n, steps, rule, shift) for n, steps in LISTS.items()}),
        licence=pipeline.licence,
        presets=_presets(values, network),
        **{name: values[name] for name in PLAIN if name in values},
    )


def _presets(values: Mapping[str, Any], network: FilmNetwork) -> dict[str, Preset]:
    """The row of drafts, where something of it was asked for, or there is a decoder for them."""
    asked = {name: values.get(f"draft_{name}") for name in ("height", "width", "steps")}
    if network.draft is None and not any(value is not None for value in asked.values()):
        return {}
    steps = None if asked["steps"] is None else str(asked["steps"])
    sizes = {name: asked[name] or values[name] for name in ("height", "width")}
    return {DRAFT: Preset(LOOK, **sizes, steps=steps, small_decoder=network.draft is not None)}


LOOK = "a quick look, as the export was asked for it: another picture"
"""Meaning of that row."""

PLAIN = ("block_frames", "window", "sink", "commit_timestep", "frames", "fps", "height", "width")
"""Values that are fields of the contract as they are."""


def _shown(value: Any) -> str:
    return ",".join(f"{v:g}" for v in value) if isinstance(value, list | tuple) else str(value)
