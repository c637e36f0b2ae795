"""glesam-degrade: pictures at one of LQSeg's levels, for a degraded test set of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import EXIT_STATUS, complain, one_line_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def degrade(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Pictures, or folders of them.")],
    level: Annotated[int, typer.Option(metavar="1|2|3", help="LQ-1 (mild) to LQ-3 (bad).")] = 3,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the PNGs go.")] = Path("out/degraded"),
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed, another degradation.")] = 0,
) -> None:
    """Write every picture degraded, as a PNG of its own name and size.

    The same name and seed give the same degradation, alone or among others. A file that is no picture is
    reported, the others are written, and the exit status is 2.
    """
    with one_line_errors("glesam-degrade", "degrade"):
        from ..degradation.files import check_level, degrade_file, plan_jobs
        from ..tools.progress import track

        check_level(level, seed)
        jobs = plan_jobs(images, out)
        written = 0
        for job in track(jobs, len(jobs), "pictures degraded"):
            try:
                degrade_file(job, level, seed)
                written += 1
            except ValueError as error:  # no picture; what ends all of it, a full disk, is an OSError
                complain(str(error))
    if written:
        typer.echo(f"wrote {written} pictures at LQ-{level} to {out}")
    if written < len(jobs):
        raise typer.Exit(EXIT_STATUS)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
