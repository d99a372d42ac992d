"""A prompt's way from `a2d run` to text, and a frame's from `a2d log` to a marker, in files that one has to read.

Commands are counted in processes of their own: what a process asks of its machine once is crossed in the first
command alone, and tests share processes.
"""

from __future__ import annotations

import subprocess
import sys

from conftest import EXAMPLES
from walk import marker, prompt

FRAME = str(EXAMPLES / "slate" / "frames" / "easy-06.png")
WALK = str(EXAMPLES.parent / "tests" / "walk.py")


def walked(*words: object) -> tuple[set[str], str]:
    """Files that a whole command crosses, flags and opening the bundle included, and its output before them."""
    ran = subprocess.run([sys.executable, WALK, *map(str, words)], capture_output=True, text=True, check=True)
    lines = ran.stdout.splitlines()
    return {line for line in lines if line.endswith(".py")}, ran.stdout


def test_a_prompt_with_a_picture_crosses_fewer_than_20_files(slate):
    found = prompt(str(slate), FRAME)
    assert {"runtime/model.py", "runtime/decode/loop.py", "engines/onnxruntime.py"} <= found
    assert len(found) < 20, sorted(found)


def test_a_clip_crosses_fewer_than_35_files_to_its_markers(slate, tmp_path):
    from clips import SLATES, Recipe, held, make

    found = marker(str(slate), str(make(tmp_path, Recipe("A1.mov", [held(SLATES[0])]))))
    assert {"runtime/footage/pipeline.py", "runtime/decode/loop.py", "runtime/footage/writers/edl.py"} <= found
    assert len(found) < 35, sorted(found)


def test_a_whole_run_crosses_no_more_files_than_it_does(slate):
    found, said = walked("run", slate, "--image", FRAME)
    assert "scene" in said
    assert len(found) <= 45, sorted(found)


def test_a_whole_log_crosses_no_more_files_than_it_does(slate, tmp_path):
    from clips import SLATES, Recipe, held, make

    clip = make(tmp_path, Recipe("A1.mov", [held(SLATES[0])]))
    found, _ = walked("log", clip, "--bundle", slate, "-o", tmp_path / "log", "--quiet")
    assert {"runtime/log.py", "runtime/footage/pipeline.py", "runtime/footage/writers/edl.py"} <= found
    assert len(found) <= 64, sorted(found)
