"""glesam-bench: measures the speed and the memory of a bundle on this machine."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..bundle.reader import Bundle
from ..engines import pick_for_bundle
from ..engines.cpus import usable_cores
from ..errors import PromptError
from ..image_io import read_image
from ..output import write_files
from ..preprocess import Pixels
from ..prompts import Box, Prompt
from ..tools.bench.compare import compare, contenders
from ..tools.bench.compare_report import compared_json, compared_tables
from ..tools.bench.measure import Plan, bench, middle, synthetic_image
from ..tools.bench.page import compared_page
from ..tools.bench.report import Json, Report, Setting, check_file, json_document, tables
from ..tools.console import model_line, show
from ..tools.machine import this_machine
from ..tools.progress import track
from . import coordinates
from .command import BundleFolder, Version, command_app, option, say_renamed, switch
from .errors import one_line_errors, say
from .run_options import Backend, Threads

app = command_app()
_INPUT, _MEASURED, _RESULTS = "Picture and prompt", "What is measured", "Results"
PROMPTS, SESSIONS = "1,16,64", "1,2"
"""What is measured without --prompts and --sessions, unless backends are compared."""

Image = Annotated[
    Path | None, option(_INPUT, "PATH", "A picture. Default: the same 640 x 480 noise every time.")
]
BoxPrompt = Annotated[
    list[str] | None, option(_INPUT, "X0 Y0 X1 Y1", "The prompt. Default: the middle of the picture.")
]
Warmup = Annotated[int, option(_MEASURED, "N", "Rounds before those that count.", least=0)]
Rounds = Annotated[int, option(_MEASURED, "N", "Measured rounds.", least=1)]
Prompts = Annotated[
    str | None,
    option(_MEASURED, "N,...", f"Numbers of prompts in one call. Default: {PROMPTS}; in a comparison none."),
]
Sessions = Annotated[
    str | None,
    option(
        _MEASURED,
        "N,...",
        f"Numbers of sessions at once, each in its own thread. Default: {SESSIONS}; not in a comparison.",
    ),
]
Compare = Annotated[
    bool,
    switch(
        _MEASURED, "--compare", "Take turns on every backend here, with one thread and with one on each core."
    ),
]
ReportFile = Annotated[
    Path | None, option(_RESULTS, "FILE", "Write a page: machine, times, accuracy, hashes.")
]
Out = Annotated[Path | None, option(_RESULTS, "FILE", "Write everything as JSON (docs/evaluation.md).")]
AsJson = Annotated[bool, switch(_RESULTS, "--json", "Print everything as one JSON object on stdout.")]


@dataclass(frozen=True)
class _Written:
    """Where the JSON goes: to a file, to stdout, to both or nowhere."""

    file: Path | None
    on_stdout: bool

    def write(self, document: Json) -> None:
        text = json.dumps(document, indent=2) + "\n"
        if self.file is not None:
            write_files({self.file: text.encode()}, "--out")
            say(f"wrote {self.file}, {len(text) / 1000:.1f} kB", err=self.on_stdout)
        if self.on_stdout:
            typer.echo(text, nl=False)


class BenchCommand(coordinates.CoordinateCommand):
    """A command that still takes the names which its options had."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Renames, says so on stderr, then parses."""
        renamed = current_names(args)
        say_renamed(ctx, args, renamed)
        return super().parse_args(ctx, renamed)


def current_names(args: Sequence[str]) -> list[str]:
    """Returns `args` with --cpu-threads N as --threads, --threads N,N as --sessions, --json FILE as --out.

    --json takes no value any more: what ends in .json, or is -, is one of the old kind.
    """
    renamed: list[str] = []
    rest = list(args)
    while rest:
        name, is_joined, value = rest.pop(0).partition("=")
        following = value if is_joined else next(iter(rest), "")
        if name == "--json" and following == "-":
            rest = rest if is_joined else rest[1:]
            is_joined = ""
        elif name == "--json" and (is_joined or following.endswith(".json")):
            name = "--out"
        elif name == "--threads" and "," in following:
            name = "--sessions"
        elif name == "--cpu-threads":
            name = "--threads"
        renamed.append(f"{name}={value}" if is_joined else name)
    return renamed


