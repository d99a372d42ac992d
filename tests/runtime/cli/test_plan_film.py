"""`a2d plan` of bundles that film: the published 1.3B shapes on every target, against figures counted by hand."""

from __future__ import annotations

import json

import pytest
from film_shapes import STATES, write

from a2d.__main__ import main
from a2d.engines.targets import TARGETS


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write(tmp_path_factory.mktemp("plan") / "wan.a2d")


def plan(bundle, capsys, *arguments: object) -> dict:
    status = main(["plan", str(bundle), "--json", *map(str, arguments)])
    found = json.loads(capsys.readouterr().out)
    assert status == (0 if found["fits"] else 1)
    return found


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "cpu"])
@pytest.mark.parametrize("size", ["480x832", "320x576"])
def test_every_target_is_told_what_a_clip_takes(bundle, capsys, target, size):
    found = plan(bundle, capsys, "--target", target, "--precision", "fp16", "--size", size, "--window", 12)
    assert [m["bytes"] >> 30 for m in found["memories"]] == sorted(TARGETS[target].memories)
    assert found["peak_bytes"] == max(found["filming_bytes"], found["encoding_bytes"])
    assert all(m["fits"] == (found["peak_bytes"] <= m["usable_bytes"]) for m in found["memories"])


def test_keys_and_values_are_those_of_the_frames_that_are_seen(bundle, capsys):
    """184,320 bytes a row in 16 bits; 1560 rows a frame at 480x832, 720 at 320x576."""
    row = 2 * 30 * 12 * 128 * 2
    for size, rows, frames in (("480x832", 1560, 21), ("480x832", 1560, 12), ("320x576", 720, 12)):
        window = 0 if frames == 21 else frames
        found = plan(bundle, capsys, "--target", "rtx", "--precision", "fp16", "--size", size, "--window", window)
        assert found["cache_bytes"] == row * rows * frames  # those that a block sees, and the block itself
        assert found["prompt_bytes"] == row * 512


def test_states_of_the_decoder_scale_with_the_picture(bundle, capsys):
    large = plan(bundle, capsys, "--target", "rtx", "--precision", "fp16", "--size", "480x832")
    small = plan(bundle, capsys, "--target", "rtx", "--precision", "fp16", "--size", "320x576")
    by_hand = sum(channels * 2 * (60 * times) * (104 * times) for channels, times in STATES) * 2
    assert large["states_bytes"] == 2 * by_hand
    assert small["states_bytes"] * (60 * 104) == large["states_bytes"] * (40 * 72)


ASKED_FOR = {
    "480x832": (311_630_848, 766_771_200 + 1_698_078_720 + 241_418_240),
    "320x576": (143_879_168, 353_894_400 + 783_728_640 + 115_834_880),
}
"""Activations that TensorRT-RTX 1.7.1 logged for engines of the published sizes (sm89, fp16): network, autoencoder."""


@pytest.mark.parametrize("size", ASKED_FOR)
def test_activations_are_those_that_engines_ask_for_and_a_little_more(bundle, capsys, size):
    network, decoder = ASKED_FOR[size]
    found = plan(bundle, capsys, "--target", "rtx", "--precision", "fp16", "--size", size, "--window", 12)
    new_rows = found["cache_bytes"] // 4  # a block of 3 frames comes out beside the 12 that are kept
    assert network <= found["network_bytes"] - new_rows <= 1.1 * network
    assert decoder <= found["decoder_bytes"] <= 1.1 * decoder
    assert found["workspace_bytes"] == 0


def test_codes_are_only_what_quantization_makes_codes(bundle, capsys):
    """UMT5's table, attention and last products stay as they are, and the network's times."""
    half, codes = (plan(bundle, capsys, "--target", "rtx", "--precision", name) for name in ("fp16", "int8"))
    table, layer, exact = 256384 * 4096, 4096 * 12288 + 4096 * 4096, 10240 * 4096
    assert half["text_bytes"] == 2 * table + 24 * (2 * (layer + 4096 * 20480) + 4 * exact)
    assert codes["text_bytes"] == 2 * table + 24 * (2 * layer + 4096 * 20480 + 4 * exact)
    times = 4 * (256 * 1536 + 1536 * 1536 + 1536 * 6 * 1536)
    assert times < codes["weights_bytes"]["frames"] < half["weights_bytes"]["frames"] / 2 + times


def test_the_text_encoder_is_not_there_while_frames_are_made(bundle, capsys):
    found = plan(bundle, capsys, "--target", "rtx", "--precision", "fp16")
    assert found["encoding_bytes"] == found["text_bytes"] > 13e9
    assert "text" not in found["weights_bytes"]
    assert found["scores_counted"] is False


def test_a_clip_that_does_not_fit_says_what_to_lower(bundle, capsys):
    arguments = ["--target", "rtx", "--precision", "fp16", "--memory", 16, "--size", "720x1280"]
    assert main(["plan", str(bundle), *map(str, arguments)]) == 1
    said = capsys.readouterr().out
    assert "does not fit in 16 GiB" in said and "to make it fit: --size 352x640" in said


def test_an_encoder_that_does_not_fit_is_named_for_no_size_helps(bundle, capsys):
    for precision, memory, wanted in (("fp16", 12, "the text encoder alone takes 13.4 GB"), ("int8", 8, "11.4 GB")):
        arguments = ["--target", "rtx", "--precision", precision, "--memory", memory, "--size", "320x576"]
        assert main(["plan", str(bundle), *map(str, arguments)]) == 1
        said = capsys.readouterr().out
        assert wanted in said and "to make it fit: --size" not in said


def test_a_longer_clip_takes_no_more_once_the_window_is_full(bundle, capsys):
    found = [
        plan(bundle, capsys, "--target", "rtx", "--precision", "fp16", "--window", 12, "--frames", frames)["peak_bytes"]
        for frames in (81, 801)
    ]
    assert found[0] == found[1]


def test_what_cannot_be_planned_is_refused(bundle, capsys):
    assert main(["plan", str(bundle), "--target", "rtx", "--precision", "fp16", "--size", "481x832"]) == 2
    assert "height: got 481, expected a multiple of 16" in capsys.readouterr().err
