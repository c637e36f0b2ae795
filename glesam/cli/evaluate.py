"""glesam-eval: how good masks are, on clean and on degraded pictures."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from glesam.evaluation.score import LEVELS, METHODS
from glesam_runtime.cli.command import Command, Version, command_app, level_number, option
from glesam_runtime.cli.errors import one_line_errors, say
from glesam_runtime.errors import InputError

if TYPE_CHECKING:  # numpy and OpenCV, which --help can do without
    from glesam.evaluation.results import Results

Name = TypeVar("Name", bound=str)
DATA, PROMPTS, METHODS_GROUP, OUTPUT = "Pictures", "Prompts", "Methods", "Run and output"
SOURCE = "[NAME=]FOLDER[:METHODS]"

app = command_app()

Data = Annotated[Path, option(DATA, "DIR", "Data sets as for glesam-train, or one data set.")]
Sets = Annotated[Path | None, option(DATA, "FILE", "JSON that describes the data sets in --data.")]
Split = Annotated[str, option(DATA, "NAME", "Part of --data: dev, train or all.")]
PerSet = Annotated[
    int | None, option(DATA, "N", "Pictures per data set, evenly spread. Default: all.", least=1)
]
Real = Annotated[
    Path | None,
    option(DATA, "DIR", "Photographs of low quality by themselves: all, as they are, in their own column."),
]
Levels = Annotated[
    str,
    option(
        DATA,
        "LIST",
        f"Degradation levels, any of {', '.join(LEVELS)}.",
        "--level",
        "--levels",
    ),
]
Prompt = Annotated[
    str,
    option(
        PROMPTS,
        "KIND",
        "box: the object's own box; points: three points on it; innermost: its pixel farthest from its edge.",
    ),
]
MaxObjects = Annotated[int, option(PROMPTS, "N", "Objects per picture, the largest first.", least=1)]
Prompts = Annotated[
    Path | None,
    option(PROMPTS, "FILE", "Read pictures, objects and prompts from FILE; if it is new, write it."),
]
Seed = Annotated[int, option(PROMPTS, "N", "Seed of new points and of the degradation.", least=0)]
Methods = Annotated[
    str,
    option(
        METHODS_GROUP,
        "LIST",
        "Any of box (filled), grabcut, sam (GLE off), glesam (GLE on) and restored (--restorer, then sam).",
    ),
]
Restorer = Annotated[
    Path | None,
    option(METHODS_GROUP, "PATH", "What restores pictures before sam: an ONNX file, or DiffBIR's folder."),
]
Checkpoint = Annotated[list[str] | None, option(METHODS_GROUP, SOURCE, "A PyTorch checkpoint. Repeatable.")]
Bundle = Annotated[
    list[str] | None,
    option(METHODS_GROUP, SOURCE, "A bundle. Repeatable. Without any source: the shipped bundle."),
]
Backend = Annotated[str, option(METHODS_GROUP, "NAME", "Backend that runs the bundles.")]
Join = Annotated[
    list[Path] | None,
    option(METHODS_GROUP, "DIR", "Add the rows of an earlier run with the same prompts. Repeatable."),
]
Jobs = Annotated[int, option(OUTPUT, "N", "Pictures evaluated at the same time.", least=1)]
Out = Annotated[Path, option(OUTPUT, "DIR", "Folder of the results.")]


@app.command(cls=Command)
def evaluate(
    data: Data,
    sets: Sets = None,
    split: Split = "dev",
    per_set: PerSet = None,
    real: Real = None,
    levels: Levels = "clean,1,2,3",
    prompt: Prompt = "box",
    max_objects: MaxObjects = 5,
    prompts: Prompts = None,
    seed: Seed = 0,
    methods: Methods = "sam,glesam",
    restorer: Restorer = None,
    checkpoint: Checkpoint = None,
    bundle: Bundle = None,
    backend: Backend = "auto",
    join: Join = None,
    jobs: Jobs = 1,
    out: Out = Path("out/eval"),
    _version: Version = False,
) -> None:
    """Measure masks against the truth: IoU, Dice, boundary IoU and pixel accuracy.

    Every picture is segmented as it is and degraded (LQSeg, fixed by the seed), by every method, from the
    same prompts. A metric is the mean over a picture's objects, then over pictures.

    Checkpoints and bundles share one table. A source may have a name and methods of its own. For example,
    --checkpoint 'GLE off=runs/off:sam' --checkpoint 'GLE=runs/on:glesam' measures the gain of GLE against a
    decoder fine-tuned with GLE off.

    Writes to DIR: prompts.json, results.csv (one line per picture, level and method), table.md and
    contact_sheet.png (worst, median and best pictures of the last method at the hardest level).
    A picture that cannot be evaluated is named and left out; the exit status is 2 where none is left.
    """
    with one_line_errors("glesam-eval", "train"):
        names = names_of("--methods", methods, METHODS)
        kind: Literal["box", "points", "innermost"] = one_of(
            "--prompt", prompt, ("box", "points", "innermost")
        )
        numbers = ",".join(map(level_number, levels.split(",")))
        chosen_levels = names_of("--level", numbers, LEVELS)
        chosen_split: Literal["dev", "train", "all"] = one_of("--split", split, ("dev", "train", "all"))
        from glesam.evaluation.log import Log
        from glesam.evaluation.run import Plan, run_evaluation
        from glesam.evaluation.selection import Selection
        from glesam.evaluation.sources import open_methods, parse_sources

        sources = parse_sources(checkpoint or [], bundle or [])
        selection = Selection(data, real, sets, chosen_split, per_set, max_objects, seed, prompts)
        plan = Plan(selection, out, kind, chosen_levels, tuple(join or ()), jobs)
        opened, origins = open_methods(names, sources, kind, backend, restorer)
        outcome = run_evaluation(plan, opened, origins, Log(note))
        show_results(outcome.results)
        say(closing_line(outcome.files))


def names_of(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Parses "3,clean" to ("clean", "3"): each once, in the order of `known`. Raises InputError."""
    words = [word.strip() for word in text.split(",")]
    if not words or not set(words) <= set(known):
        raise InputError(f"{option} {text!r}: expected some of {','.join(known)}, with commas between")
    return tuple(name for name in known if name in words)


def one_of(option: str, text: str, known: Sequence[Name]) -> Name:
    """Returns `text` as one of `known`; raises InputError where it is none."""
    for name in known:
        if name == text:
            return name
    raise InputError(f"{option} {text!r}: expected {' or '.join(known)}")


def note(line: str) -> None:
    """Prints a message of the run on stderr: stdout is for the tables and the last line."""
    say(line, err=True)


def show_results(results: Results) -> None:
    """Prints all metrics over all pictures, the IoU of each data set, and the footnotes."""
    from glesam.evaluation.table import dataset_tables, footnotes, overall_tables
    from glesam_runtime.tools.console import show, table

    tables = [*overall_tables(results), *dataset_tables(results, ["iou"])]
    if sys.stdout.isatty():
        show(table(each.title, ("", *each.columns), each.lines) for each in tables)
    else:
        for each in tables:
            say(*each.markdown().split("\n"))
    for line in footnotes(results):
        say(line)


def closing_line(files: Mapping[Path, int]) -> str:
    """What was written, how large, and the next command, which opens the last file."""
    last = list(files)[-1]
    size = sum(files.values()) / 1000
    return f"wrote {len(files)} files to {last.parent}, {size:.1f} kB; next: xdg-open {quote(str(last))}"


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