@app.command(cls=BenchCommand)
def run(
    bundle: BundleFolder = None,
    backend: Backend = "auto",
    threads: Threads = 0,
    image: Image = None,
    box: BoxPrompt = None,
    warmup: Warmup = 3,
    rounds: Rounds = 30,
    prompts: Prompts = None,
    sessions: Sessions = None,
    compare_all: Compare = False,
    report: ReportFile = None,
    out: Out = None,
    as_json: AsJson = False,
    _version: Version = False,
) -> None:
    """Measure a bundle: each stage, many prompts in one call, several sessions at once, and memory.

    The first run, which loads and compiles, is reported separately. With --compare or --report: every stage
    on several backends in one interleaved run, and how close their masks are to PyTorch's. Use an idle
    machine.
    """
    with one_line_errors():
        is_comparison = compare_all or report is not None
        plan = Plan(warmup, rounds, *_numbers(prompts, sessions, is_comparison), threads)
        check_file("--out", out, image)
        check_file("--report", report, image)
        picture = synthetic_image() if image is None else read_image(image)
        rectangle = _one_box(coordinates.boxes(box), picture)
        source = str(image or "synthetic noise")
        setting = Setting(Bundle.open(bundle), source, picture, rectangle, plan, this_machine())
        if is_comparison:
            _compare(setting, backend, compare_all, report, _Written(out, as_json))
        else:
            _bench(setting, backend, _Written(out, as_json))


def _bench(setting: Setting, backend: str, written: _Written) -> None:
    """Measures one backend alone."""
    bundle = setting.bundle
    chosen, reason = pick_for_bundle(backend, bundle)
    say(model_line(bundle, f"{chosen} ({reason})"), err=True)
    result = bench(bundle, setting.image, setting.box, setting.plan, backend, track)
    report = Report(setting, chosen, reason, result)
    show(tables(report), to_stderr=written.on_stdout)
    written.write(json_document(report))


def _compare(
    setting: Setting, backend: str, all_backends: bool, page: Path | None, written: _Written
) -> None:
    """Measures several backends and numbers of threads in turn, or with --report alone the chosen backend."""
    bundle, plan = setting.bundle, setting.plan
    name = backend if all_backends else pick_for_bundle(backend, bundle)[0]
    cores = usable_cores()
    counts = [plan.cpu_threads] if plan.cpu_threads else sorted({1, cores}) if all_backends else [cores]
    say(model_line(bundle, "of each kind" if name == "auto" else name), err=True)
    prompt = Prompt(setting.box)
    comparison = compare(bundle, setting.image, prompt, contenders(name, counts), plan, track)
    show(compared_tables(setting, comparison), to_stderr=written.on_stdout)
    written.write(compared_json(setting, comparison))
    if page is not None:
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        text = compared_page(setting, comparison, command)
        write_files({page: text.encode()}, "--report")
        size = f"{len(text) / 1000:.1f} kB"
        say(f"wrote {page}, {size}; next: xdg-open {shlex.quote(str(page))}", err=written.on_stdout)


def _numbers(
    prompts: str | None, sessions: str | None, is_comparison: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the numbers of prompts in one call and of sessions at once, from their options.

    A comparison takes prompts only where they are named. Raises PromptError where it is to take sessions.
    """
    if not is_comparison:
        texts = (PROMPTS if prompts is None else prompts), (SESSIONS if sessions is None else sessions)
        return _counts("--prompts", texts[0]), _counts("--sessions", texts[1])
    if sessions is not None:
        raise PromptError(
            f"--sessions {sessions}: with --compare or --report each backend runs one session at a time; "
            "leave it out (--threads N sets the threads of the CPU)"
        )
    return () if prompts is None else _counts("--prompts", prompts), ()


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


def main() -> None:
    """Runs the command."""
    app()
