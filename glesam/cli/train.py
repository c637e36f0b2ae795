"""glesam-train: nano from scratch, or a stage of GleSAM's training for an existing model."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from glesam_runtime.cli.command import Command, Version, command_app, option, switch
from glesam_runtime.cli.errors import one_line_errors
from glesam_runtime.errors import InputError, printable

if TYPE_CHECKING:
    from glesam.gle import Gle
    from glesam.model import GleSam
    from glesam.training.stage_config import StageConfig

app = command_app()


_DATA, _TRAINING, _RUN = "Pictures", "What is trained", "Run and output"

_What = Annotated[str | None, typer.Argument(metavar="[nano]", help="nano: the small model, from scratch.")]
_Data = Annotated[Path | None, option(_DATA, "DIR", "Pictures with masks, or a folder of such sets.")]
_Sets = Annotated[Path | None, option(_DATA, "FILE", "JSON about the sets. Default: sets.json in DIR.")]
_Stage = Annotated[
    int | None,
    option(_TRAINING, "1|2", "1: GLE's LoRA; 2: the mask decoder."),
]
_Model = Annotated[
    str | None,
    option(
        _TRAINING, "CHECKPOINT", "The model to train: a folder, from glesam-convert or --out, or a hub id."
    ),
]
_Teacher = Annotated[
    str | None,
    option(
        _TRAINING, "CHECKPOINT", "Stage 1: the model whose enhanced embeddings a smaller GLE learns, too."
    ),
]
_Config = Annotated[
    Path | None, option(_TRAINING, "FILE", "The stage's settings as JSON. Default: the paper's.")
]
_Settings = Annotated[
    bool, switch(_TRAINING, "--settings", "List the settings of --stage with their defaults, and exit.")
]
_Run = Annotated[Path, option(_RUN, "DIR", "Folder of the run's checkpoints, from which it resumes.")]
_Out = Annotated[Path | None, option(_RUN, "DIR", "Folder of the trained model. Default: model in --run.")]
_Resume = Annotated[
    bool, switch(_RUN, "--resume", "Resume even where steps, precision or views have changed.")
]
_Threads = Annotated[int | None, option(_RUN, "N", "Threads of torch.", least=1)]


@app.command(cls=Command)
def train(
    what: _What = None,
    data: _Data = None,
    sets: _Sets = None,
    stage: _Stage = None,
    model: _Model = None,
    teacher: _Teacher = None,
    config: _Config = None,
    show_settings: _Settings = False,
    run: _Run = Path("runs/nano"),
    out: _Out = None,
    resume: _Resume = False,
    threads: _Threads = None,
    _version: Version = False,
) -> None:
    """Train nano from scratch, or with --stage a part of an existing model.

    Interrupt it whenever you like: the same command resumes from the last checkpoint and ends with the same
    weights. `accelerate launch` shares a stage among processes. Official files become a CHECKPOINT with
    glesam-convert.
    """
    with one_line_errors("glesam-train", "train"):
        from glesam.training.session import Session, make_accelerator, precision_of, use_threads
        from glesam.training.stage_config import read_stage_config, settings_table

        if show_settings:
            typer.echo(settings_table(stage))
            return
        use_threads(threads)
        settings = read_stage_config(config, stage) if config or stage else None
        data = check_request(data, what, settings is not None, model or teacher)
        accelerator = make_accelerator(settings.mixed_precision if settings else precision_of(run))
        session = Session(data, sets, run, out or run / "model", accelerator)
        session.check_folders(model, teacher)
        if settings is None:
            session.from_scratch()
        else:
            opened, taught_by = open_models(model, teacher, settings)
            session.stage(opened, settings, resume=resume, teacher=taught_by)
        written = str(session.out)
        line = f"wrote {written}; next: glesam-export {quote(written)} --precision fp16"
        accelerator.print(printable(line))
        accelerator.end_training()


def check_request(data: Path | None, what: str | None, has_stage: bool, model: str | None) -> Path:
    """Returns the data's folder; raises InputError where it is not clear what to train, or on what."""
    if what not in (None, "nano"):
        raise InputError(f"{what!r}: expected nano, the one model that is trained from scratch")
    if what is None and not has_stage:
        found = " a model to train was given, but not how;" if model else ""
        raise InputError(
            f"nothing to train:{found} expected nano (glesam-train nano --data DIR), "
            "or --stage 1 or --stage 2 with --model"
        )
    if what and (has_stage or model):
        raise InputError(
            "nano is trained from scratch, by its own recipe; leave out --stage, --config, --model, --teacher"
        )
    if data is None:
        raise InputError("no pictures to train on; give --data DIR")
    return data


def open_models(model: str | None, teacher: str | None, settings: StageConfig) -> tuple[GleSam, Gle | None]:
    """Opens the checkpoints of --model and --teacher; raises InputError where --model was left out."""
    from glesam.model import GleSam
    from glesam.training.teacher import open_teacher

    if model is None:
        raise InputError(
            "a stage trains a model that exists: give --model CHECKPOINT; "
            "glesam-convert makes one of the official files"
        )
    opened = GleSam.from_pretrained(model)
    return opened, open_teacher(teacher, opened, settings)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
