"""Choices of a caller for one clip, resolved against the contract's defaults. Each is declared once: flags follow."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, TypedDict

from ...engines.errors import ContractError, RequestError
from ..schema import Violations, check, check_choice, setting
from .board import FITS
from .clip import Window
from .contract import COMMITS, FilmContract, StepList
from .curves import levels
from .presets import CHOSEN, DRAFT, Preset, preset_named
from .solvers import step_list
from .towers_spec import GuidanceSpec

__all__ = ["FilmOptionFields", "FilmOptions", "Settled", "film_options", "preset_name", "preset_of", "settled"]

RECOMPUTED = {
    "window": "frames that are still seen are run again with the new prompt, but for the sink's",
    "none": "they keep what the old prompt made of them",
}
"""Ways to treat earlier frames' keys and values where a film goes on with another prompt."""

OVERLAPS = {
    "none": "a finished block's pixels are decoded, then it is committed",
    "commit": "it is committed while another thread decodes its pixels: for a CPU with cores to spare",
}
"""Ways to order a finished block's pixels and its commit, which do not need each other; frames are the same."""


@dataclass(frozen=True)
class FilmOptions:
    """Choices for one clip; None leaves the choice to the bundle's contract."""

    frames: int | None = field(
        default=None, metadata=setting("length in frames, 1 + 4 k as the decoder makes them", (1, 1 << 20))
    )
    seconds: float | None = field(
        default=None,
        metadata=setting("length in seconds, instead of frames; the next possible length is made", (0, 1e6)),
    )
    height: int | None = field(default=None, metadata=setting("height in pixels", (1, 1 << 16)))
    width: int | None = field(default=None, metadata=setting("width in pixels", (1, 1 << 16)))
    steps: int | None = field(
        default=None, metadata=setting("steps of a block; the bundle says which numbers are possible", (1, 1000))
    )
    seed: int = field(default=0, metadata=setting("seed of the noise", (0, 2**64 - 1)))
    commit: str | None = field(default=None, metadata=setting("how a finished block is kept", choices=COMMITS))
    overlap: str = field(
        default="none",
        metadata=setting("whether a finished block is committed while its pixels are decoded", choices=OVERLAPS),
    )
    window: int | None = field(
        default=None, metadata=setting("latent frames that a block sees, itself included; 0 is all", (0, 1 << 20))
    )
    sink: int | None = field(
        default=None, metadata=setting("first latent frames that a window never loses", (0, 1 << 20))
    )
    fps: float | None = field(
        default=None,
        metadata=setting("frames a second; other frames are made only by a network that is told the rate", (1e-3, 1e4)),
    )
    negative: str | None = field(default=None, metadata=setting("negative prompt: what guidance leads away from"))
    guidance: float | None = field(default=None, metadata=setting("scale of guidance; 1 is none", (0, 1000)))
    guidance_interval: tuple[float, ...] | None = field(
        default=None, metadata=setting("lowest and highest timestep that are guided, as 400,1000", (0, 1e6))
    )
    plain: bool = field(
        default=False, metadata=setting("no sentences about length and size behind the prompt, as JSON prompts want it")
    )
    fit: str = field(
        default="letterbox", metadata=setting("how a first picture of another shape is fitted", choices=FITS)
    )
    recompute: str = field(
        default="window", metadata=setting("what becomes of earlier frames when the prompt changes", choices=RECOMPUTED)
    )
    preset: str | None = field(
        default=None,
        metadata=setting("several options at once, a row of the bundle's table; options that are given go before it"),
    )
    draft: bool = field(
        default=False, metadata=setting("the preset draft, for a quick look: another picture than the final one")
    )

    def __post_init__(self) -> None:
        for name, table in TABLES:
            if (got := getattr(self, name)) is not None:
                check_choice(name, got, table)


TABLES = (("commit", COMMITS), ("overlap", OVERLAPS), ("fit", FITS), ("recompute", RECOMPUTED))
"""Options that are rows of a table."""


class FilmOptionFields(TypedDict, total=False):
    """The fields of FilmOptions, for functions that take them as keywords."""

    frames: int | None
    seconds: float | None
    height: int | None
    width: int | None
    steps: int | None
    seed: int
    commit: str | None
    overlap: str
    window: int | None
    sink: int | None
    fps: float | None
    negative: str | None
    guidance: float | None
    guidance_interval: tuple[float, ...] | None
    plain: bool
    fit: str
    recompute: str
    preset: str | None
    draft: bool


def film_options(**chosen: Any) -> FilmOptions:
    """Options from fields by name. Raises RequestError for an unknown field or choice, listing the known ones."""
    known = [f.name for f in fields(FilmOptions)]
    if unknown := [name for name in chosen if name not in known]:
        raise RequestError(f"unknown option {', '.join(unknown)}; the options are {', '.join(known)}")
    try:
        return FilmOptions(**chosen)
    except ContractError as error:
        raise RequestError(str(error)) from error


