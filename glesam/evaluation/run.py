"""One evaluation from data to files: prompts, scores, tables, contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path

from glesam.evaluation.cases import case_sheet
from glesam.evaluation.earlier_runs import PROMPTS, RESULTS, earlier_scores
from glesam.evaluation.evaluate import Task, evaluate
from glesam.evaluation.log import Log
from glesam.evaluation.methods import Method
from glesam.evaluation.prompts import PromptKind
from glesam.evaluation.results import Place, Results, to_csv
from glesam.evaluation.score import LEVELS, Score
from glesam.evaluation.selection import Pictures, Selection, select_pictures
from glesam.evaluation.table import report
from glesam_runtime.errors import InputError
from glesam_runtime.output import write_files
from glesam_runtime.tools.progress import track

TABLE, SHEET = "table.md", "contact_sheet.png"


@dataclass(frozen=True)
class Plan:
    """What to evaluate on, and how.

    `joined`: folders of earlier runs with the same prompts, whose rows come first in the table.
    """

    selection: Selection
    out: Path
    kind: PromptKind = "box"
    levels: tuple[str, ...] = LEVELS
    joined: tuple[Path, ...] = ()
    jobs: int = 1


@dataclass(frozen=True)
class Outcome:
    """The results, and the size in bytes of every file that holds them."""

    results: Results
    files: dict[Path, int]


def run_evaluation(plan: Plan, methods: Sequence[Method], notes: Sequence[str], log: Log) -> Outcome:
    """Evaluates `methods` and writes everything into `plan.out`; `notes` end the table.

    Prompts, scores and table switch together, before the contact sheet is drawn: results of an earlier run
    never lie beside files of this one.

    Raises:
        InputError: data, prompts or a joined run do not fit, or no picture could be evaluated.
        OSError: a file is missing; OutputError where one cannot be written.
    """
    refuse_overwriting(plan)
    pictures = select_pictures(plan.selection, log)
    task = Task(methods, plan.levels, plan.kind, pictures.prompts.seed, pictures.real)
    joined = earlier_scores(plan.joined, pictures.prompts, plan.kind, places_of(pictures, task), methods)
    prompts = {plan.out / PROMPTS: pictures.prompts.to_json().encode()}
    if not (plan.out / RESULTS).exists():
        write_files(prompts)  # kept where the evaluation is interrupted
    if plan.selection.prompts is not None and not plan.selection.prompts.exists():
        write_files({plan.selection.prompts: pictures.prompts.to_json().encode()})
    log.say(f"{title_of(pictures, plan.kind)}: {pictures.origin}")
    own = own_scores(plan, pictures, task, log)
    results = results_of(joined, own)
    table = report(results, title_of(pictures, plan.kind), [*notes, *log.skip_note()])
    scores = to_csv(results.scores, plan.kind).encode("utf-8", "backslashreplace")
    contents = {
        **prompts,
        plan.out / RESULTS: scores,
        plan.out / TABLE: table.encode("utf-8", "backslashreplace"),
    }
    write_files(contents, outdated=[plan.out / SHEET])
    sheet = {plan.out / SHEET: case_sheet(Results(tuple(own)), pictures, task)}
    write_files(sheet)
    return Outcome(results, {path: len(content) for path, content in {**contents, **sheet}.items()})


def refuse_overwriting(plan: Plan) -> None:
    """Raises InputError where one of the user's files would be replaced by a result."""
    results = (RESULTS, TABLE, SHEET)
    selection = plan.selection
    for file, names in ((selection.prompts, results), (selection.sets, (*results, PROMPTS))):
        if file is not None and realpath(file) in [realpath(plan.out / name) for name in names]:
            raise InputError(f"{file} would be written over by this run; choose another folder with --out")


def places_of(pictures: Pictures, task: Task) -> list[Place]:
    """Every picture and level that is evaluated."""
    return [
        (picture.dataset, picture.name, level)
        for picture in pictures.prompts.pictures
        for level in task.levels_of(picture.dataset)
    ]


def own_scores(plan: Plan, pictures: Pictures, task: Task, log: Log) -> list[Score]:
    """Evaluates this run's methods, and shows the progress."""
    chosen = pictures.prompts.pictures
    outcomes = evaluate(chosen, pictures.library.read, task, plan.jobs)
    own = [score for scores in log.kept(track(outcomes, len(chosen), "pictures")) for score in scores]
    log.refuse_none(own)
    return own


def results_of(joined: Sequence[Score], own: Sequence[Score]) -> Results:
    """Joined scores, limited to the pictures that this run could evaluate, then its own."""
    evaluated = {(score.dataset, score.name) for score in own}
    return Results((*(s for s in joined if (s.dataset, s.name) in evaluated), *own))


def title_of(pictures: Pictures, kind: PromptKind) -> str:
    """Number of pictures and objects, the kind of prompts and the seed."""
    prompts = pictures.prompts
    objects = sum(len(picture.objects) for picture in prompts.pictures)
    return f"{len(prompts.pictures)} pictures, {objects} objects, {kind} prompts, seed {prompts.seed}"
