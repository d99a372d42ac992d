"""The trained slate reader: every frame is read exactly as the checkpoint reads it."""

from __future__ import annotations

import json

import pytest
from conftest import DATA

import a2d

FRAMES = DATA / "slate"
READINGS = json.loads((FRAMES / "readings.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(slate):
    return a2d.load(slate, threads=1)


@pytest.mark.parametrize("commit", ["merged", "separate"])
@pytest.mark.parametrize("entry", READINGS, ids=lambda entry: entry["file"])
def test_readings(model, entry, commit):
    chosen = {"images": [FRAMES / entry["file"]], "max_tokens": 64, "commit": commit}
    assert model.generate("read the slate", steps=4, **chosen).text == entry["read_4_steps"]
    assert model.generate("read the slate", threshold=0.9, **chosen).text == entry["read_threshold_0.9"]


def test_a_second_question_does_not_run_the_image_again(model):
    session = model.session()
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "read the slate"}]}
    image = [FRAMES / READINGS[0]["file"]]
    first = session.generate(model.prompt([question], image), a2d.Options(max_tokens=64))
    more = [question, {"role": "assistant", "content": first.text}, {"role": "user", "content": "read the slate"}]
    second = session.generate(model.prompt(more, image), a2d.Options(max_tokens=64))
    assert second.cached_tokens >= first.prompt_tokens
    assert second.text


def test_two_images_in_one_prompt(model):
    images = [FRAMES / entry["file"] for entry in READINGS[:2]]
    prompt = model.prompt("read the slate", images)
    assert prompt.is_feature.sum() == 2 * 128
    assert model.generate("read the slate", images=images, max_tokens=16).tokens


def test_a_stack_of_frames_is_a_video(model):
    frames = [FRAMES / entry["file"] for entry in READINGS[:4]]
    prompt = model.prompt("read the slate", [frames])
    assert prompt.is_feature.sum() == 2 * 128  # two groups of two frames
    assert model.generate("read the slate", images=[frames], max_tokens=16).tokens


def test_a_reader_is_shown_text_up_to_the_stop_token(model):
    stop = model.manifest.decode.stop_token_ids[0]
    words = model._text.encode("take 9").tolist()
    assert model.text([*words, stop, *words]) == "take 9"
    assert model.text([stop]) == ""
