"""A prompt's way from `a2d run` to text, and a frame's from `a2d log` to a marker, in files that one has to read."""

from __future__ import annotations

from conftest import EXAMPLES
from walk import command, prompt

FRAME = str(EXAMPLES / "slate" / "frames" / "easy-06.png")


def test_a_prompt_with_a_picture_crosses_fewer_than_20_files(slate):
    found = prompt(str(slate), FRAME)
    assert {"runtime/model.py", "runtime/decode/loop.py", "engines/onnxruntime.py"} <= found
    assert len(found) < 20, sorted(found)


def test_a_whole_run_crosses_no_more_files_than_it_does(slate, capsys):
    """Flags and opening the bundle included."""
    assert len(command("run", str(slate), "--image", FRAME)) <= 37
    assert "scene" in capsys.readouterr().out


def test_a_whole_log_crosses_no_more_files_than_it_does(slate, tmp_path, capsys):
    from clips import SLATES, Recipe, held, make

    clip = make(tmp_path, Recipe("A1.mov", [held(SLATES[0])]))
    found = command("log", str(clip), "--bundle", str(slate), "-o", str(tmp_path / "log"), "--quiet")
    assert {"runtime/log.py", "runtime/footage/pipeline.py", "runtime/footage/writers/edl.py"} <= found
    assert len(found) <= 62
