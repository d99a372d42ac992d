"""Golden decodes of tiny causal Wan checkpoints: a slow reference of another code made them without any cache.

The network is that of `film_network`, in numpy, behind the runtime's loop; text rows and the picture's latents are
given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from film_contracts import steps
from film_network import Pixels, Wan, contract_of, engines, published

from a2d.runtime.film.contract import FilmContract, Schedule, TextSpec
from a2d.runtime.film.film import Film
from a2d.runtime.film.studio import Studio
from a2d.runtime.inputs.tokenizer import Text

GOLDEN = Path(__file__).parents[2] / "data" / "golden-frames"
CASES = ("v1/case-1", "v1/case-2", "v2/case-1", "v2/case-2")


@dataclass(frozen=True)
class Golden:
    case: dict
    arrays: dict[str, np.ndarray]
    contract: FilmContract
    wan: Wan
    text: Text
    image: str | None


@cache
def golden(name: str) -> Golden:
    folder = GOLDEN / name.split("/", maxsplit=1)[0]
    case = json.loads((GOLDEN / f"{name}.json").read_text())
    arrays = dict(np.load(GOLDEN / f"{name}.npz"))
    spec = TextSpec("tokenizer.json", arrays["text_rows"].shape[1], case["text_length"], 1, "wan")
    schedule = Schedule(steps(len(case["first_steps"])), steps(len(case["steps"])))
    contract = contract_of(case, folder / "checkpoint", text=spec, schedule=schedule)
    image = str(folder / case["image"]) if case["image"] else None
    text = Text(folder / "checkpoint" / "tokenizer" / "tokenizer.json")
    return Golden(case, arrays, contract, published(folder / "checkpoint"), text, image)


class Encoded(Pixels):
    """The decoder of the tests, with the golden picture's latents."""

    latents: np.ndarray

    def encode(self, image: np.ndarray) -> np.ndarray:
        return self.latents


def filmed(g: Golden, **options) -> Film:
    def rows(tokens: np.ndarray) -> np.ndarray:
        assert tokens.tolist() == g.case["text_ids"], "the prompt is cleaned and encoded as the reference does"
        return g.arrays["text_rows"][: len(tokens)]

    pixels = Encoded(g.contract)
    pixels.latents = g.arrays.get("image_latent")
    studio = Studio(engines(g.wan, g.contract, rows, pixels), g.contract, "float32", g.text, True)
    sizes = {name: g.case[name] for name in ("frames", "height", "width")}
    noise = {name: g.arrays[name] for name in ("noise", "renoise")}
    return studio.film(g.case["prompt"], image=g.image, **noise, **sizes, **options)


@pytest.mark.parametrize("commit", ["separate", "merged"])
@pytest.mark.parametrize("name", CASES)
def test_latents_are_those_of_the_reference(name, commit):
    g = golden(name)
    film, opening = filmed(g, commit=commit), []

    def on_step(step):
        if step.block.index == film.script.opening:
            opening.append(step)

    film.on_step = on_step
    blocks = list(film)
    assert [[b.block.start, b.block.end] for b in blocks] == g.case["blocks"]
    np.testing.assert_allclose(np.concatenate([b.latents for b in blocks], 1), g.arrays["latents"], atol=5e-5)
    velocities = np.stack([step.velocity for step in opening])
    np.testing.assert_allclose(velocities, g.arrays["first_velocity"], atol=5e-5)
    first = opening[0].block
    noisy = np.stack([g.arrays["noise"][:, first.start : first.end], *(step.latents for step in opening[:-1])])
    levels = np.array(film.script.steps(first).sigmas[:-1])[:, None, None, None, None]
    np.testing.assert_allclose(noisy - levels * velocities, g.arrays["first_x0"], atol=5e-5)
    assert film.forwards == g.case[f"forwards_{commit}"]
    assert sum(len(b.frames) for b in blocks) == g.case["frames"]


@pytest.mark.parametrize("name", CASES)
def test_blocks_see_what_the_reference_lets_them_see(name):
    g = golden(name)
    clip = filmed(g).clip
    for block, said in zip(clip.blocks, g.case["schedule"], strict=True):
        assert [*clip.window.past(block), *range(block.start, block.end)] == said["sees"]
        assert block.given == said["given"]
        steps_of = filmed(g).script.steps(block)
        if not block.given:
            np.testing.assert_allclose(steps_of.timesteps, said["timesteps"], rtol=1e-7)
            np.testing.assert_allclose(steps_of.sigmas, said["sigmas"], rtol=1e-7)


MISTAKES = {
    "the window ignored": {"window": 0, "sink": 0},
    "no sink": {"sink": 0},
    "a smaller window": {"window": 3},
}


@pytest.mark.parametrize("changes", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_with_the_window_shows(changes):
    """The tolerance above would not hide it."""
    g = golden("v2/case-2")
    made = np.concatenate([b.latents for b in filmed(g, **changes)], 1)
    assert np.abs(made - g.arrays["latents"]).max() > 0.1
