"""glesam-bench: how fast is this bundle on this machine, and in how much memory?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..bundle.reader import Bundle
from ..engines import pick_for_bundle
from ..errors import OutputError, PromptError
from ..image_io import read_image
from ..output import write_files
from ..preprocess import Pixels
from ..prompts import Box
from ..tools.bench import Plan, bench, middle, synthetic_image
from ..tools.bench_report import Json, Report, json_document, tables
from ..tools.console import show
from ..tools.machine import this_machine
from ..tools.progress import track
from ..tools.run_report import model_line
from . import coordinates
from .command import BackendName, BundleFolder, Version, command_app
from .errors import one_line_errors

app = command_app()

STDOUT = Path("-")


@app.command(cls=coordinates.CoordinateCommand)
def run(
    bundle: BundleFolder = None,
    backend: BackendName = "auto",
    image: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A picture. Default: noise, 640 x 480, always the same."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="X0 Y0 X1 Y1", help="The prompt. Default: the picture's middle."),
    ] = None,
    warmup: Annotated[int, typer.Option(metavar="N", min=0, help="Rounds that do not count.")] = 3,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Rounds that count.")] = 30,
    prompts: Annotated[str, typer.Option(metavar="N,...", help="Prompts in one call.")] = "1,16,64",
    threads: Annotated[str, typer.Option(metavar="N,...", help="Threads, a session each.")] = "1,2",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Everything as JSON (docs/evaluation.md); - for stdout."),
    ] = None,
    _version: Version = False,
) -> None:
    """Time a bundle here: each stage, many prompts in one call, several threads; and its memory.

    The first run, which loads and compiles, is reported apart. Run it on an idle machine.
    """
    with one_line_errors():
        plan = Plan(warmup, rounds, _counts("--prompts", prompts), _counts("--threads", threads))
        _check_file(json_file, image)
        picture = synthetic_image() if image is None else read_image(image)
        rectangle = _one_box(coordinates.boxes(box), picture)
        opened = Bundle.open(bundle)
        chosen, reason = pick_for_bundle(backend, opened)
        typer.echo(model_line(opened, f"{chosen} ({reason})"), err=True)
        result = bench(opened, picture, rectangle, plan, backend, track)
        source = str(image or "synthetic noise")
        report = Report(opened, chosen, reason, source, picture, rectangle, plan, result, this_machine())
        show(tables(report), to_stderr=json_file == STDOUT)
        _write(json_document(report), json_file)


def _counts(name: str, text: str) -> tuple[int, ...]:
    """ "1,16,64" as numbers."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 10_000 for word in words):
        raise PromptError(
            f"{name}: expected numbers from 1 to 9999 with commas, found {text!r}; write 1,16,64"
        )
    return tuple(map(int, words))


def _one_box(boxes: Sequence[Box], picture: Pixels) -> Box:
    if len(boxes) > 1:
        raise PromptError(f"expected one --box, found {len(boxes)}; --prompts 1,16 asks with several")
    return boxes[0] if boxes else middle(picture)


def _check_file(file: Path | None, image: Path | None) -> None:
    """Before minutes are spent."""
    if file is None or file == STDOUT:
        return
    if file.is_dir():
        raise OutputError(
            f"--json {file}: expected a file, found a folder; name a file in it, or - for stdout"
        )
    if image is not None and file.resolve() == image.resolve():
        raise OutputError(f"--json {file}: that is the --image; name another file")


def _write(document: Json, file: Path | None) -> None:
    text = json.dumps(document, indent=2) + "\n"
    if file == STDOUT:
        typer.echo(text, nl=False)
    elif file is not None:
        write_files({file: text.encode()}, "--json")
        typer.echo(f"wrote {file}, {len(text) / 1000:.1f} kB")


def main() -> None:
    """The console script."""
    app()
