"""Movies, frame by frame; the one file that imports PyAV for writing.

Frames go into a fragmented file beside the target, which is readable whenever its writer stops; at the end it is
copied, without encoding again, into a plain one that every program takes. The rate is the film's own, never another.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from ...engines.errors import RequestError
from ..footage.timecode import nearest_rate

__all__ = ["KINDS", "Movie", "codecs_here", "opened"]

BT709 = 1
"""Number of the colours of HD television, in which pixels are written whatever their size."""


@dataclass(frozen=True)
class Kind:
    """A codec in a container."""

    container: str
    codecs: tuple[str, ...]
    """Best first: which ones there are depends on how FFmpeg was built."""
    pixels: str
    options: dict[str, str]
    even: bool
    """Sides are halved by its chroma."""


KINDS = {
    # No frame waits for later ones, so that a film that is cut short has lost none.
    ".mp4": Kind(
        "mp4", ("libx264", "mpeg4"), "yuv420p", {"crf": "14", "preset": "medium", "tune": "zerolatency"}, True
    ),
    ".mov": Kind("mov", ("prores_ks",), "yuv422p10le", {"profile": "hq", "vendor": "apl0"}, False),
}
"""Ending to codec."""


class Movie:
    """One film on its way to a file."""

    def __init__(self, path: Path, kind: Kind, height: int, width: int, rate: Fraction, facts: str) -> None:
        self.place, self.written = path, 0
        self._kind, self._facts, self._rate = kind, facts, rate
        self._part = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with _told(path):
            options = {"movflags": "frag_every_frame+empty_moov", "flush_packets": "1"}
            self._container = av.open(str(self._part), "w", format=kind.container, options=options)
        self._container.metadata["comment"] = facts
        self._stream = self._made_stream(height, width)
        self._open, self._failed, self._whole = True, False, 0

    def add(self, frames: NDArray[np.uint8]) -> None:
        """See `FrameWriter.add`."""
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
            coded = frame.reformat(format=self._kind.pixels, dst_colorspace=Colorspace.ITU709)
            coded.pts, coded.time_base = self.written, 1 / self._rate
            self._failed = True
            with _told(self.place):
                self._container.mux(self._stream.encode(coded))
            self._failed, self._whole = False, self._part.stat().st_size
            self.written += 1

    def close(self) -> None:
        """See `FrameWriter.close`."""
        plain = self._part.with_suffix(".plain")
        try:
            with _told(self.place):
                self._end()
                _copied(self._part, plain, self._kind.container, self._facts)
            plain.replace(self.place)
            self._part.unlink()
        except OSError:
            plain.unlink(missing_ok=True)
            self.keep()
            raise

    def keep(self) -> None:
        """See `FrameWriter.keep`."""
        with contextlib.suppress(OSError, av.FFmpegError):
            self._end()
        if not self._part.exists():
            return
        if self._failed:
            os.truncate(self._part, self._whole)  # half a frame would make readers stumble
        self.written = _readable(self._part)  # the last frame may have been cut
        if self.written:
            self._part.replace(self.place)
        else:
            self._part.unlink()

    def _end(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def _made_stream(self, height: int, width: int) -> Any:
        names = [name for name in self._kind.codecs if name in av.codecs_available]
        if not names:
            raise RequestError(
                f"{self.place}: this PyAV has none of {', '.join(self._kind.codecs)}; write PNG files instead"
            )
        options = self._kind.options if names[0] != "mpeg4" else {"qscale": "2"}
        stream = self._container.add_stream(names[0], rate=self._rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, self._kind.pixels
        context = stream.codec_context
        context.time_base = 1 / self._rate
        context.color_primaries = context.color_trc = context.colorspace = BT709
        return stream


def opened(path: Path, height: int, width: int, fps: float, facts: str) -> Movie:
    """A movie at `path`, by its ending. Raises RequestError for a folder, or a size that its codec cannot hold."""
    kind = KINDS[path.suffix.lower()]
    if path.is_dir():
        raise RequestError(f"{path} is a folder, expected the name of a file")
    if kind.even and (height % 2 or width % 2):
        raise RequestError(
            f"{path}: got {width}x{height}, which H.264 cannot hold: both have to be even; write PNG files"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return Movie(path, kind, height, width, nearest_rate(Fraction(fps).limit_denominator(100_000)), facts)


def _copied(source: Path, target: Path, container: str, facts: str) -> None:
    """The same packets in a plain file, whose index stands in front."""
    with (
        av.open(str(source)) as old,
        av.open(str(target), "w", format=container, options={"movflags": "faststart"}) as new,
    ):
        new.metadata["comment"] = facts
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)


def _readable(path: Path) -> int:
    """Frames that can be decoded."""
    count = 0
    with contextlib.suppress(OSError, av.FFmpegError), av.open(str(path)) as container:
        for _ in container.decode(video=0):
            count += 1
    return count


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """FFmpeg's errors as the system's, with the file's name."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, f"{error.strerror or error}", str(path)) from error


def codecs_here() -> dict[str, str | None]:
    """Name of the codec that movies of each ending would have here, None where this PyAV has none of them."""
    return {
        ending: next((name for name in kind.codecs if name in av.codecs_available), None)
        for ending, kind in KINDS.items()
    }
