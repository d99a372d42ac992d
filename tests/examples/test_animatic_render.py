"""Shots and their prompts: the same for the same seed, true to what they claim, and measurable."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

ANIMATIC = Path(__file__).parents[2] / "examples" / "animatic"
sys.path.append(str(ANIMATIC))  # behind the slate recipe, whose scripts have the same names

from studio.backdrop import FEET  # noqa: E402
from studio.camera import FRAMES, HEIGHT, WIDTH, views  # noqa: E402
from studio.clip import TALL, clip, staged  # noqa: E402
from studio.corpus import SHARD, prompt_of, render_shards, scene_of  # noqa: E402
from studio.measure import flow, tracks  # noqa: E402
from studio.palettes import COSTUMES, PALETTES, graded  # noqa: E402
from studio.prompts import VERBS, WORDS, sentence  # noqa: E402
from studio.scene import CAMERAS, MOST, PLACES, SIZES, THINGS, TIMES, Scene, draw_scene  # noqa: E402

PLAIN = Scene("day", "street", "wide", "static", "stand", "none", ("red",), "centre", "none", "plain")


def test_a_clip_is_a_pure_function_of_its_scene() -> None:
    scene = scene_of("test", 3)
    first = clip(scene)
    assert first.shape == (FRAMES, HEIGHT, WIDTH, 3) and first.dtype == np.uint8
    assert np.array_equal(first, clip(scene_of("test", 3)))
    assert not np.array_equal(first, clip(replace(scene, seed="another")))


def test_another_process_renders_the_same_pixels() -> None:
    code = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "from studio.clip import clip; from studio.corpus import prompt_of, scene_of\n"
        "scene = scene_of('test', 7); print(hashlib.sha256(clip(scene, 5).tobytes()).hexdigest(), prompt_of(scene))"
    )
    told = subprocess.run([sys.executable, "-c", code, ANIMATIC], capture_output=True, text=True, check=True)
    scene = scene_of("test", 7)
    assert told.stdout.strip() == f"{hashlib.sha256(clip(scene, 5).tobytes()).hexdigest()} {prompt_of(scene)}"


def test_scenes_make_sense() -> None:
    for index in range(300):
        s = scene_of("sense", index)
        assert 1 <= len(s.figures) <= MOST[s.size] and len(set(s.figures)) == len(s.figures)
        assert (s.heading != "none") == (s.action in {"walk", "stop", "exchange"})
        assert s.action != "exchange" or (len(s.figures) == 2 and s.thing != "none")
        assert not (s.action in {"walk", "stop"} and s.camera.startswith("pan") and not s.camera.endswith(s.heading))
        assert s.side == "centre" or len(s.figures) == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("time", TIMES)
def test_figures_stand_where_the_truth_says_in_their_colour(size: str, time: str) -> None:
    for place, camera in zip(PLACES, ("static", "pan left", "tilt up", "push in"), strict=True):
        colours = ("red", "blue")
        scene = replace(PLAIN, size=size, time=time, place=place, camera=camera, figures=colours)
        frames = clip(scene, 5)
        for frame, view in enumerate(views(scene, 5)):
            for actor in staged(scene, frame / 4):
                x, y = view.place(actor.x, FEET[size] - 0.68 * TALL[size])
                if 2 <= x < WIDTH - 2 and 2 <= y < HEIGHT - 2:
                    wanted = np.array(graded(COSTUMES[actor.colour], PALETTES[time]), float)
                    seen = frames[frame, round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].reshape(-1, 3)
                    assert np.abs(np.median(seen, 0) - wanted).max() < 36


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_background_moves_as_the_camera_does(camera: str) -> None:
    x, y, growth, *_ = flow(clip(replace(PLAIN, camera=camera)))
    wanted = {
        "static": (0, 0, 0),
        "pan left": (1, 0, 0),
        "pan right": (-1, 0, 0),
        "tilt up": (0, 1, 0),
        "tilt down": (0, -1, 0),
        "push in": (0, 0, 1),
        "pull back": (0, 0, -1),
    }[camera]
    assert tuple(int(np.sign(v)) if abs(v) > limit else 0 for v, limit in ((x, 8), (y, 4), (growth, 0.06))) == wanted


@pytest.mark.parametrize("heading", ["left", "right"])
@pytest.mark.parametrize("action", ["walk", "stop"])
def test_those_who_walk_get_somewhere(action: str, heading: str) -> None:
    track = tracks(clip(replace(PLAIN, action=action, heading=heading)), "day")["red"]
    way = {"left": -1, "right": 1}[heading]
    assert way * (track.x[4] - track.x[0]) > 15
    assert (way * (track.x[-1] - track.x[5]) > 15) == (action == "walk")


def test_a_thing_changes_hands() -> None:
    scene = replace(PLAIN, action="exchange", heading="right", figures=("red", "blue"), thing="ball", size="medium")
    there = tracks(clip(scene), "day")
    assert there["ball"].x[-1] - there["ball"].x[0] > 10
    assert abs(there["red"].x[-1] - there["red"].x[0]) < 6


@pytest.mark.parametrize("thing", THINGS[1:])
def test_a_thing_is_seen_where_it_is_and_nowhere_else(thing: str) -> None:
    scene = replace(PLAIN, size="medium", thing=thing)
    assert np.isfinite(tracks(clip(scene), "day")[thing].x).all()
    assert np.isnan(tracks(clip(replace(scene, thing="none")), "day")[thing].x).all()


def test_whole_prompts_name_every_attribute() -> None:
    verbs = [verb for pair in VERBS.values() for form in pair for verb in form]
    assert len(verbs) == len(set(verbs))
    for index in range(100):
        scene = draw_scene(f"named/{index}")
        text = sentence(scene, Random(index)).lower()
        for value in (scene.time, scene.place, scene.size, scene.camera):
            assert any(word.lower() in text for word in WORDS[value]), (value, text)
        assert all(colour in text for colour in scene.figures)
        told = {"left": "right", "right": "left"}[scene.heading] if scene.action == "exchange" else scene.heading
        assert told == "none" or told in text  # a giver on the left hands it to the right
        assert scene.thing == "none" or any(word in text for word in WORDS[scene.thing])


def test_synonyms_belong_to_one_attribute() -> None:
    owners = [word.lower() for words in WORDS.values() for word in words]
    assert len(owners) == len(set(owners))


def test_shards_are_written_whole_and_never_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio.corpus.SHARD", 2)
    (first,) = render_shards(tmp_path, "s", range(1))
    assert np.array_equal(np.load(first)[1], clip(scene_of("s", 1)))
    stamp = first.stat().st_mtime_ns
    assert [path.name for path in render_shards(tmp_path, "s", range(2))] == ["s-00000.npy", "s-00001.npy"]
    assert first.stat().st_mtime_ns == stamp and not list(tmp_path.glob("*.part"))
    assert SHARD > 2
