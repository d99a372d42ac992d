"""Measure a checkpoint by the pixels of what it films, on prompts and seeds that never change.

    python examples/animatic/evaluate.py --judge judge.pt --clips build/animatic/clips          fit the judge, verify it
    python examples/animatic/evaluate.py --judge judge.pt --model build/animatic/model --steps 1 2 4 8
    python examples/animatic/evaluate.py --judge judge.pt --model build/animatic/model --sheet sheet.png    24 seeds
    python examples/animatic/evaluate.py --judge judge.pt --bundle animatic.a2d --precision int8 --steps 4  through a2d

Every number comes with a 95 % interval (Wilson's). `--json` writes everything to a file as well.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from render import sheet
from studio import checkpoint
from studio.clip import clip
from studio.corpus import EVALUATION, SHARD, TRAINING, prompt_of, scene_of
from studio.film import drawn_noise, filmed
from studio.judge import Judge, fitted, measured
from studio.scene import Scene
from studio.score import scored

import a2d

VERIFIED = "verification"
"""A stream of scenes that neither training nor the judge has seen."""
SHOWN = 24
BATCH = 8
FAR_STEPS = 32


def fit(clips: Path, count: int) -> Judge:
    """A judge from training's rendered clips."""

    def rendered() -> Iterator[tuple[Scene, NDArray[np.uint8]]]:
        for path in sorted(clips.glob(f"{TRAINING}-*.npy"))[: -(-count // SHARD)]:
            first = SHARD * int(path.stem.rsplit("-", 1)[1])
            for place, frames in enumerate(np.load(path, mmap_mode="r")):
                yield scene_of(TRAINING, first + place), np.array(frames)

    return fitted(measured(rendered()))


Films = Callable[[int, int], NDArray[np.uint8]]
"""The evaluation's first so many clips, in so many steps. Prompt and seed `i` belong together for ever."""


def prompts(count: int) -> list[str]:
    return [prompt_of(scene_of(EVALUATION, index), whole=True) for index in range(count)]


def by_torch(model: Path, guidance: float, renoise: bool) -> Films:
    """A checkpoint in the plain loop."""
    parts = checkpoint.load(model)

    def films(count: int, steps: int) -> NDArray[np.uint8]:
        said = prompts(count)
        made = [
            filmed(parts, said[at : at + BATCH], range(count)[at : at + BATCH], steps, guidance, renoise)
            for at in range(0, count, BATCH)
        ]
        return np.concatenate(made)

    return films


def by_bundle(bundle: Path, precision: str | None, threads: int) -> Films:
    """A bundle, of the same noise."""
    model = a2d.load(bundle, precision=precision, threads=threads)
    assert model.manifest.film is not None, f"{bundle} does not film"
    channels = model.manifest.film.latent.channels

    def films(count: int, steps: int) -> NDArray[np.uint8]:
        made = []
        for index, prompt in enumerate(prompts(count)):
            noise = drawn_noise([index], channels, 1)[0, 0].transpose(0, 1).contiguous().numpy()
            made.append(np.concatenate([block.frames for block in model.film(prompt, noise=noise, steps=steps)]))
        return np.stack(made)

    return films


def curve(films: Films, judge: Judge, count: int, steps: Sequence[int], far: Films | None) -> dict[str, Any]:
    """Scores by number of steps, and the distance to what many steps make of the same noise."""
    scenes = [scene_of(EVALUATION, index) for index in range(count)]
    best = far(min(count, 2 * BATCH), FAR_STEPS).astype(float) if far is not None else None
    found = {}
    for number in steps:
        begun = time.process_time()
        clips = films(count, number)
        seconds = (time.process_time() - begun) / count
        score = scored(scenes, clips, judge)
        distance = float(np.abs(clips[: len(best)] - best).mean()) if best is not None else None
        away = f", {distance:.1f}/255 from {FAR_STEPS} steps" if distance is not None else ""
        print(f"\n{number} steps, {seconds:.2f} CPU s a clip{away}\n{score.table()}", flush=True)
        found[str(number)] = {"seconds": seconds, "distance": distance} | score.facts()
    return found


def main(arguments: list[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        print(json.dumps(_measured(chosen), indent=1), file=chosen.json.open("w") if chosen.json else sys.stderr)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _measured(chosen: argparse.Namespace) -> dict[str, Any]:
    if chosen.clips:
        fit(chosen.clips, chosen.fit).save(chosen.judge)
    judge, found = Judge.load(chosen.judge), {}
    if chosen.clips:
        scenes = [scene_of(VERIFIED, index) for index in range(chosen.count)]
        score = scored(scenes, (clip(scene) for scene in scenes), judge)
        print(f"the judge on renders\n{score.table()}", flush=True)
        found["renders"] = score.facts()
    if chosen.model or chosen.bundle:
        far = by_torch(chosen.model, chosen.guidance, False) if chosen.model else None
        films = (
            by_bundle(chosen.bundle, chosen.precision, chosen.threads)
            if chosen.bundle
            else by_torch(chosen.model, chosen.guidance, chosen.renoise)
        )
        found["model"] = curve(films, judge, chosen.count, chosen.steps, far)
        if chosen.sheet:
            sheet(list(films(SHOWN, chosen.steps[-1])), prompts(SHOWN)).save(chosen.sheet)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", type=Path, required=True, help="the fitted judge; written where --clips is given")
    parser.add_argument(
        "--clips", type=Path, help="training's rendered clips: fit the judge and verify it on other renders"
    )
    parser.add_argument("--fit", type=int, default=2800, help="clips to fit the judge on")
    parser.add_argument("--model", type=Path, help="checkpoint to measure")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--count", type=int, default=200, help="prompts")
    parser.add_argument("--guidance", type=float, default=1.0, help="over 1 each step also runs without the prompt")
    parser.add_argument("--renoise", action="store_true", help="add fresh noise between steps, as Self-Forcing does")
    parser.add_argument("--bundle", type=Path, help="bundle that films; distances also want the checkpoint, --model")
    parser.add_argument("--precision", help="of the bundle")
    parser.add_argument("--sheet", type=Path, help=f"write four frames of each of {SHOWN} unpicked seeds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
