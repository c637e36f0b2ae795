"""What glesam-run --follow does: frames in, an overlay and a line of JSON for each frame out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import DamagedVideoError, ImageError, OutputError
from ...image_io import pixels_of
from ...output import replaced_file, write_files
from ...predictor import Predictor
from ...prompts import Prompt
from ..overlay import draw_overlay, overlay_file
from ..records.schema import Json, level_record, mask_record
from .follower import Followed, Follower
from .frames import Frame, Frames
from .sources import opened_frames

OnFrame = Callable[[Frame, Followed, Json], None]
"""Called after each frame with its result, and with its line of JSON."""


@dataclass(frozen=True)
class FollowJob:
    """The request. prompts: one for each object, in the first frame. out: folder of the results.

    max_frames: number of frames after which to stop, 0 for all.
    """

    prompts: Sequence[Prompt]
    out: Path
    max_frames: int = 0


@dataclass(frozen=True)
class Summary:
    """What was followed. frames: their number. found: for each object, the number of frames it was found in.

    overlay: the video, or the last of the pictures. lines: the file of JSON lines. damage: the error of a
    video that is cut or damaged; the results are then of the frames before.
    """

    frames: int
    found: tuple[int, ...]
    overlay: Path
    lines: Path
    damage: DamagedVideoError | None = None


def follow(predictor: Predictor, source: Path, job: FollowJob, on_frame: OnFrame) -> Summary:
    """Follows the objects through `source`, a folder, a video or a camera, and writes the results.

    Writes OUT/<stem>.jsonl, and OUT/<stem>.overlay.mp4 for a video or a camera; for a folder
    OUT/<stem of the frame>.overlay.jpg. While a frame is written, the next one is read and encoded.
    An error leaves neither the lines nor the video half-written. Ctrl-C ends a camera in order; anything else
    it interrupts.
    """
    lines = job.out / f"{source.stem}.jsonl"
    with opened_frames(source, job.out) as frames, ExitStack() as stack:
        write = stack.enter_context(_overlays(frames, source, job.out))
        file = stack.enter_context(_lines(lines))
        follower, found = Follower(predictor, job.prompts), np.zeros(len(job.prompts), int)
        overlay, count, damage = job.out, 0, None
        try:
            wanted = islice(frames.frames, job.max_frames or None)
            each = follower.each(wanted, attrgetter("pixels"), name_of=attrgetter("name"))
            for frame, followed in stack.enter_context(closing(each)):
                record = frame_record(frame, followed)
                file(json.dumps(record))
                overlay = write(frame, draw_overlay(frame.pixels, followed.masks))
                found += [reason is None for reason in followed.lost]
                count += 1
                on_frame(frame, followed, record)
        except KeyboardInterrupt:
            if not frames.is_live:
                raise
        except DamagedVideoError as error:
            damage = error
        if not count:
            raise damage or ImageError(f"{source}: expected frames, found none; copy the video again")
    return Summary(count, tuple(found.tolist()), overlay, lines, damage)


def frame_record(frame: Frame, followed: Followed) -> Json:
    """Returns one frame as JSON, of the kind "frame" in schema.json_schema()."""
    height, width = followed.masks.shape[1:]
    found = [index for index, reason in enumerate(followed.lost) if reason is None]
    scores = followed.iou_predictions.tolist()
    return {
        "frame": frame.index,
        "time_s": None if frame.time_s is None else round(frame.time_s, 6),
        "image": str(frame.path),
        "width": width,
        "height": height,
        **level_record(followed.degradation_level),
        "masks": [mask_record(followed.masks[index], scores[index], index) for index in found],
        "lost": [
            {"prompt": index, "reason": reason}
            for index, reason in enumerate(followed.lost)
            if reason is not None
        ],
        "timings_ms": {stage: round(ms, 3) for stage, ms in followed.timings_ms.items()},
    }


@contextmanager
def _overlays(frames: Frames, source: Path, out: Path) -> Iterator[Callable[[Frame, Image.Image], Path]]:
    """Yields a function that writes the overlay of a frame and returns where it is."""
    if frames.fps is None:
        yield lambda frame, drawn: _written_picture(out, frame, drawn)
        return
    from .video import written_video

    path = out / f"{source.stem}.overlay.mp4"
    with written_video(path, frames.fps) as write:

        def to_video(_: Frame, drawn: Image.Image) -> Path:
            write(pixels_of(drawn))
            return path

        yield to_video


def _written_picture(out: Path, frame: Frame, drawn: Image.Image) -> Path:
    path, content = overlay_file(out, frame.path.stem, drawn)
    if path.resolve() == frame.path.resolve():
        raise OutputError(f"{path} is one of the inputs; choose another folder with --out")
    write_files({path: content})
    return path


@contextmanager
def _lines(path: Path) -> Iterator[Callable[[str], None]]:
    """Yields a function that adds a line; the file appears at the end of the block."""
    with replaced_file(path) as partial, partial.open("w", encoding="utf-8") as file:

        def add(line: str) -> None:
            file.write(f"{line}\n")

        yield add
        file.flush()
