"""glesam-run --follow: what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote

import typer

from ..errors import PromptError
from ..tools.console import model_line
from ..tools.follow.follower import Followed
from ..tools.follow.frames import Frame
from ..tools.follow.job import FollowJob, OnFrame, Summary, follow
from ..tools.progress import status
from ..tools.records.schema import Json
from ..tools.run.session import Model, opened_model
from .errors import say


def run_follow(sources: Sequence[Path], job: FollowJob, model: Model, as_json: bool) -> None:
    """Follows the objects through the one source; prints when one is lost and found again, then a summary.

    as_json: each frame is a line of JSON on stdout as soon as it is there, and all else goes to stderr.
    """
    if len(sources) != 1:
        raise PromptError(
            f"--follow: expected one video, folder of frames or camera, found {len(sources)} paths"
        )
    with opened_model(model) as opened:
        say(model_line(opened.bundle, f"{opened.backend} ({opened.reason})"), err=True)
        with status("frames") as show:
            on_frame = _printer(len(job.prompts), as_json, show)
            summary = follow(opened.predictor, sources[0], job, on_frame)
    say(*_closing_lines(summary), err=as_json)
    if summary.damage is not None:
        raise summary.damage


def _printer(count: int, as_json: bool, show: Callable[[str], None]) -> OnFrame:
    """Returns what prints each frame's news of `count` objects; `show` takes the progress."""
    was_lost = [False] * count

    def on_frame(frame: Frame, followed: Followed, record: Json) -> None:
        if as_json:
            typer.echo(json.dumps(record))
        for index, reason in enumerate(followed.lost):
            if (reason is not None) != was_lost[index]:
                was_lost[index] = reason is not None
                news = "found again" if reason is None else f"lost: {reason}"
                say(f"frame {frame.index}: object {index} {news}", err=as_json)
        if frame.index % 10 == 0:
            show(str(frame.index + 1))

    return on_frame


def _closing_lines(summary: Summary) -> list[str]:
    """Returns how often each object was found, what was written, and the next command."""
    lines = [
        f"object {index}: found in {number} of {summary.frames} frames"
        for index, number in enumerate(summary.found)
    ]
    written = f"wrote {summary.lines} and {summary.overlay}"
    return [*lines, f"{written}; next: xdg-open {quote(str(summary.overlay))}"]
