"""Sizes of a film's engines: every forward that the loop runs has a profile, and the engines are built ahead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from film_contracts import contract

from a2d.engines.errors import RequestError
from a2d.engines.size_profile import fitting
from a2d.runtime.cli.build import main as build
from a2d.runtime.deploy.engine_set import engine_sets
from a2d.runtime.deploy.film_profiles import film_profiles, film_sizes
from a2d.runtime.film.clip import clip_of

CHECKPOINT = Path(__file__).parents[2] / "data" / "golden-frames" / "v2" / "checkpoint"
FLAGS = ["--block-frames", "1", "--steps-list", "1000,500", "--window", "4", "--sink", "1", "--size", "32x48"]


@pytest.mark.parametrize("picture", [False, True])
@pytest.mark.parametrize(("block", "window", "sink"), [(1, None, 0), (1, 4, 1), (3, None, 0), (3, 9, 3), (2, 4, 2)])
def test_every_forward_of_a_clip_fits_a_profile(block, window, sink, picture):
    film = replace(contract(), block_frames=block, window=window, sink=sink, frames=81)
    sizes = film_sizes(film)
    profiles, rows = film_profiles(film, sizes), sizes.rows
    clip = clip_of(film, film.frames, film.height, film.width, picture=picture)
    assert clip.rows == rows
    for one in clip.blocks:
        past, frames = len(clip.window.past(one)) * rows, len(one)
        asked = {"frames": frames, "rows": frames * rows, "cached": past, "keys": past + frames * rows, "words": 9}
        assert fitting(profiles["frames"], asked) is not None, one


def test_few_lengths_of_the_past_get_one_profile_each_and_many_a_range():
    few = replace(contract(), block_frames=3, window=9, sink=0, frames=81)
    lows = [profile.axes["cached"] for profile in film_profiles(few, film_sizes(few))["frames_merged"]]
    assert all(past.low == past.high for past in lows)
    many = replace(contract(), block_frames=1, window=None, frames=81)
    (one,) = film_profiles(many, film_sizes(many))["frames"]
    assert one.axes["cached"].low == 0 < one.axes["cached"].high


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(RequestError, match="multiple"):
        film_sizes(contract(), 33, 48)


def test_a_bundle_that_films_is_built_ahead(tmp_path, capsys):
    pytest.importorskip("tensorrt_rtx")
    bundle = tmp_path / "bundle"
    from a2d.export.cli import main as export  # torch is for this test alone

    assert export([str(CHECKPOINT), "-o", str(bundle), "--precision", "fp16", "--quiet", *FLAGS]) == 0
    assert build([str(bundle), "--target", "rtx", "--sm", "89", "--quiet"]) == 0
    (made,) = engine_sets(bundle / "engines")
    assert {"frames.engine", "pixels_next.engine", "text.engine"} <= set(made.record.files)
    assert (made.record.context, made.record.block_size) == (3 * 6, 6)
    capsys.readouterr()
    assert build([str(bundle), "--target", "rtx", "--sm", "89", "--size", "30x48"]) == 2
    assert "multiple" in capsys.readouterr().err
