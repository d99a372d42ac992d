"""A video file, read by PyAV (FFmpeg's libraries): what it says of itself, its frames in order, and some of them again.

The one file that imports PyAV. The source is opened for reading only, by demuxers of the table below (FFmpeg knows
others, some of which open what a file names), and by the `file` protocol alone: nothing is fetched. Frames come out as
a player shows them, turned upright and with square pixels. Knows nothing of shots, models or what is asked.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ...engines.errors import ClipError
from ..inputs.images import DEFAULT_PIXEL_BUDGET
from .timecode import Timebase, drops, nearest_rate

__all__ = ["FORMATS", "Media"]

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mxf,mpegts,mpeg,mpegvideo,dv,asf,flv,gxf,lxf,ogg,nut,ivf,vob"
FORMATS += ",yuv4mpegpipe"
"""FFmpeg's names of the containers that are read. Bare streams of H.264 and the like are none: they hold no times."""

SMALL = 256
"""Pixels of the longer side of a frame that shots are found on."""

FAR = 2.0
"""Seconds from which on seeking is worth while."""

BEFORE = 1.0
"""Seconds before the wanted frame that are decoded as well, since frames around a cut lean on each other."""


class Media:
    """An open clip. A context manager; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path, self._turns = path, 0
        _check_file(path)
        self._container: Any = None
        try:
            with self._reading():
                self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Media:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        if self._container is not None:
            self._container.close()

    @property
    def timebase(self) -> Timebase:
        """How its frames are counted. Raises ClipError where the file gives no usable rate."""
        stream = self._stream
        for rate in (stream.guessed_rate, stream.average_rate):
            try:
                known = nearest_rate(Fraction(rate or 0))
            except ValueError:
                continue
            code = self._timecode()
            return Timebase(known, drop=code is not None and ";" in code and drops(known))
        raise ClipError(f"{self.path} gives no rate of frames, expected one; it may hold a single picture")

    @property
    def start(self) -> int | None:
        """The first frame by the file's time code; None where it has none, or one that its rate does not have."""
        code = self._timecode()
        try:
            return None if code is None else self.timebase.frame(code)
        except ValueError:
            return None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in square pixels; upright once a frame was seen, which is where a turn is written."""
        width, height = max(1, round(self._stream.width * self._aspect)), self._stream.height
        return (height, width) if self._turns % 2 else (width, height)

    @property
    def promised(self) -> float:
        """Seconds of video by the header; 0 where it does not say. Raises ClipError where that is no number."""
        with self._reading():
            return self._promised()

    def _promised(self) -> float:
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if "DURATION" in stream.metadata:  # Matroska's
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        duration = self._container.duration  # of all streams, in microseconds
        return duration / 1e6 if duration and len(self._container.streams) == 1 else 0.0

    def small(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Every frame in the order in which they are shown: its time stamp, and a small picture `[h, w, 3]`, BGR."""
        width, height = self._stream.width, self._stream.height
        scale = min(1.0, SMALL / max(width, height))
        small = {"width": max(8, round(width * scale)), "height": max(8, round(height * scale))}
        for frame in self._decoded():
            with self._reading():
                self._turns = _turns(frame)
                picture = frame.reformat(**small, format="bgr24", interpolation="AREA").to_ndarray()
            yield frame.pts, picture

    def pictures(self, stamps: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """The frames with these time stamps, in rising order, as RGB `[H, W, 3]`, upright.

        Raises ClipError where one is not there any more.
        """
        frames, at, seeks = self._decoded(), None, True
        for stamp in stamps:
            if seeks and (at is None or self.seconds(stamp - at) > FAR):
                frames = self._sought(stamp)
            frame = _until(frames, stamp)
            if seeks and (frame is None or frame.pts != stamp):  # some files' indexes lead astray
                frames, seeks = self._again(), False
                frame = _until(frames, stamp)
            if frame is None or frame.pts != stamp:
                raise ClipError(f"{self.path} lacks a frame that it had before: it changed while it was read")
            at = stamp
            with self._reading():
                picture = self._shown(frame)
            yield picture

    def seconds(self, stamps: int) -> float:
        """A distance of time stamps in seconds."""
        return float(stamps * self._stream.time_base)

    def _open(self) -> None:
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
        self._container = av.open(str(self.path.absolute()), "r", options=options, metadata_errors="replace")
        streams = [s for s in self._container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise ClipError(f"{self.path} has no video, expected a clip; a recording of sound alone is not logged")
        self._stream: Any = streams[0]
        if self._stream.codec_context is None:
            raise ClipError(f"{self.path} holds a kind of video that FFmpeg does not know; transcode it, and log that")
        self._stream.thread_type = "AUTO"
        self._check_size()

    def _check_size(self) -> None:
        width, height = self._stream.width, self._stream.height
        if not 0 < width * height <= DEFAULT_PIXEL_BUDGET:
            raise ClipError(
                f"{self.path} has frames of {width}x{height} pixels, expected 1 to {DEFAULT_PIXEL_BUDGET} in all; "
                "make a smaller copy and log that"
            )

    @property
    def _aspect(self) -> float:
        """Width of a pixel by its height."""
        ratio = self._stream.sample_aspect_ratio
        return float(ratio) if ratio and 0.1 <= ratio <= 10 else 1.0

    def _timecode(self) -> str | None:
        """The file's time code: its video's, its own, or that of a track beside them."""
        for holder in (self._stream, self._container, *self._container.streams):
            for name, value in holder.metadata.items():
                if name.lower() == "timecode":
                    return str(value)
        return None

    def _decoded(self) -> Iterator[Any]:
        """Frames from where the file stands, in the order of their time stamps; those without one are never shown."""
        with self._reading():
            frames = self._container.decode(self._stream)
        last = None
        while True:
            with self._reading():
                frame = next(frames, None)
            if frame is None:
                return
            if frame.pts is not None and (last is None or frame.pts > last):
                last = frame.pts
                yield frame

    def _sought(self, stamp: int) -> Iterator[Any]:
        """Frames from some time before `stamp`."""
        with self._reading():
            self._container.seek(max(0, stamp - round(BEFORE / self._stream.time_base)), stream=self._stream)
        return self._decoded()

    def _again(self) -> Iterator[Any]:
        """Frames from the very first one."""
        self.close()
        with self._reading():
            self._open()
        return self._decoded()

    def _shown(self, frame: Any) -> NDArray[np.uint8]:
        wide = max(1, round(frame.width * self._aspect))
        scaled = frame if wide == frame.width else frame.reformat(width=wide, interpolation="BICUBIC")
        pixels: NDArray[np.uint8] = scaled.to_ndarray(format="rgb24")
        return np.ascontiguousarray(np.rot90(pixels, _turns(frame)))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """FFmpeg's errors as ours; what the operating system says stays an OSError.

        Every other exception is caught on purpose: on damaged files PyAV raises AttributeError, IndexError and more,
        and which ones is not documented.
        """
        try:
            yield
        except (ClipError, OSError):
            raise
        except Exception as error:
            if isinstance(error, MemoryError) and not isinstance(error, av.FFmpegError):
                raise  # FFmpeg's own means that a damaged header asks for absurdly much
            why = (getattr(error, "strerror", None) or str(error)).rstrip(".").lower()
            raise ClipError(
                f"{self.path} is damaged, unfinished or no video ({why}), expected one of the containers that are "
                f"read ({', '.join(FORMATS.split(',')[:9])}, ...); copy it again, or let its writer finish"
            ) from error


def _turns(frame: Any) -> int:
    """Quarters by which a frame is turned, against the clock, to be upright."""
    return int(round(frame.rotation / 90) % 4)


def _until(frames: Iterator[Any], stamp: int) -> Any:
    """The first frame that is not before `stamp`; None where there is none."""
    return next((frame for frame in frames if frame.pts >= stamp), None)


def _check_file(path: Path) -> None:
    """Refuse what is no regular file with bytes in it; opening a pipe or a device could block for ever."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ClipError(f"{path} is a folder, a device or a pipe, expected a file of footage")
    if not status.st_size:
        raise ClipError(f"{path} is empty, expected footage; check that its writer has finished")
