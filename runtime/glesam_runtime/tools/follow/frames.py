"""A frame, and a source of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...preprocess import Pixels

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".ts")
"""Endings, in lower case, by which a path is taken for a video before it is opened."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame. path: its file, or the video. time_s: its time in a video [s], None for a file."""

    index: int
    path: Path
    time_s: float | None
    pixels: Pixels

    @property
    def name(self) -> str:
        """The frame in a message: its file, or the video and its number."""
        return str(self.path) if self.time_s is None else f"{self.path}: frame {self.index}"


@dataclass(frozen=True, eq=False)
class Frames:
    """An opened source. fps: frames per second of a video or a camera; None for a folder.

    count: number of frames, 0 where it is unknown. is_live: of a camera, which does not end by itself.
    """

    frames: Iterator[Frame]
    fps: float | None = None
    count: int = 0
    is_live: bool = False
