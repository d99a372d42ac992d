"""Files that are there whole or not at all."""

from __future__ import annotations

import pytest

from a2d.engines.paths import written_whole


def test_a_file_takes_the_old_one_s_place_at_the_end(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("old")
    with written_whole(path) as part:
        part.write_text("new")
        assert path.read_text() == "old" and part.parent == path.parent
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), written_whole(path) as part:
        part.write_text("half")
        raise OSError(28, "the disk is full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "none" / "file") as part:
        part.write_text("new")
