"""A hundred clips in one run: memory is what it was after the first ten."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import pytest
from clips import Recipe, held, make, moving

WATCHED = textwrap.dedent("""
    import os, sys
    from a2d.runtime.cli.log import main
    from a2d.runtime.footage.journal import Journal

    put, page = Journal.put, os.sysconf("SC_PAGE_SIZE")

    def watched(self, clip, stamp):
        put(self, clip, stamp)
        with open("/proc/self/statm") as file:
            print("RSS", int(file.read().split()[1]) * page, flush=True)

    Journal.put = watched
    sys.exit(main(sys.argv[1:]))
""")
"""The command, and the memory that it holds after each clip."""


def remembered(card, out, *more):
    """Bytes that are resident after each clip."""
    command = [sys.executable, "-c", WATCHED, str(card), "-o", str(out), "--threads", "1", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("RSS")]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_memory_is_flat_over_a_hundred_clips(slate, tmp_path):
    first = make(tmp_path, Recipe("one.mp4", [held("easy-01.png", 24), moving(1, 24)]))
    second = make(tmp_path, Recipe("two.mov", [moving(2, 30), held("easy-10.png", 24)], Fraction(25)))
    card = tmp_path / "card"
    card.mkdir()
    for number in range(100):
        source = (first, second)[number % 2]
        shutil.copyfile(source, card / f"{number}{source.suffix}")
    flags = ["--bundle", str(slate), "--head", "0.01", "--tail", "0", "--frames", "1"]
    found = remembered(card, tmp_path / "log", *flags)
    assert len(found) == 100
    ten, last, most = (size / 1e6 for size in (found[9], found[-1], max(found)))
    print(f"after 10 clips {ten:.1f} MB, after 100 {last:.1f} MB, at most {most:.1f} MB")
    assert max(found[10:]) < 1.1 * found[9]
