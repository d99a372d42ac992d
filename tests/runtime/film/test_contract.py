"""The contract of a film: what it refuses, and that it survives being written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from bundles import MANIFEST, record, variant_of
from film_contracts import contract, steps

from a2d.engines.errors import BundleError
from a2d.runtime.bundle.manifest import FILM, PICTURE, Manifest
from a2d.runtime.film.contract import NetworkSpec, Schedule, StepList, TextSpec
from a2d.runtime.film.presets import Preset
from a2d.runtime.schema import Violations, from_json, to_json


def filming(**changes) -> Manifest:
    """A manifest of a bundle that films and decodes no words."""
    graphs = {name: f"{name}.fp32.onnx" for name in (*FILM, PICTURE)}
    names = [*graphs.values(), "weights-fp32.bin", "tokenizer.json"]
    variant = variant_of(graphs)
    files = {name: record(name.encode()) for name in names}
    return replace(
        MANIFEST, words=None, film=contract(**changes), family="causal_wan", variants={"fp32": variant}, files=files
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "window": 9,
            "sink": 3,
            "presets": {"draft": Preset("small", height=16, width=32, steps="1", small_decoder=True)},
            "licence": "apache-2.0",
        },
        {"block_frames": 1, "first_frames": 3, "schedule": Schedule(steps(4), steps(1))},
    ],
)
def test_a_manifest_that_films_survives_being_written(changes):
    made = filming(**changes)
    assert Manifest.loads(made.dumps().encode()) == made
    assert made.texts() == ["tokenizer.json"] and made.required() == FILM


def test_a_bundle_that_films_says_that_it_decodes_no_words():
    made = filming()
    for name in ("model", "decode", "text", "vision"):
        with pytest.raises(BundleError, match="films, and decodes no words; use a2d film"):
            getattr(made, name)


def test_graphs_are_those_that_the_contracts_ask_for():
    made = filming()
    variant = made.variants["fp32"]
    without = {name: file for name, file in variant.graphs.items() if name != "cross"}
    with pytest.raises(Violations, match=r"missing \['cross'\], not asked for \[\]"):
        replace(made, variants={"fp32": variant_of(without)})
    with pytest.raises(Violations, match=r"missing \[\], not asked for \['denoise'\]"):
        replace(made, variants={"fp32": variant_of(variant.graphs | {"denoise": "cross.fp32.onnx"})})
    silent = {name: file for name, file in variant.graphs.items() if name != PICTURE}
    assert replace(made, variants={"fp32": variant_of(silent)}).film == made.film
    with pytest.raises(Violations, match="words, film: both are null"):
        replace(made, film=None)


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (("latent", "channels"), 0, "film.latent.channels: got 0, expected 1 to"),
        (("network", "rope_axes"), [4, 4], "film.network: rope_axes: got [4, 4], expected three even numbers"),
        (("network", "rope_axes"), [6, 3, 3], "expected three even numbers that add up to head_dim 12"),
        (("network", "freq_dim"), 15, "film.network: freq_dim: got 15, expected an even number"),
        (("text", "clean"), "soap", "film.text: clean: got 'soap', expected one of none, wan"),
        (("schedule", "rest", "sigmas"), [1, 0], "film.schedule.rest.sigmas: got 2 numbers, expected 5"),
        (("schedule", "rest", "noise"), [], "film.schedule.rest.noise: got 0 numbers, expected 4"),
        (("schedule", "first", "velocity", 2), [1], "film.schedule.first.velocity[2]: got 1 numbers, expected 3"),
        (("schedule", "first", "velocity", 2), [0, 0, "x"], "film.schedule.first.velocity[2][2]: got 'x'"),
        (("schedule", "first", "sigmas", 4), 0.5, "film.schedule.first.sigmas: the last is 0.5, expected 0"),
        (("window",), 2, "film.window: got 2, expected at least 3: the sink's 0 and a block of 3"),
        (("sink",), -1, "film.sink: got -1, expected 0 to"),
        (("commit",), "never", "film.commit: got 'never', expected one of separate, merged"),
        (("frames",), 20, "film.frames: got 20, expected 1 + 4 k"),
        (("height",), 40, "film.height, width: got 40x48, expected multiples of 16 and 16"),
        (("fps",), 0, "film.fps: got 0, expected 0.001"),
        (("presets",), {"a": {"what": "", "steps": "3"}}, "film.presets['a'].steps: got '3', expected a name"),
        (
            ("presets",),
            {"a": {"what": "", "height": 40}},
            "film.presets['a'].height, presets['a'].width: got 40x48",
        ),
        (("presets",), {"a": {"what": "", "frames": 20}}, "film.presets['a'].frames: got 20, expected 1 + 4 k"),
        (("presets",), {"a": {"what": "", "guidance": 5}}, "film.presets['a'].guidance: set, and this network was"),
        (("presets",), {"a": {"what": "", "guidance_interval": [5, 1]}}, "film.presets['a'].interval: got [5.0, 1.0]"),
        (("presets",), {"a": {"height": 16}}, "film.presets['a'].what: missing"),
        (("presets",), {"a": {"what": "\x1b[2J"}}, "film.presets: got '\\x1b[2J', expected printable characters"),
        (("presets",), [], "film.presets: got [], expected an object"),
        (("licence",), "\x1b[2J", "film.licence: got '\\x1b[2J', expected printable characters"),
    ],
)
def test_each_fault_has_its_message(path, to, message):
    data = to_json(filming())
    place = data["film"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    with pytest.raises(BundleError, match="not a valid manifest") as caught:
        Manifest.loads(json.dumps(data).encode())
    assert message in str(caught.value)


def test_lengths_of_clips():
    made = contract()
    assert [made.latent_frames(frames) for frames in (1, 5, 21, 81)] == [1, 2, 6, 21]
    assert [made.pixel_frames(latents) for latents in (0, 1, 2, 6, 21)] == [0, 1, 5, 21, 81]
    assert made.size_multiple == (16, 16)


def test_parts_by_themselves():
    assert len(steps(4)) == 4
    assert from_json(StepList, to_json(steps(2))) == steps(2)
    assert TextSpec("t.json", 8).length == 512
    assert NetworkSpec(30, 12, 128, (44, 42, 42)).freq_dim == 256
