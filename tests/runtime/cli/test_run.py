"""`a2d run` around the decoding: messages from a file, tokens as words, and what stops before a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundles import write

from a2d.engines.errors import RequestError
from a2d.runtime.cli.run import _messages, main


def saved(folder: Path, data: object) -> Path:
    path = folder / "messages.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_pictures_of_messages_lie_beside_their_file(tmp_path):
    parts = [
        {"type": "image", "image": "a.png"},
        {"type": "video", "video": ["0.png", "/abs/1.png"]},
        {"type": "text", "text": "b"},
        "bare",
    ]
    made = _messages(saved(tmp_path, [{"role": "user", "content": parts}, {"role": "assistant", "content": "c"}]))
    assert made[0]["content"] == [
        {"type": "image", "image": str(tmp_path / "a.png")},
        {"type": "video", "video": [str(tmp_path / "0.png"), "/abs/1.png"]},
        {"type": "text", "text": "b"},
        {"type": "text", "text": "bare"},
    ]
    assert made[1] == {"role": "assistant", "content": "c"}


@pytest.mark.parametrize("data", [{}, [], "hello", 3, None, ["hello"]])
def test_what_is_no_list_of_messages(tmp_path, data):
    with pytest.raises(RequestError, match="expected a list of"):
        _messages(saved(tmp_path, data))


@pytest.mark.parametrize("raw", [b"", b"{", b'[{"role": "a", "role": "b"}]', b"\xff\xfe[]", b"[NaN]", b"[" * 10**5])
def test_what_is_no_json_in_utf_8(tmp_path, raw):
    (tmp_path / "messages.json").write_bytes(raw)
    with pytest.raises(RequestError, match="is not a JSON file in UTF-8"):
        _messages(tmp_path / "messages.json")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RequestError, match="none.json: no such file"):
        _messages(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--each"], "--each: no image came; give files or folders with --image"),
        (
            ["--each", "--image", "a.png", "--messages", "x.json"],
            "--each and --messages: messages name their own images",
        ),
        (["--token-ids", "1;2"], "expected ids like 1,2,3"),
        (["--token-ids", "1", "--prompt", "a"], "not allowed with argument"),
        (["--token-ids", "1", "--precision", "fp7"], "got precision 'fp7', this bundle holds fp32"),
        (["--token-ids", "1", "--steps", "x"], "invalid int value"),
    ],
)
def test_bad_input_ends_with_status_2_and_a_reason(tmp_path, capsys, arguments, message):
    assert main([str(write(tmp_path / "b.a2d")), *arguments]) == 2
    assert message in capsys.readouterr().err
