"""Samples: every form, and everything that can be wrong with them."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from PIL import Image

from a2d.calibration.collect.board import drawn_board
from a2d.calibration.collect.samples import load
from a2d.engines.errors import RequestError


def image(path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)


def lines(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def test_lines_of_every_kind(tmp_path):
    image(tmp_path / "a.png")
    chat = [{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "?"}]}]
    path = lines(
        tmp_path / "data.jsonl",
        {"prompt": "read", "images": ["a.png"], "truth": "x"},
        {"messages": chat},
        "",
        {"tokens": [5, 6]},
        {"images": ["a.png"]},
    )
    first, second, third, fourth = load(path, None, 64, 0).samples
    assert first.images == (tmp_path / "a.png",) and first.truth == "x"
    assert second.images == (tmp_path / "a.png",) and second.messages == tuple(chat)
    assert fourth.prompt is None and fourth.tokens is None
    assert third.tokens == (5, 6) and third.name == "data.jsonl:4"
    assert load(tmp_path, None, 64, 0).samples == (first, second, third, fourth)  # a folder is its data.jsonl


def test_a_folder_of_images_with_one_prompt(tmp_path):
    for name in ("take10", "take2"):
        image(tmp_path / f"{name}.png")
    found = load(tmp_path, "read", 64, 0)
    assert [s.images[0].name for s in found.samples] == ["take2.png", "take10.png"]
    assert [s.prompt for s in found.samples] == ["read", "read"]
    assert load(tmp_path, None, 64, 0).samples[0].prompt is None  # the bundle's own question


def test_a_draw_is_repeatable_and_without_repetition(tmp_path):
    path = lines(tmp_path / "d.jsonl", *({"tokens": [i]} for i in range(50)))
    drawn = [load(path, None, 10, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({s.tokens for s in drawn[0].samples}) == 10


def test_the_digest_is_of_the_content(tmp_path):
    image(tmp_path / "a.png")
    path = lines(tmp_path / "d.jsonl", {"prompt": "x", "images": ["a.png"]})
    before = load(path, None, 4, 0).digest
    Image.fromarray(np.ones((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    assert load(path, None, 4, 0).digest != before


def test_samples_that_are_all_the_same_are_told(tmp_path):
    path = lines(tmp_path / "d.jsonl", *[{"tokens": [5]}] * 3)
    assert "all 3 samples are the same" in load(path, None, 64, 0).notes[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no samples in it"),
        (["{"], "line 1: it is not JSON"),
        ([{"prompt": 5}], "prompt: not of the expected type"),
        ([{"prompt": "x", "tokens": [5]}], "one of"),
        ([{"truth": "x"}], "one of"),
        ([{"prompt": "x", "picture": "a"}], "one of"),
        ([{"tokens": ["5"]}], "tokens: not of the expected type"),
        ([{"messages": ["x"]}], "messages: not of the expected type"),
        ([{"prompt": "x", "images": ["a.png", "b.png"]}], "2 faults"),
        ([{"prompt": "x", "images": ["a.png"]}], "a.png: no such image"),
    ],
)
def test_bad_data_is_refused_with_all_faults(tmp_path, rows, message):
    with pytest.raises(RequestError, match=message):
        load(lines(tmp_path / "d.jsonl", *rows), None, 64, 0)


def test_no_such_file_and_no_samples(tmp_path):
    with pytest.raises(RequestError, match="cannot be read"):
        load(tmp_path / "nowhere.jsonl", None, 64, 0)
    with pytest.raises(RequestError, match="no samples in it"):
        load(tmp_path, "read", 64, 0)
    with pytest.raises(RequestError, match="the setting samples: got 0"):
        load(tmp_path, "read", 0, 0)


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ('{"prompt": "hi", "images": null, "truth": null}\n', 1),
        ('\ufeff{"prompt": "hi"}\n', 1),
        ('{"prompt": "a"}\r\n{"prompt": "b"}\r\n', 2),
        ('{"prompt": "a"}\r{"prompt": "b"}', 2),
        ('{"prompt": "one\u2028line\u0085still"}\n\n\n', 1),
    ],
)
def test_lines_as_other_programs_write_them(tmp_path, content, count):
    (tmp_path / "d.jsonl").write_bytes(content.encode())
    assert len(load(tmp_path / "d.jsonl", None, 9, 0).samples) == count


@pytest.mark.parametrize(
    "row", ['{"tokens": 5}', '{"messages": null}', '{"images": 3}', '{"prompt": ["a"]}', '{"messages": [4]}', "null"]
)
def test_every_fault_is_told_with_its_line(tmp_path, row):
    (tmp_path / "d.jsonl").write_text(f'{{"prompt": "fine"}}\n{row}\n', encoding="utf-8")
    with pytest.raises(RequestError, match="line 2"):
        load(tmp_path / "d.jsonl", None, 9, 0)


ROWS = [{"prompt": "naïve"}, {"prompt": "b", "images": None, "truth": None}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le-mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_byte_order_mark_and_line_end_is_read(tmp_path, encoding, end):
    text = end.join(json.dumps(row, ensure_ascii=False) for row in ROWS) + end
    raw = b"\xff\xfe" + text.encode("utf-16-le") if encoding.endswith("mark") else text.encode(encoding)
    (tmp_path / "d.jsonl").write_bytes(raw)
    found = load(tmp_path / "d.jsonl", None, 64, 0).samples
    assert [s.prompt for s in found] == ["naïve", "b"] and found[1].images == () and found[1].truth is None


def test_a_list_is_called_one(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps(ROWS, indent=1), "utf-8")
    with pytest.raises(RequestError, match="a JSON list, expected one object a line"):
        load(tmp_path / "d.json", None, 64, 0)


def test_boards_differ_and_are_pictures():
    chance = np.random.default_rng(0)
    first, second = drawn_board(chance), drawn_board(chance)
    assert first.dtype == np.uint8 and first.shape == (224, 448, 3) and (first != second).mean() > 0.1


def test_joined_files_have_their_marks_in_the_middle(tmp_path):
    (tmp_path / "d.jsonl").write_bytes(b"".join(b'\xef\xbb\xbf{"prompt": "%d"}\n' % i for i in range(3)))
    assert [s.prompt for s in load(tmp_path / "d.jsonl", None, 64, 0).samples] == ["0", "1", "2"]


def urls(path):
    image(path / "a b.png")
    raw = base64.b64encode((path / "a b.png").read_bytes()).decode()
    return ["a b.png", str(path / "a b.png"), (path / "a b.png").as_uri(), f"data:image/png;base64,{raw}"]


@pytest.mark.parametrize("i", range(4))
def test_every_address_of_a_picture_is_read_in_images_and_in_messages(tmp_path, i):
    url = urls(tmp_path)[i]
    part = {"type": "image_url", "image_url": {"url": url}}
    told = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "?"}]}]}
    found = load(lines(tmp_path / "d.jsonl", {"images": [url]}, told), None, 64, 0).samples
    pictures = [sample.images[0] for sample in found]
    content = [p if isinstance(p, bytes) else p.read_bytes() for p in pictures]
    assert content == [(tmp_path / "a b.png").read_bytes()] * 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": []}, "tokens: empty"),
        ({"prompt": ""}, "prompt: empty"),
        ({"messages": []}, "messages: empty"),
        ({"messages": [{"role": "user", "content": None}]}, "content of a user: empty"),
        ({"prompt": "\ud800"}, "not valid Unicode"),
        ({"images": ["https://example.com/x.png"]}, "not fetched"),
        ({"images": [None]}, "images: not of the expected type"),
        ({"messages": [{"role": "user", "content": [None]}]}, "got a message part None"),
        ({"prompt": None, "images": None}, "one of"),
    ],
)
def test_nothing_to_ask_is_a_fault_of_its_line(tmp_path, row, message):
    with pytest.raises(RequestError, match=message) as error:
        load(lines(tmp_path / "d.jsonl", {"prompt": "fine"}, json.dumps(row)), None, 64, 0)
    assert "line 2: " in str(error.value)


PLACE = {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "hi", "image": None}]}


def test_places_of_pictures_are_filled_from_images(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (sample,) = load(lines(tmp_path / "d.jsonl", {"messages": [PLACE], "images": ["a.png"]}), None, 4, 0).samples
    assert sample.images == (tmp_path / "a.png",)
    assert [sorted(part) for part in sample.messages[0]["content"]] == [["image", "type"], ["text", "type"]]
    with pytest.raises(RequestError, match='1 places for pictures in the messages and 0 in "images"'):
        load(lines(tmp_path / "d.jsonl", {"messages": [PLACE]}), None, 4, 0)
