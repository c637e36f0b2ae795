"""glesam-bench: measures the speed and the memory of a bundle on this machine."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..bundle.reader import Bundle
from ..engines import pick_for_bundle
from ..errors import PromptError
from ..image_io import read_image
from ..output import write_files
from ..preprocess import Pixels
from ..prompts import Box, Prompt
from ..tools.bench.compare import compare, contenders
from ..tools.bench.compare_report import compared_json, compared_tables
from ..tools.bench.measure import Plan, bench, middle, synthetic_image
from ..tools.bench.page import compared_page
from ..tools.bench.report import STDOUT, Json, Report, Setting, check_file, json_document, tables
from ..tools.console import model_line, show
from ..tools.machine import this_machine
from ..tools.progress import track
from . import coordinates
from .command import THREADS_HELP, BackendName, BundleFolder, Version, command_app
from .errors import one_line_errors, say

app = command_app()


@app.command(cls=coordinates.CoordinateCommand)
def run(
    bundle: BundleFolder = None,
    backend: BackendName = "auto",
    image: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A picture. Default: the same 640 x 480 noise every time."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="X0 Y0 X1 Y1", help="The prompt. Default: the middle of the picture."),
    ] = None,
    warmup: Annotated[int, typer.Option(metavar="N", min=0, help="Rounds before those that count.")] = 3,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Measured rounds.")] = 30,
    prompts: Annotated[
        str, typer.Option(metavar="N,...", help="Numbers of prompts in one call.")
    ] = "1,16,64",
    threads: Annotated[
        str, typer.Option(metavar="N,...", help="Numbers of threads, each with a session of its own.")
    ] = "1,2",
    cpu_threads: Annotated[int, typer.Option(metavar="N", show_default=False, help=THREADS_HELP)] = 0,
    compare_all: Annotated[
        bool,
        typer.Option(
            "--compare", help="Take turns on every backend here, with one thread and with one on each core."
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page: machine, times, accuracy, hashes."),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write everything as JSON; - is stdout (docs/evaluation.md)."
        ),
    ] = None,
    _version: Version = False,
) -> None:
    """Measure a bundle: each stage, many prompts in one call, several threads, and memory.

    The first run, which loads and compiles, is reported separately. With --compare or --report: every stage
    on several backends in one interleaved run, and how close their masks are to PyTorch's. Use an idle
    machine.
    """
    with one_line_errors():
        plan = Plan(warmup, rounds, _counts("--prompts", prompts), _counts("--threads", threads), cpu_threads)
        check_file("--json", json_file, image)
        check_file("--report", report, image)
        picture = synthetic_image() if image is None else read_image(image)
        rectangle = _one_box(coordinates.boxes(box), picture)
        source = str(image or "synthetic noise")
        setting = Setting(Bundle.open(bundle), source, picture, rectangle, plan, this_machine())
        if compare_all or report:
            _compare(setting, backend, compare_all, report, json_file)
        else:
            _bench(setting, backend, json_file)


def _bench(setting: Setting, backend: str, json_file: Path | None) -> None:
    """Measures one backend alone."""
    bundle = setting.bundle
    chosen, reason = pick_for_bundle(backend, bundle)
    say(model_line(bundle, f"{chosen} ({reason})"), err=True)
    result = bench(bundle, setting.image, setting.box, setting.plan, backend, track)
    report = Report(setting, chosen, reason, result)
    show(tables(report), to_stderr=json_file == STDOUT)
    _write(json_document(report), json_file)


def _compare(
    setting: Setting, backend: str, all_backends: bool, page: Path | None, json_file: Path | None
) -> None:
    """Measures several backends and numbers of threads in turn, or with --report alone the chosen backend."""
    bundle, plan = setting.bundle, setting.plan
    name = backend if all_backends else pick_for_bundle(backend, bundle)[0]
    cores = setting.machine.cores
    counts = [plan.cpu_threads] if plan.cpu_threads else sorted({1, cores}) if all_backends else [cores]
    say(model_line(bundle, "of each kind" if name == "auto" else name), err=True)
    prompt = Prompt(setting.box)
    comparison = compare(bundle, setting.image, prompt, contenders(name, counts), plan, track)
    show(compared_tables(setting, comparison), to_stderr=json_file == STDOUT)
    _write(compared_json(setting, comparison), json_file)
    if page is not None:
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        text = compared_page(setting, comparison, command)
        write_files({page: text.encode()}, "--report")
        say(f"wrote {page}, {len(text) / 1000:.1f} kB; next: xdg-open {shlex.quote(str(page))}")


def _counts(name: str, text: str) -> tuple[int, ...]:
    """Returns the numbers in a text such as "1,16,64"; `name` is the option's."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 10_000 for word in words):
        raise PromptError(
            f"{name}: expected numbers from 1 to 9999 with commas, found {text!r}; write 1,16,64"
        )
    return tuple(map(int, words))


def _one_box(boxes: Sequence[Box], picture: Pixels) -> Box:
    """Returns the box, or the middle of the picture."""
    if len(boxes) > 1:
        raise PromptError(f"expected one --box, found {len(boxes)}; --prompts 1,16 asks with several")
    return boxes[0] if boxes else middle(picture)


def _write(document: Json, file: Path | None) -> None:
    """Writes the document to `file`, or to stdout."""
    text = json.dumps(document, indent=2) + "\n"
    if file == STDOUT:
        typer.echo(text, nl=False)
    elif file is not None:
        write_files({file: text.encode()}, "--json")
        say(f"wrote {file}, {len(text) / 1000:.1f} kB")


def main() -> None:
    """Runs the command."""
    app()
