"""glesam: every command of this project under one name; `glesam run` is glesam-run."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from .command import Version, command_app
from .errors import EXIT_STATUS, complain

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("glesam_runtime.cli.run", "Segment pictures, folders, videos and cameras."),
    "info": ("glesam_runtime.cli.info", "Show a bundle, and the backends of this machine."),
    "verify": ("glesam_runtime.cli.verify", "Compare this machine with PyTorch's recorded answers."),
    "bench": ("glesam_runtime.cli.bench", "Measure the speed and the memory of a bundle."),
    "view": ("glesam_runtime.cli.view", "Click on pictures in a browser."),
    "degrade": ("glesam_runtime.cli.degrade", "Make degraded copies of pictures."),
    "convert": ("glesam.cli.convert", "Make a checkpoint of official files."),
    "train": ("glesam.cli.train", "Train a checkpoint."),
    "eval": ("glesam.cli.evaluate", "Compare checkpoints and bundles on labelled pictures."),
    "export": ("glesam_export.cli", "Make a bundle of a checkpoint."),
    "calibrate": ("glesam_calib.cli.calibrate", "Record the ranges of a bundle's activations."),
    "quantize": ("glesam_calib.cli.quantize", "Make an int8 bundle of a float bundle."),
    "build": ("glesam_runtime.cli.build", "Build TensorRT engines of a bundle."),
    "triton": ("glesam_runtime.cli.triton", "Write a bundle for the Triton Inference Server."),
    "sign": ("glesam_runtime.cli.sign", "Sign a bundle."),
}
"""Name -> the module whose `app` is the command, and what it does; the same as the command glesam-NAME."""
_HABITS = {
    "run": (
        "segment",
        "predict",
        "infer",
        "inference",
        "detect",
        "mask",
        "masks",
        "auto",
        "track",
        "follow",
        "demo",
    ),
    "info": ("show", "inspect", "list", "devices", "backends", "doctor", "env"),
    "verify": ("check", "test", "parity", "compare"),
    "bench": ("benchmark", "time", "profile", "speed"),
    "degrade": ("corrupt", "augment"),
    "convert": ("import", "download"),
    "eval": ("evaluate", "val", "validate", "score"),
    "export": ("onnx", "to-onnx"),
    "quantize": ("quantise", "int8", "calib", "ptq"),
    "build": ("compile", "engine", "tensorrt", "trtexec"),
    "train": ("fit", "finetune", "fine-tune"),
}
"""Command -> what other programs call it."""
_OPTIONS = {"version": "--version", "help": "-h"}
"""Word that is a command of other programs -> the option here."""


class Umbrella(TyperGroup):
    """A group whose commands are imported only when they run."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Returns the names, in the order of the way from a picture to a device."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Returns the command; None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        return get_command(import_module(COMMANDS[cmd_name][0]).app)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Returns the command of the first word; says what may have been meant where there is none."""
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            complain(unknown(args[0]))
            raise typer.Exit(EXIT_STATUS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Writes each command and what it does, without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def unknown(word: str) -> str:
    """Returns the line for a first word that is no command."""
    by_habit = [name for name, words in _HABITS.items() if word.lower() in words]
    if word.lower() in _OPTIONS:
        return f"glesam has no command {word!r}; write glesam {_OPTIONS[word.lower()]}"
    names = by_habit or difflib.get_close_matches(word.lower().removeprefix("glesam-"), COMMANDS, n=1)
    if not names and (os.path.exists(word) or os.path.splitext(word)[1]):
        names = [f"run {word}"]
    meant = f"write glesam {names[0]}" if names else f"choose one of {', '.join(COMMANDS)}"
    return f"glesam has no command {word!r}; {meant}"


app = command_app(cls=Umbrella, no_args_is_help=True)


@app.callback()
def glesam(_version: Version = False) -> None:
    """Segment objects in degraded pictures, and make the models that do.

    `glesam NAME` is the same as `glesam-NAME`, and `glesam NAME -h` its help.
    """


def main() -> None:
    """Runs the command."""
    app(prog_name="glesam")
