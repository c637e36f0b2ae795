"""Videos and cameras, read and written by PyAV, whose wheels bring FFmpeg's libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ...errors import DamagedVideoError, ImageError, first_line
from ...image_io import MAX_PIXELS
from ...output import replaced_file
from ...preprocess import Pixels
from .frames import Frame, Frames

_CODECS = {"libx264": {"preset": "veryfast"}, "mpeg4": {}}
"""Encoders of an overlay with their options, preferred first; a build of FFmpeg without x264 has the second.

x264's own preset takes 7.5 ms of a core for a frame of 640 x 480 pixels, veryfast 4.2, in files as small.
"""
_FALLBACK_FPS = 30.0
_WITH_DURATION = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi")
"""Containers whose header says how long they are, as FFmpeg names them; of others FFmpeg estimates it."""


@contextmanager
def opened_video(path: Path, is_camera: bool) -> Iterator[Frames]:
    """Yields the frames of a video file, or of a camera under /dev, upright and as uint8 [H,W,3] RGB.

    Raises ImageError for what is no video and for frames of too many pixels; DamagedVideoError where a frame
    is damaged, and after the last one of a file that is shorter than its header says. A camera's damaged
    frames are left out: the next one is as good.
    """
    # A playlist must lead to no other file and no network, nor be read again and again until it grows.
    options = {} if is_camera else {"protocol_whitelist": "file", "max_reload": "0"}
    try:
        container = av.open(
            str(path) if is_camera else f"file:{path}", format="v4l2" if is_camera else None, options=options
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        kind = "a camera" if is_camera else "a video"
        raise ImageError(f"{path}: expected {kind}, {_in_its_place(path, error)}") from error
    with container:
        if not container.streams.video:
            raise ImageError(f"{path}: expected a video, found no stream of pictures in it")
        stream = container.streams.video[0]
        if stream.width * stream.height > MAX_PIXELS:
            raise ImageError(
                f"{path}: {stream.width} x {stream.height} pixels exceed the limit of {MAX_PIXELS} pixels"
            )
        stream.thread_type = "AUTO"
        fps = float(stream.average_rate or _FALLBACK_FPS)
        yield Frames(_decoded(container, path, fps, is_camera), fps, stream.frames, is_camera)


def _in_its_place(path: Path, error: Exception) -> str:
    """Returns what is found at `path`, which PyAV could not open, and what to do; without FFmpeg's words."""
    if isinstance(error, av.error.InvalidDataError):
        if path.stat().st_size == 0:
            return "found an empty file; copy it again"
        return "found none, or one without its index, as of a recording that was not ended; copy it again"
    reason = error.strerror if isinstance(error, (OSError, av.error.FFmpegError)) else first_line(error)
    return f"found what cannot be opened ({reason}); check the file"


def _decoded(container: Any, path: Path, fps: float, is_camera: bool) -> Iterator[Frame]:  # noqa: ANN401
    index, end = -1, [0.0]
    try:
        for index, frame in enumerate(_frames(container, end, is_camera)):
            if frame.is_corrupt:
                raise DamagedVideoError(f"{path}: frame {index} is damaged; copy the video again")
            pixels = frame.to_ndarray(format="rgb24")
            # Phones write the turn beside the pixels; it is counted against the clock, as in numpy.
            turns = round(getattr(frame, "rotation", 0) / 90) % 4
            time_s = None if frame.time is None else float(frame.time)
            yield Frame(index, path, time_s, np.ascontiguousarray(np.rot90(pixels, turns)))
    except av.error.FFmpegError as error:
        after = f"after frame {index}" if index >= 0 else "in its first frame"
        raise DamagedVideoError(f"{path}: damaged {after}; copy the video again") from error
    _check_whole(container, path, fps, index + 1, end[0])


def _frames(container: Any, end: list[float], is_camera: bool) -> Iterator[Any]:  # noqa: ANN401
    """Yields the frames of the first stream of pictures; `end` has the latest end of a packet so far [s]."""
    video = container.streams.video[0]
    for packet in container.demux():
        if packet.pts is not None:
            end[0] = max(end[0], float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream is video:
            yield from _undamaged(packet) if is_camera else packet.decode()


def _undamaged(packet: Any) -> list[Any]:  # noqa: ANN401
    """Returns the frames of a packet, but for damaged ones."""
    try:
        return [frame for frame in packet.decode() if not frame.is_corrupt]
    except av.error.InvalidDataError:
        return []


def _check_whole(container: Any, path: Path, fps: float, found: int, end: float) -> None:  # noqa: ANN401
    """Raises DamagedVideoError where the packets end, at `end` [s], over 1.5 frames before the header says.

    Time tells, not `stream.frames`: a phone's trimmed video counts the frames that it no longer shows.
    """
    if container.format.name not in _WITH_DURATION or not container.duration:
        return
    missing = (container.duration + max(container.start_time or 0, 0)) / av.time_base - end
    if missing * fps > 1.5:
        expected = max(container.streams.video[0].frames, found + round(missing * fps))
        raise DamagedVideoError(f"{path}: expected {expected} frames, found {found}; copy the video again")


@contextmanager
def written_video(path: Path, fps: float) -> Iterator[Callable[[Pixels], None]]:
    """Yields a function that takes frames, uint8 [H,W,3] RGB of one size; `path`, an MP4, appears at the end.

    Frames of an odd width or height lose their last column or row: H.264's colours are 2 x 2 pixels large.
    """
    codec = next(name for name in _CODECS if name in av.codecs_available)
    rate = Fraction(fps).limit_denominator(60_000)
    with replaced_file(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=rate, options=_CODECS[codec])
        stream.pix_fmt = "yuv420p"
        is_sized = False

        def write(pixels: Pixels) -> None:
            nonlocal is_sized
            height, width = (side - side % 2 for side in pixels.shape[:2])
            if not is_sized:
                stream.width, stream.height, is_sized = width, height, True
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
            container.mux(stream.encode(frame))

        yield write
        if is_sized:
            container.mux(stream.encode())
