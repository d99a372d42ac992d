"""`a2d film`: a prompt, or a shot list, to frames: a movie, numbered pictures, arrays; live on a terminal."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError
from ...engines.install import extra
from ...engines.paths import written_whole
from ..dailies.facts import facts, said
from ..dailies.shoot import FORMATS, ShootJob, shoot
from ..dailies.shot_list import COLUMNS, LISTS, ListedShot, shot_list
from ..dailies.writing import ENDINGS, FrameWriter, opened
from ..film.film import Film, FilmBlock
from ..film.loop import Step
from ..film.options import FilmOptions, preset_name
from ..film.presets import DRAFT
from ..film.towers import TowerNetwork
from ..heap import release
from ..load import load_placed
from ..model import Model
from .arguments import (
    BAD_INPUT,
    FAILED,
    Parser,
    add_bundle,
    add_placement,
    add_settings,
    frame_size,
    given,
    guarded,
    placement_from,
    tell_passed_over,
    worded,
)
from .live_film import FilmView, rates

__all__ = ["main"]

COMMAND = "a2d film"


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    return guarded(COMMAND, lambda: _run(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser = Parser(
        prog=COMMAND,
        usage=f"{COMMAND} BUNDLE --prompt TEXT [--image BOARD] [-o OUT.mp4|OUT.mov|FOLDER] [...]",
        description="Film a prompt or a list of shots, block after block; frames are written as they come. --image is "
        "the first frame; without it that is made as well. OUT: "
        + "; ".join(f"{name or 'a folder'}: {what}" for name, what in ENDINGS.items()),
        epilog="Exit status: 0 done; 1 the machine failed; 2 bad input; 130 interrupted: what is there can be read.",
    )
    add_bundle(parser)
    parser.add_argument("--prompt", help="what the shot shows")
    parser.add_argument(
        "--shots", type=Path, metavar="FILE", help=f"a list of shots ({', '.join(LISTS)}): {_columns()}"
    )
    parser.add_argument("--format", choices=list(FORMATS), default="mp4", help="format of the clips of --shots (mp4)")
    parser.add_argument(
        "--handles",
        type=int,
        default=4,
        metavar="N",
        help="with --shots, extra frames at the end of each clip, at least (4)",
    )
    parser.add_argument("--image", type=Path, metavar="BOARD", help="the first frame: a picture of any size")
    parser.add_argument("--size", type=frame_size, metavar="HxW", help="height and width in pixels")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="movie or folder to write")
    parser.add_argument("--noise", type=Path, metavar="NPZ", help="noise and renoise as arrays, instead of a seed")
    parser.add_argument("--latents", type=Path, metavar="NPY", help="write the latents [C, T, h, w]")
    parser.add_argument("--save", type=Path, metavar="NPZ", help="write frames and pixels [N, H, W, 3]")
    parser.add_argument("--preview", action="store_true", help="show the last frame of each block, small")
    parser.add_argument("--json", action="store_true", help="one JSON object per step and block, and at the end")
    parser.add_argument("--threads", type=int, help="threads of one operator; default: all physical cores")
    add_placement(parser)
    add_settings(parser.add_argument_group("film"), FilmOptions)
    return parser


def _options(arguments: argparse.Namespace) -> FilmOptions:
    options = FilmOptions(**given(arguments, FilmOptions))
    if arguments.size is None:
        return options
    if options.height is not None or options.width is not None:
        raise RequestError("--size and --height or --width: expected one of them")
    return replace(options, height=arguments.size[0], width=arguments.size[1])


def _run(arguments: argparse.Namespace) -> int:
    a = arguments
    options = _options(a)
    if a.shots is not None:
        return _shots(a, options)
    if a.prompt is None:
        raise RequestError("no --prompt: say what the shot shows; or give a list of shots with --shots")
    if not (a.out or a.latents or a.save or a.json or a.preview):
        raise RequestError("nothing would be left of the film; say where it goes: -o OUT.mp4")
    _check_packages(a.out)
    model = load_placed(a.bundle, placement_from(a))
    tell_passed_over(COMMAND, model)
    noise, renoise = (None, None) if a.noise is None else _arrays(a.noise)
    model.studio.on_encoded = lambda: model.unload("text")
    film = model.film(a.prompt, image=a.image, noise=noise, renoise=renoise, options=options)
    for graph in (film.network.contract.reader, "encode_first"):
        model.unload(graph)
    release(cycles=False)
    for remark in film.remarks:
        print(f"{COMMAND}: {worded(remark)}", file=sys.stderr)
    if preset_name(options) == DRAFT:
        print(f"{COMMAND}: a draft: the final film of this seed is another picture, not a sharper one", file=sys.stderr)
    return _filmed(model, film, options, a)


def _columns() -> str:
    return "; ".join(f"{name}: {what}" for name, what in COLUMNS.items())


def _shots(a: argparse.Namespace, options: FilmOptions) -> int:
    """Make the clips of a list, and tell of each."""
    for name in ("prompt", "image", "noise", "latents", "save"):
        if getattr(a, name) is not None:
            raise RequestError(f"--shots and --{name}: the list says what each shot is; leave --{name} out")
    if a.out is None or a.handles < 0 or options.frames is not None or options.seconds is not None:
        raise RequestError("--shots: expected -o FOLDER, no --frames or --seconds, and --handles from 0 on")
    _check_packages(Path("clip.mp4") if a.format != "png" else None, timelines=True)
    shots = shot_list(a.shots)
    model = load_placed(a.bundle, placement_from(a))
    tell_passed_over(COMMAND, model)
    views: list[FilmView] = []

    def watch(shot: ListedShot, film: Film) -> None:
        for remark in film.remarks:
            print(f"{COMMAND}: {shot.id}: {worded(remark)}", file=sys.stderr)
        views[:] = [FilmView(sys.stderr, film, a.preview)]
        film.on_step = views[0].step
        film.on_block = views[0].block

    def told(shot: ListedShot, line: str) -> None:
        for view in views:
            view.close()
        if a.json:
            _print({"event": "shot", "id": shot.id, "file": str(job.clip(shot)), "said": line})
        else:
            print(f"{shot.id}: {worded(line)}", flush=True)

    job = ShootJob(a.shots.stem, shots, a.out, a.format, a.handles, options, watch, told)
    taken, faults = shoot(model, job)
    if a.json:
        _print({"event": "done", "shots": len(taken), "faults": faults, "frames": sum(shot.frames for shot in taken)})
    else:
        print(f"{a.out}: {len(taken)} shots; timeline.otio, timeline.edl and index.html")
    for name in faults:
        print(f"{COMMAND}: {name} could not be made", file=sys.stderr)
    return BAD_INPUT if faults else 0


def _filmed(model: Model, film: Film, options: FilmOptions, a: argparse.Namespace) -> int:
    """Take all blocks, write what is asked for, and tell."""
    size = film.clip.height, film.clip.width
    found = facts(model, film, options)
    writer = None if a.out is None else opened(a.out, *size, film.fps, said(found))
    view = FilmView(sys.stderr, film, a.preview)
    show = (lambda step: _print({"event": "step", **_step(step)})) if a.json else view.step
    film.on_step = partial(_stepped, model, film, show)
    latents: list[NDArray[np.float32]] = []
    kept: list[FilmBlock] = []
    frames = 0
    try:
        for block in film:
            frames += len(block.frames)
            if writer is not None:
                writer.add(block.frames)
            latents += [block.latents] if a.latents else []
            kept += [block] if a.save else []
            view.block(block)
            if a.json:
                _print({"event": "block", **_block(block)})
            del block  # before the next one's pixels are made
        view.close()
        if writer is not None:
            writer.close()
    except BaseException as error:
        view.close()
        if _keep(writer, error) and isinstance(error, OSError):
            return FAILED  # it is told already, and something was left behind
        raise
    _save(latents, kept, a.latents, a.save)
    if a.json:
        _print({"event": "done", **found, "frames": frames, "forwards": film.forwards, "seconds": asdict(film.seconds)})
    elif a.out is not None or sys.stderr.isatty():
        print(
            f"{a.out or 'done'}: {frames} frames at {film.fps:g} a second, {rates(film.seconds, frames)}",
            file=sys.stderr,
        )
    return 0


def _stepped(model: Model, film: Film, show: Callable[[Step], None], step: Step) -> None:
    """Show a step. Behind the last one of a clip that is one block, its network goes before the decoder comes."""
    show(step)
    if isinstance(film.network, TowerNetwork) and step.step + 1 == step.steps:
        film.network.let_go()
        model.unload(film.network.contract.denoiser)
        release(cycles=False)


def _keep(writer: FrameWriter | None, error: BaseException) -> bool:
    """Leave what has been written readable, and say so; true where there is something."""
    if writer is None:
        return False
    writer.keep()
    if writer.written:
        why = (
            "interrupted"
            if isinstance(error, KeyboardInterrupt)
            else str(error)
            if isinstance(error, OSError)
            else "ended"
        )
        print(f"{COMMAND}: {why}; {writer.place} holds the first {writer.written} frames", file=sys.stderr)
    return writer.written > 0


def _save(latents: list[NDArray[np.float32]], blocks: list[FilmBlock], place: Path | None, arrays: Path | None) -> None:
    if place is not None:
        with written_whole(place) as part, part.open("wb") as file:
            np.save(file, np.concatenate(latents, axis=1))
    if arrays is not None:
        frames, pixels = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("frames", "pixels"))
        with written_whole(arrays) as part, part.open("wb") as file:
            np.savez(file, frames=frames, pixels=pixels)


def _arrays(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """`noise` and `renoise` of an npz file. Raises RequestError."""
    try:
        with np.load(path, allow_pickle=False) as found:
            held = {name: found[name] for name in found}
    except (OSError, ValueError, BadZipFile, AttributeError, TypeError) as error:
        raise RequestError(f"{path} is no npz file of arrays: {error}") from error
    if "noise" not in held:
        raise RequestError(f"{path}: holds {', '.join(held) or 'no arrays'}, expected noise, and renoise")
    return held["noise"], held.get("renoise")


def _check_packages(out: Path | None, timelines: bool = False) -> None:
    """Say before any work that movies and timelines need a package."""
    if out is not None and out.suffix and find_spec("av") is None:
        raise RequestError(f"writing movies needs av (PyAV): {extra('log')}; or write PNG files")
    if timelines and find_spec("opentimelineio") is None:
        raise RequestError(f"a list of shots needs opentimelineio for its timeline: {extra('log')}")


def _step(step: Any) -> dict[str, Any]:
    return {"block": step.block.index, "step": step.step, "steps": step.steps}


def _block(block: FilmBlock) -> dict[str, Any]:
    return {"block": block.block.index, "first": block.first, "frames": len(block.frames)}


def _print(event: dict[str, Any]) -> None:
    print(json.dumps(event, ensure_ascii=False), flush=True)
