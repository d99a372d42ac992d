"""Python as somebody types it: texts to a session, options as keywords, stop texts, slips that are told in Python."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from conftest import EXAMPLES
from toy import Toy, contract, prompt

import a2d
from a2d.engines.errors import RequestError
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
