"""glesam-triton: a bundle as a model repository for the Triton Inference Server."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from ..bundle.reader import Bundle
from ..output import size_mib
from ..tools.triton import write_triton
from .command import Command, Version, command_app
from .errors import one_line_errors, say

app = command_app()


@app.command(cls=Command)
def run(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that glesam-export wrote.")],
    out: Annotated[
        Path, typer.Argument(metavar="DIR", help="The model repository; an older one is replaced.")
    ],
    _version: Version = False,
) -> None:
    """Write a bundle as a Triton model repository: three ONNX models and an ensemble of them.

    The bundle's precision is fp32, fp16 or int8 with fp16 or fp32: Triton's onnxruntime backend has no bf16.
    Exit status 2 for any error; nothing is written then.
    """
    with one_line_errors():
        write_triton(Bundle.open(bundle), out)
        say(f"wrote {out}, {size_mib(out):.1f} MiB; next: tritonserver --model-repository {quote(str(out))}")


def main() -> None:
    """The console script."""
    app()
