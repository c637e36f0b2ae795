"""glesam-build: a bundle's graphs become TensorRT engines in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..bundle.reader import Bundle
from ..engines import TENSORRT
from ..engines.tensorrt.build import BuildOptions, Profile
from ..tools.build import build, closing_line, engine_line, plan_build
from ..tools.console import model_line
from .command import BundleFolder, Command, Version, command_app, option, switch
from .errors import one_line_errors, say

app = command_app()
_FOR, _BUILD = "What the engines are for", "How they are built"


@app.command(cls=Command)
def run(
    bundle: BundleFolder = None,
    backend: Annotated[str, option(_FOR, "NAME", f"{' or '.join(TENSORRT)}.")] = "tensorrt-rtx",
    target: Annotated[
        str | None, option(_FOR, "SM,...", "GPUs other than this one, as sm86,sm89; tensorrt-rtx only.")
    ] = None,
    max_prompts: Annotated[
        int, option(_FOR, "N", "Largest number of prompts in one call.", least=1, most=4096)
    ] = Profile().num_prompts[2],
    workspace: Annotated[int | None, option(_BUILD, "MiB", "Largest memory of one kernel.", least=1)] = None,
    timing_cache: Annotated[
        Path | None, option(_BUILD, "FILE", "Keep measurements for later builds here; tensorrt only.")
    ] = None,
    force: Annotated[bool, switch(_BUILD, "--force", "Build engines again that are cached.")] = False,
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
