"""The built-in slate reader, through the whole runtime: read as transformers' own classes read, and well enough."""

from __future__ import annotations

import json

import pytest
from conftest import EXAMPLES

import a2d
from a2d.engines.errors import RequestError

CHECKPOINT = EXAMPLES / "slate" / "model"
FRAMES = EXAMPLES / "slate" / "frames"
TRUTH = json.loads((FRAMES / "truth.json").read_text(encoding="utf-8"))
SLATES = [entry for entry in TRUTH if entry["truth"] != "no slate"]


@pytest.fixture(scope="module")
def model(slate):
    return a2d.load(slate, threads=1)


@pytest.fixture(scope="module")
def plain():
    from plain_reader import PlainReader

    return PlainReader(CHECKPOINT)


@pytest.mark.parametrize("steps, threshold", [(4, None), (2, None), (8, 0.9)])
@pytest.mark.parametrize("entry", TRUTH, ids=lambda entry: entry["file"])
def test_a_frame_is_read_as_a_plain_loop_over_transformers_reads_it(model, plain, entry, steps, threshold):
    frame = FRAMES / entry["file"]
    wanted = plain.read(frame, steps, threshold)
    for commit in ("merged", "separate"):
        chosen = {"images": [frame], "max_tokens": 40, "commit": commit}
        rule = {"steps": steps} if threshold is None else {"threshold": threshold}
        assert model.generate(**chosen, **rule).text == wanted


def test_a_second_question_does_not_run_the_image_again(model):
    session = model.session()
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "read the slate"}]}
    image = [FRAMES / TRUTH[0]["file"]]
    first = session.generate(model.prompt([question], image), a2d.Options(max_tokens=64))
    more = [question, {"role": "assistant", "content": first.text}, {"role": "user", "content": "read the slate"}]
    second = session.generate(model.prompt(more, image), a2d.Options(max_tokens=64))
    assert second.cached_tokens >= first.prompt_tokens
    assert second.tokens


def test_two_images_in_one_prompt(model, monkeypatch):
    images = [FRAMES / entry["file"] for entry in TRUTH[:2]]
    with pytest.raises(RequestError, match="got 2 images, and this model was made for one frame at a time"):
        model.prompt("read the slate", images)
    monkeypatch.setattr(type(model), "_check_one", lambda *_: None)  # the family's own way with several
    prompt = model.prompt("read the slate", images)
    assert prompt.rows.is_feature.sum() == 2 * 128
    assert model.generate("read the slate", images=images, max_tokens=16).tokens


def test_a_stack_of_frames_is_a_video(model):
    frames = [FRAMES / entry["file"] for entry in TRUTH[:4]]
    prompt = model.prompt("read the slate", [frames])
    assert prompt.rows.is_feature.sum() == 2 * 128  # two groups of two frames
    assert model.generate("read the slate", images=[frames], max_tokens=16).tokens


def test_a_reader_is_shown_text_up_to_the_stop_token(model):
    stop = model.manifest.decode.stop_token_ids[0]
    words = model._text.encode("take 9").tolist()
    assert model.text([*words, stop, *words]) == "take 9"
    assert model.text([stop]) == ""
