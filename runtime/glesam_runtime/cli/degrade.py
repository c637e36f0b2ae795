"""glesam-degrade: pictures at one of LQSeg's levels, to make a degraded test set from good ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ImageError
from .command import Command, Version, command_app, level_number, option
from .errors import EXIT_STATUS, complain, one_line_errors, say

app = command_app()
_DEGRADATION = "Degradation"


@app.command(cls=Command)
def degrade(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Pictures, or folders of them.")],
    level: Annotated[str, option(_DEGRADATION, "1|2|3", "LQ-1 (mild) to LQ-3 (bad).")] = "3",
    seed: Annotated[int, option(_DEGRADATION, "N", "Another seed gives another degradation.")] = 0,
    out: Annotated[Path, option("Results", "DIR", "Folder for the PNGs.")] = Path("out/degraded"),
    _version: Version = False,
) -> None:
    """Write a degraded version of every picture, as a PNG of the same name and size.

    The same name and seed give the same degradation, alone or among others. A file that cannot be read as a
    picture is reported, the others are written, and the exit status is 2.
    """
    with one_line_errors("glesam-degrade", "degrade"):
        from ..degradation.files import checked_level, degrade_file, plan_jobs
        from ..tools.progress import track

        number = checked_level(level_number(level), seed)
        jobs = plan_jobs(images, out, say)
        written = 0
        for job in track(jobs, len(jobs), "pictures degraded"):
            try:
                degrade_file(job, number, seed)
                written += 1
            except ImageError as error:  # only this picture; a full disk, an OutputError, ends the command
                complain(str(error))
    if written:
        say(f"wrote {written} picture{'s' * (written > 1)} at LQ-{number} to {out}")
    if written < len(jobs):
        raise typer.Exit(EXIT_STATUS)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
