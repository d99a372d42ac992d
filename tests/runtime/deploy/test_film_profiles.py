"""Sizes of a film's engines: every forward that the loop runs has a profile, and the engines are built ahead."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

import onnx
import pytest
from film_contracts import contract

from a2d.engines.errors import RequestError
from a2d.engines.size_profile import fitting
from a2d.runtime.bundle.files import Bundle
from a2d.runtime.cli.build import main as build
from a2d.runtime.deploy.engine_set import engine_sets
from a2d.runtime.deploy.film_profiles import film_profiles, film_sizes
from a2d.runtime.deploy.precisions import EXACT
from a2d.runtime.film.clip import clip_of


@pytest.mark.parametrize("picture", [False, True])
@pytest.mark.parametrize("length", [81, 1, 17, 29, 77])
@pytest.mark.parametrize(("block", "window", "sink"), [(1, None, 0), (1, 4, 1), (3, None, 0), (3, 9, 3), (2, 4, 2)])
def test_every_forward_of_a_clip_fits_a_profile(block, window, sink, length, picture):
    """Clips of any length up to the one that engines are built for, merged commits among the forwards."""
    film = replace(contract(), block_frames=block, window=window, sink=sink, frames=81)
    sizes = film_sizes(film)
    profiles, rows = film_profiles(film, sizes), sizes.rows
    clip = clip_of(film, length, film.height, film.width, picture=picture)
    assert clip.rows == rows

    def fits(graph: str, frames: int, past: int) -> bool:
        asked = {"frames": frames, "rows": frames * rows, "cached": past * rows, "keys": (past + frames) * rows}
        return fitting(profiles[graph], {**asked, "words": 9}) is not None

    for before, one in zip([None, *clip.blocks], clip.blocks, strict=False):
        assert fits("frames", len(one), len(clip.window.past(one))), one
        if before is not None:
            assert fits("frames_merged", len(before) + len(one), len(clip.window.past(before))), one


def test_products_that_stay_exact_in_engines_are_there(filming):
    """A pattern that names no weight any more would let it become float16."""
    graphs = Bundle.open(filming).variant("fp32").graphs
    for graph, patterns in EXACT.items():
        model = onnx.load(filming / graphs[graph], load_external_data=False)
        names = [tensor.name for tensor in model.graph.initializer]
        assert all(any(fnmatchcase(name, pattern) for name in names) for pattern in patterns), graph


def test_few_lengths_of_the_past_get_one_profile_each_and_many_a_range():
    few = replace(contract(), block_frames=3, window=9, sink=0, frames=81)
    profiles = film_profiles(few, film_sizes(few))["frames_merged"]
    whole = [profile.axes["cached"] for profile in profiles if profile.axes["frames"].low == 6]
    assert len(whole) == len(film_sizes(few).pasts) and all(past.low == past.high for past in whole)
    many = replace(contract(), block_frames=1, window=None, frames=81)
    (one,) = film_profiles(many, film_sizes(many))["frames"]  # a block is one frame: there is no shorter one
    assert one.axes["cached"].low == 0 < one.axes["cached"].high


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(RequestError, match="multiple"):
        film_sizes(contract(), 33, 48)


def test_a_bundle_that_films_is_built_ahead(golden_film, tmp_path, capsys):
    pytest.importorskip("tensorrt_rtx")
    flags = [str(golden_film("v2")), "-o", str(tmp_path), "--target", "rtx", "--sm", "89", "--precision", "fp16"]
    assert build([*flags, "--size", "32x48", "--quiet"]) == 0
    (made,) = engine_sets(tmp_path)
    assert {"frames.engine", "pixels_next.engine", "text.engine"} <= set(made.record.files)
    assert (made.record.context, made.record.block_size) == (18, 6)  # 3 frames of 2 x 3 rows, and one
    capsys.readouterr()
    assert build([*flags, "--size", "30x48"]) == 2
    assert "multiple" in capsys.readouterr().err
