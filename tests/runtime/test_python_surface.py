"""Python as somebody types it: texts to a session, options as keywords, stop texts, slips that are told in Python."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from conftest import EXAMPLES
from toy import Toy, contract, prompt

import a2d
from a2d.engines.errors import BundleError, EngineError, RequestError
from a2d.runtime.cli.chat import talk
from a2d.runtime.decode.options import Options

FRAME = EXAMPLES / "slate" / "frames" / "easy-10.png"


@pytest.fixture(scope="module")
def model(slate) -> a2d.Model:
    return a2d.load(slate, threads=1)


def test_a_session_takes_what_a_model_takes(model):
    wanted = model.generate("read the slate", images=[FRAME], steps=2)
    session = model.session()
    assert session.generate("read the slate", images=[FRAME], steps=2).tokens == wanted.tokens
    parts = [{"type": "image", "image": str(FRAME)}, {"type": "text", "text": "read the slate"}]
    again = session.generate([{"role": "user", "content": parts}], steps=2)
    assert again.tokens == wanted.tokens and again.cached_tokens > 0
    assert session.generate(model.prompt(images=[FRAME]), a2d.Options(steps=2)).tokens == wanted.tokens
    with pytest.raises(RequestError, match="images beside a prompt that is made already"):
        session.generate(model.prompt(images=[FRAME]), images=[FRAME])
    with pytest.raises(RequestError, match="unknown option step; the options are max_tokens"):
        session.generate("read the slate", images=[FRAME], step=2)


def test_a_session_of_rows_alone_says_so():
    with pytest.raises(RequestError, match="got a prompt str, and this session knows rows alone"):
        Toy().session(contract()).generate("hello")


@pytest.mark.parametrize("one", [str(FRAME), FRAME, np.zeros((8, 8, 3), np.uint8), b"GIF"])
def test_one_picture_is_no_list_of_them(model, one):
    with pytest.raises(RequestError, match=r"images: got one picture, .*expected a list of them: images=\[\.\.\.\]"):
        model.generate(images=one)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"precision": 3}, "precision: got 3, expected a name"),
        ({"device": 3}, "device: got 3, expected a name"),
        ({"engine": ["onnxruntime"]}, "engine: got .*, expected a name"),
        ({"threads": True}, "threads: got True, expected a whole number"),
    ],
)
def test_a_placement_of_the_wrong_kind_is_told(slate, kind, said):
    with pytest.raises((RequestError, EngineError), match=said):
        a2d.load(slate, **kind)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"form": None}, "form: got NoneType, expected what Model.shape makes"),
        ({"form": "take {take:int}"}, "form: got str, expected what Model.shape makes"),
        ({"template_options": ["enable_thinking"]}, "template_options: got list, expected variables"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_told(model, kind, said):
    with pytest.raises(RequestError, match=said):
        model.generate(images=[FRAME], **kind)


@pytest.mark.parametrize("asked", [{"template": 3}, {"choices": "ab"}, {"choices": [1]}, {"choices": []}])
def test_a_shape_of_the_wrong_kind_is_told(model, asked):
    (name,) = asked
    with pytest.raises(RequestError, match=f"{name}: got "):
        model.shape(**asked)


def test_stop_texts_end_an_answer_before_them(model):
    whole = model.generate(images=[FRAME], steps=4)
    assert " roll " in whole.text
    cut = model.generate(images=[FRAME], steps=4, stop_texts=("nothing", " roll "))
    assert cut.text == whole.text.partition(" roll ")[0] and cut.stop_reason == "stop"
    assert cut.forwards < whole.forwards and whole.tokens[: len(cut.tokens)] == cut.tokens
    earlier = model.generate(images=[FRAME], steps=4, stop_texts=("roll", "take"))
    assert earlier.text == whole.text.partition("take")[0]
    with pytest.raises(RequestError, match="stop_texts"):
        model.generate(images=[FRAME], stop_texts="roll")


def test_a_result_before_the_end_says_that_it_is_not_finished():
    generation = Toy().session(contract()).stream(prompt([5, 6]), Options(max_tokens=9))
    assert generation.result.stop_reason == "unfinished"
    assert generation.run().stop_reason in ("stop", "length")
    cancelled = Toy().session(contract()).stream(prompt([5, 6]), Options(max_tokens=9))
    cancelled.cancel()
    assert cancelled.run().stop_reason == "cancelled"


def test_a_model_says_what_it_is(model):
    assert repr(model).startswith("Model('") and "fp32 by onnxruntime on cpu" in repr(model)


def test_loading_is_logged_and_prints_nothing(slate, caplog, capsys):
    with caplog.at_level(logging.INFO, "a2d"):
        a2d.load(slate, threads=1)
    assert any("fp32 by onnxruntime on cpu" in record.getMessage() for record in caplog.records)
    assert capsys.readouterr() == ("", "")


def test_a_conversation_goes_on_with_what_was_said(model):
    lines = iter(["read the slate", "", "and again", "/bye", "never"])
    seen = []
    count = talk(model, Options(max_tokens=16, steps=2), {}, lambda: next(lines, None), lambda g: seen.append(g.run()))
    assert count == 2 == len(seen) and seen[1].cached_tokens > 0 and seen[1].prompt_tokens > seen[0].prompt_tokens
    assert talk(model, Options(), {}, lambda: None, seen.append) == 0


@pytest.mark.parametrize("prompt", [3, 1.5, {"role": "user", "content": "x"}, {5, 6}, (i for i in (5, 6)), FRAME])
def test_what_is_no_prompt_says_so(model, prompt):
    with pytest.raises(RequestError, match=r"prompt: got \w+, expected a text, a conversation \(a list of messages"):
        model.generate(prompt, images=[FRAME])


@pytest.mark.parametrize("together", ["2", 1.5, True, 0, 10**6])
def test_frames_side_by_side_are_a_bounded_number(model, together):
    with pytest.raises(RequestError, match=f"together: got {together!r}, expected 1 to 1024"):
        model.each([FRAME], together=together)


def test_no_more_sessions_than_frames(model, monkeypatch):
    made = []
    monkeypatch.setattr(model, "session", lambda **how: made.append(how) or a2d.Model.session(model, **how))
    assert len(list(model.each([FRAME, FRAME], together=1024, max_tokens=8))) == 2 == len(made)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"stop_texts": ("a", "")}, "stop_texts: got an empty text"),
        ({"options": {"max_tokens": 4}}, r"options: got dict, expected Options\(...\)"),
        ({"template_options": {"messages": 3}}, "template_options: messages of the chat template"),
    ],
)
def test_options_that_would_do_nothing_or_all(model, chosen, message):
    with pytest.raises(RequestError, match=message):
        model.generate(images=[FRAME], **chosen)


def test_a_temperature_that_is_zero_in_float32_takes_the_most_probable_token(model):
    wanted = model.generate(images=[FRAME], max_tokens=16)
    assert model.generate(images=[FRAME], max_tokens=16, temperature=1e-300).tokens == wanted.tokens


@pytest.mark.parametrize("bundle", [None, 3, b"slate", "", "a\0b"])
def test_what_is_no_bundle_at_all(bundle):
    with pytest.raises(BundleError, match="as a bundle, expected the path of a folder, or a name: slate"):
        a2d.load(bundle)


@pytest.mark.parametrize("threads", [0, "2", 1.5, 10**6, 2**40])
def test_threads_are_a_bounded_number(slate, threads):
    with pytest.raises(EngineError, match="expected a whole number, 1 to 1024"):
        a2d.load(slate, threads=threads, verify=False).generate(images=[FRAME], max_tokens=1)


def test_a_folder_of_engines_that_is_not_there(slate, tmp_path):
    with pytest.raises(RequestError, match="nowhere is not a folder, expected one that `a2d build` wrote"):
        a2d.load(slate, engines=tmp_path / "nowhere")
