"""glesam-eval: how good masks are, on clean and on degraded pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from glesam.evaluation.console import closing_line, note, show_results
from glesam.evaluation.options import LEVELS, METHODS, names, one_of
from glesam_runtime.cli.errors import one_line_errors

SOURCE = "[NAME=]FOLDER[:METHODS]"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Data sets, as for glesam-train, or one set.")],
    real: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Likewise, of really bad photographs: all of them, as they are, a column apart.",
        ),
    ] = None,
    sets: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Descriptions of the data sets of --data, as for glesam-train."),
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="dev, train or all.")] = "dev",
    per_set: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Pictures of each set, evenly spread. Default: all."),
    ] = None,
    max_objects: Annotated[
        int, typer.Option(metavar="N", min=1, help="Objects of a picture, the largest first.")
    ] = 5,
    levels: Annotated[
        str, typer.Option(metavar="LIST", help="Degradation levels: of clean, 1, 2, 3.")
    ] = "clean,1,2,3",
    prompt: Annotated[
        str, typer.Option(metavar="KIND", help="box: the object's own; points: three on it.")
    ] = "box",
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Pictures, objects and prompts as this file says; where it does not exist it is written.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of new points and of the degradation.")] = 0,
    methods: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Of box (filled), grabcut, sam (GLE off) and glesam (GLE on).",
        ),
    ] = "sam,glesam",
    checkpoint: Annotated[
        list[str] | None, typer.Option(metavar=SOURCE, help="A PyTorch checkpoint. Repeatable.")
    ] = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option(
            metavar=SOURCE, help="An exported bundle. Repeatable. Default without either: the shipped one."
        ),
    ] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help="What bundles run on.")] = "auto",
    join: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="An earlier run with the same prompts; its rows join the table. Repeatable."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Pictures at a time.")] = 1,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results go.")] = Path("out/eval"),
) -> None:
    """Measure masks against the truth: IoU, Dice, boundary IoU and pixel accuracy.

    Every picture is segmented as it is and degraded (LQSeg, fixed by the seed), by every method,
    from the same prompts. A metric is the mean over a picture's objects, then over pictures; that of
    real low-quality photographs has a column of its own.

    Checkpoints and bundles share the table. A source may have a name and methods of its own: the
    gain of GLE is measured against a decoder fine-tuned with GLE off by
    --checkpoint 'GLE off=runs/off:sam' --checkpoint 'GLE=runs/on:glesam'.

    Writes to DIR: prompts.json, results.csv (a line per picture, level and method), table.md and
    contact_sheet.png (worst, median and best pictures of the last method at the hardest level, and
    of the real photographs).
    A picture that cannot be evaluated is named and left out; the exit status is 2 where none is left.
    """
    with one_line_errors("glesam-eval", "train"):
        asked = names("--methods", methods, METHODS)
        kind: Literal["box", "points"] = one_of("--prompt", prompt, ("box", "points"))
        chosen_levels = names("--levels", levels, LEVELS)
        chosen_split: Literal["dev", "train", "all"] = one_of("--split", split, ("dev", "train", "all"))
        from glesam.evaluation.choice import Choice
        from glesam.evaluation.log import Log
        from glesam.evaluation.opening import open_methods
        from glesam.evaluation.run import Plan, run_evaluation
        from glesam.evaluation.sources import parse_sources

        sources = parse_sources(checkpoint or [], bundle or [])
        choice = Choice(data, real, sets, chosen_split, per_set, max_objects, seed, prompts)
        plan = Plan(choice, out, kind, chosen_levels, tuple(join or ()), jobs)
        opened, origins = open_methods(asked, sources, kind, backend)
        outcome = run_evaluation(plan, opened, origins, Log(note))
        show_results(outcome.results)
        typer.echo(closing_line(outcome.files))


def main() -> None:
    """The console script."""
    app()
