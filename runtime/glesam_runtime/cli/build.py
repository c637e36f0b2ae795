"""glesam-build: a bundle's graphs become TensorRT engines in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..bundle.reader import Bundle
from ..engines import TENSORRT
from ..engines.tensorrt.build import BuildOptions, Profile
from ..tools.build import build, closing_line, engine_line, plan_build
from ..tools.console import model_line
from .command import BundleFolder, Command, Version, command_app
from .errors import one_line_errors, say

app = command_app()


@app.command(cls=Command)
def run(
    bundle: BundleFolder = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help=f"{' or '.join(TENSORRT)}.")] = "tensorrt-rtx",
    target: Annotated[
        str | None,
        typer.Option(metavar="SM,...", help="GPUs other than this one, as sm86,sm89; tensorrt-rtx only."),
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(metavar="MiB", min=1, help="Largest memory of one kernel.")
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep measurements for later builds here; tensorrt only."),
    ] = None,
    max_prompts: Annotated[
        int, typer.Option(metavar="N", min=1, max=4096, help="Largest number of prompts in one call.")
    ] = Profile().num_prompts[2],
    force: Annotated[bool, typer.Option("--force", help="Build engines again that are cached.")] = False,
    _version: Version = False,
) -> None:
    """Build an engine from every graph of a bundle: for this machine's GPU, or for the GPUs of --target.

    Each engine is built in a process of its own. Its layers are compared with the bundle's precision; an
    engine that computes in another one is an error and is not kept. Exit status: 2 for any error.
    """
    with one_line_errors():
        options = BuildOptions(workspace, timing_cache, Profile(num_prompts=(1, 1, max_prompts)))
        opened = Bundle.open(bundle)
        plan = plan_build(opened, backend, target, options)
        say(model_line(opened, f"{backend} {plan.library.version}"), err=True)
        records = []
        for record, is_new in build(plan, force):
            say(engine_line(record, is_new))
            records.append(record)
        say(closing_line(plan, records))


def main() -> None:
    """Runs the command."""
    app()
