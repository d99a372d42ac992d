"""A video file, read by PyAV (FFmpeg's libraries): what it says of itself, its frames in order, and some of them again.

The one file that imports PyAV. The source is opened for reading only, by demuxers of the table below (FFmpeg knows
others, some of which open what a file names), and by the `file` protocol alone: nothing is fetched. Frames come out as
a player shows them: upright, unmirrored, with square pixels and in SDR. Where time stamps begin again, as in recordings
that were joined, they are counted on. Knows nothing of shots, models or what is asked.
"""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from ...engines.errors import ClipError, SoundOnlyError
from ..inputs.images import DEFAULT_PIXEL_BUDGET
from .boxes import recordings
from .display import HDR, UPRIGHT, Orientation, is_hd, to_sdr
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


UNTAGGED = 2
"""FFmpeg's number of a matrix that nobody named."""

BACK = 0.5
"""Seconds by which a time stamp lies before the last one where another recording begins; less is a muxer's disorder."""

LEAP = 10.0
"""Seconds by which one lies behind it, in streams whose clock may be set anew; FFmpeg's own tools take the same."""

STREAMS = ("mpegts", "mpeg")
"""Containers whose clock may be set anew in the middle."""


class Media:
    """An open clip. A context manager; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path, self._orientation = path, UPRIGHT
        self.restarts = 0
        """Places, seen so far, where time stamps begin again."""
        self.transfer = 0
        """Number of the transfer characteristic of the last frame that was seen (ISO/IEC 23091-2)."""
        self.last_length = 0
        """Time stamps for which the last frame that was decoded is shown; 0 where the file does not say."""
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
        """The timebase in which its frames are counted. Raises ClipError where the file gives no usable rate."""
        stream = self._stream
        for rate in (stream.guessed_rate, stream.average_rate):
            try:
                known = nearest_rate(Fraction(rate or 0))
            except ValueError:
                continue
            return self.counted_at(known)
        raise ClipError(f"{self.path} gives no rate of frames, expected one; it may hold a single picture")

    def counted_at(self, rate: Fraction) -> Timebase:
        """The timebase at `rate` frames a second: in drop-frame where the file's time code is."""
        code = self._timecode()
        return Timebase(rate, drop=code is not None and ";" in code and drops(rate))

    def start(self, base: Timebase) -> int | None:
        """The first frame by the file's time code; None where it has none, or one that `base` does not have."""
        code = self._timecode()
        try:
            return None if code is None else base.frame(code)
        except ValueError:
            return None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in square pixels; upright once a frame was seen, which is where a turn is written."""
        width, height = max(1, round(self._stream.width * self._aspect)), self._stream.height
        return (height, width) if self._orientation.swapped else (width, height)

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
                self.transfer = int(frame.color_trc)
                picture = frame.reformat(**small, format="bgr24", interpolation="AREA").to_ndarray()
            yield frame.pts, picture

    def pictures(self, stamps: Sequence[int], seeks: bool = True) -> Iterator[NDArray[np.uint8]]:
        """The frames with these time stamps, in rising order, as RGB `[H, W, 3]`, upright.

        `seeks=False` reads from the beginning on, as a file wants whose time stamps begin again.
        Raises ClipError where one is not there any more.
        """
        frames, at = self._decoded(), None
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
            raise SoundOnlyError(f"{self.path} has no video, expected a clip; a recording of sound alone is not logged")
        self._stream: Any = streams[0]
        if self._stream.codec_context is None:
            raise ClipError(f"{self.path} holds a kind of video that FFmpeg does not know; transcode it, and log that")
        self._stream.thread_type = "AUTO"
        self._check_whole()
        self._check_size()

    def _check_whole(self) -> None:
        """Refuse recordings joined as bytes of which FFmpeg shows the first and leaves out the others."""
        joined = recordings(self.path) if "mp4" in self._container.format.name.split(",") else 1
        if joined > 1:
            raise ClipError(
                f"{self.path} is {joined} recordings joined as bytes, of which only the first can be read; join them "
                "as one movie (ffmpeg -f concat), or log them apart"
            )

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
        frames, last, ahead = self._frames(), None, 0
        while True:
            with self._reading():
                frame = next(frames, None)
            if frame is None:
                return
            if frame.pts is None:
                continue
            if last is not None and self._restarts(frame.pts + ahead - last):
                ahead, self.restarts = last + self._length(frame) - frame.pts, self.restarts + 1
            if last is None:
                self._orientation = _orientation(frame)
            frame.pts += ahead
            if last is None or frame.pts > last:
                last, self.last_length = frame.pts, frame.duration or 0
                yield frame

    def _frames(self) -> Iterator[Any]:
        """Frames from where the file stands, in the order of decoding; a packet of no bytes shows the last one again.

        Theora holds a picture so, and FFmpeg's decoders refuse such a packet (AVI's demuxer leaves its own out). Only
        the last packet, which has no time, tells a decoder to give what it still holds.
        """
        shown, repeats = None, deque[int]()
        for packet in self._container.demux(self._stream):
            if packet.size == 0 and packet.dts is not None:
                repeats.append(packet.dts if packet.pts is None else packet.pts)
                continue
            for frame in packet.decode():
                yield from _repeated(shown, repeats, frame.pts)
                yield frame
                shown = frame
        yield from _repeated(shown, repeats, None)

    def _restarts(self, step: int) -> bool:
        """A time stamp that lies `step` behind the last one belongs to another recording."""
        leaps = self._container.format.name in STREAMS and self.seconds(step) > LEAP
        return leaps or self.seconds(step) < -BACK

    def _length(self, frame: Any) -> int:
        """Time stamps for which `frame` is shown, by itself or else by the file's rate."""
        length: int = frame.duration or 0
        return length or max(1, round(1 / (self.timebase.rate * self._stream.time_base)))

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
        return self._orientation.laid(_coloured(scaled, int(frame.color_trc)))

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


def _repeated(frame: Any, stamps: deque[int], until: int | None) -> Iterator[Any]:
    """`frame` once more at each of the first `stamps` that lie before `until`, which are taken off; None: at all."""
    while frame is not None and stamps and (until is None or stamps[0] < until):
        frame.pts = stamps.popleft()
        yield frame


def _orientation(frame: Any) -> Orientation:
    """Orientation of a frame, by the display matrix that stands beside it."""
    # PyAV ties a frame and what stands beside it in a circle that lives until the next collection: tie a small one.
    matrix = frame.reformat(width=16, height=16, format="gray").side_data.get("DISPLAYMATRIX")
    return UPRIGHT if matrix is None else Orientation.of(np.frombuffer(bytes(matrix), np.int32).tolist())


def _coloured(frame: Any, transfer: int) -> NDArray[np.uint8]:
    """A frame's pixels as RGB `[H, W, 3]` of an SDR screen."""
    if transfer in HDR:
        wide = frame.reformat(format="rgb48le", src_colorspace=Colorspace.BT2020)
        return to_sdr(wide.to_ndarray(), transfer)
    untagged = int(frame.colorspace) == UNTAGGED and is_hd(frame.width, frame.height)
    source = Colorspace.ITU709 if untagged else None
    pixels: NDArray[np.uint8] = frame.reformat(format="rgb24", src_colorspace=source).to_ndarray()
    return pixels


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