@dataclass(frozen=True)
class Settled:
    """Options with all defaults in place."""

    frames: int
    height: int
    width: int
    fps: float
    first: StepList
    rest: StepList
    merged: bool
    window: Window
    options: FilmOptions
    guidance: GuidanceSpec
    """Guidance away from its negative prompt."""
    small_decoder: bool = False
    """Pixels are made by the decoder for drafts, where the bundle has one."""


def settled(contract: FilmContract, options: FilmOptions) -> Settled:
    """Resolve options against a contract. Raises RequestError that lists everything that does not fit."""
    try:
        check(options)
    except Violations as error:
        raise RequestError(str(error)) from error
    _check_kind(contract, options)
    preset = preset_of(contract, options)
    if preset is not None:
        options = _with(options, preset)
    first, rest = _steps(contract, options.steps, preset)
    fps = options.fps or contract.fps
    window = contract.window if options.window is None else (options.window or None)
    return Settled(
        frames=_frames(contract, options, fps),
        height=options.height or contract.height,
        width=options.width or contract.width,
        fps=fps,
        first=first,
        rest=rest,
        merged=(options.commit or contract.commit) == "merged",
        window=Window(window, contract.sink if options.sink is None else options.sink),
        options=options,
        guidance=_guidance(contract, options),
        small_decoder=preset is not None and preset.small_decoder,
    )


def preset_of(contract: FilmContract, options: FilmOptions) -> Preset | None:
    """The row that is asked for. Raises RequestError for one that the bundle does not have, listing those it has."""
    name = preset_name(options)
    asked = "preset" if options.preset is not None else "draft"
    return None if name is None else preset_named(contract.presets, name, asked)


def preset_name(options: FilmOptions) -> str | None:
    """Name of the preset. Raises RequestError for two of them."""
    if options.draft and options.preset not in (None, DRAFT):
        raise RequestError(f"preset, draft: got {options.preset!r} and a draft, expected one of them")
    return DRAFT if options.draft else options.preset


WHOLE_ONLY = ("negative", "guidance", "guidance_interval", "plain")
BLOCKS_ONLY = ("commit", "window", "sink")
"""Settings that mean something for a clip that is made at once, and for one that is made in blocks."""


def _check_kind(contract: FilmContract, options: FilmOptions) -> None:
    """Raise RequestError for settings that mean nothing to the contract's kind of network."""
    whole = contract.towers is not None
    lost = [name for name in (BLOCKS_ONLY if whole else WHOLE_ONLY) if getattr(options, name) not in (None, False)]
    if lost:
        why = "makes a clip at once, as one block" if whole else "was trained with its guidance inside"
        raise RequestError(f"{', '.join(lost)}: this bundle {why}; leave {'it' if len(lost) == 1 else 'them'} out")


def _guidance(contract: FilmContract, options: FilmOptions) -> GuidanceSpec:
    own = GuidanceSpec() if contract.towers is None else contract.towers.guidance
    interval, negative = options.guidance_interval, options.negative
    try:
        return GuidanceSpec(
            own.scale if options.guidance is None else options.guidance,
            own.interval if interval is None else interval,
            own.negative if negative is None else negative,
        )
    except Violations as error:
        raise RequestError(f"guidance_{str(error).lstrip()}") from error


def _with(options: FilmOptions, preset: Preset) -> FilmOptions:
    """Options with the preset's values where nothing else is asked for."""
    values = {name: getattr(preset, name) for name in CHOSEN if getattr(options, name) is None}
    if options.seconds is not None:
        values.pop("frames", None)
    return replace(options, **values)


def _steps(contract: FilmContract, count: int | None, preset: Preset | None) -> tuple[StepList, StepList]:
    schedule = contract.schedule
    name = str(count) if count is not None else None if preset is None else preset.steps
    if name is None or (name not in schedule.others and count == len(schedule.rest)):
        return schedule.first, schedule.rest
    if name not in schedule.others and schedule.sampler is not None and count is not None:
        made = step_list(schedule.sampler.rule, *levels(schedule.sampler, count))
        return made, made
    if name not in schedule.others:
        counts = sorted({len(schedule.rest), *(len(made) for made in schedule.others.values())})
        raise RequestError(f"steps: got {count}, this bundle was made for {', '.join(map(str, counts))} a block")
    return schedule.others[name], schedule.others[name]


def _frames(contract: FilmContract, options: FilmOptions, fps: float) -> int:
    if options.frames is not None and options.seconds is not None:
        raise RequestError("frames, seconds: got both, expected one of them")
    if options.seconds is None:
        return options.frames or contract.frames
    wanted, step = max(1, round(options.seconds * fps)), contract.latent.temporal
    return 1 + -(-(wanted - 1) // step) * step
