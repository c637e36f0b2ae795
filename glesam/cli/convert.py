"""glesam-convert: official files become one checkpoint, or a checkpoint one with a smaller GLE."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from glesam_runtime.cli.command import Command, Version, command_app, option, switch
from glesam_runtime.cli.errors import one_line_errors, say
from glesam_runtime.errors import CheckpointError, InputError
from glesam_runtime.output import FolderKind, check_replaceable, replaced_folder

if TYPE_CHECKING:
    from glesam.model import GleSam
    from glesam.official.build import OfficialFiles
    from glesam.restorers.robust_sam import RobustSam as RobustSamModel
    from glesam.smaller_gle import Reduction

FILES, SETTINGS, SMALLER, OUTPUT = (
    "Official files",
    "Settings that no file holds",
    "A smaller GLE of a CHECKPOINT",
    "Output",
)
CHECKPOINT = FolderKind("a checkpoint", "model.safetensors", "--out")

app = command_app()
_option = partial(option, show_default=False)


SamCheckpoint = Annotated[
    Path | None, _option(FILES, "PATH", "SAM's or SAM 2's file, or transformers' folder of SAM 2.")
]
RobustSam = Annotated[
    Path | None, _option(FILES, "FILE", "RobustSAM's file, a model of its own: no other file is needed.")
]
SamType = Annotated[
    str | None, _option(FILES, "NAME", "Check that it is vit_b, vit_l, vit_h, or such as sam2.1_hiera_tiny.")
]
UNet = Annotated[
    Path | None, _option(FILES, "DIR", "Stable Diffusion's unet folder, or the folder that holds it.")
]
Lora = Annotated[Path | None, _option(FILES, "FILE", "GLE's pytorch_lora_weights.safetensors.")]
NewLora = Annotated[bool, switch(FILES, "--new-lora", "Start a new LoRA, for glesam-train --stage 1.")]
Decoder = Annotated[
    Path | None, _option(FILES, "FILE", "The tuned ft-decoder.pth. Default: the decoder in SAM's file.")
]
TextEmbedding = Annotated[
    Path | None,
    _option(
        FILES,
        "PATH",
        "The encoded empty prompt, or a folder with tokenizer and text_encoder. "
        "Default: those beside the U-Net.",
    ),
]
Gamma = Annotated[
    float | None, _option(SETTINGS, "F", "FDA's scale (feature distribution alignment). Default: 3.")
]
Timestep = Annotated[int | None, _option(SETTINGS, "N", "GLE's diffusion timestep, 0 to 999. Default: 1.")]
NoMemEmbed = Annotated[
    str | None,
    _option(
        SETTINGS, "PLACE", "Place of SAM 2's no_mem_embed: before_gle or after_gle. Default: before_gle."
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Argument(
        metavar="[CHECKPOINT]", help="A folder or hub id, whose GLE is made smaller.", show_default=False
    ),
]
LayersPerBlock = Annotated[
    int | None, _option(SMALLER, "N", "Keep N layers of the U-Net's blocks, fewer than they have.")
]
LevelsWithoutAttention = Annotated[
    int | None, _option(SMALLER, "N", "Leave out the attention of the N finest levels.")
]
MidBlock = Annotated[
    str | None, _option(SMALLER, "resnet|none", "Keep the mid block's first resnet, or nothing of it.")
]
Out = Annotated[Path, _option(OUTPUT, "DIR", "The checkpoint's folder; an older checkpoint is replaced.")]


@app.command(cls=Command)
def convert(
    checkpoint: Checkpoint = None,
    *,
    sam_checkpoint: SamCheckpoint = None,
    robust_sam: RobustSam = None,
    sam_type: SamType = None,
    unet: UNet = None,
    lora: Lora = None,
    new_lora: NewLora = False,
    decoder: Decoder = None,
    text_embedding: TextEmbedding = None,
    gamma: Gamma = None,
    timestep: Timestep = None,
    no_mem_embed: NoMemEmbed = None,
    layers_per_block: LayersPerBlock = None,
    levels_without_attention: LevelsWithoutAttention = None,
    mid_block: MidBlock = None,
    out: Out,
    _version: Version = False,
) -> None:
    """Join official files into a checkpoint folder, for glesam-export, glesam-train and glesam-eval.

    Needs --sam-checkpoint, --unet, and --lora or --new-lora; or --robust-sam alone; or a CHECKPOINT, to make
    its GLE smaller. Once the new checkpoint is complete, it replaces an older one in DIR and everything that
    lies beside it.
    """
    with one_line_errors("glesam-convert", "train"):
        from glesam.model import checkpoint_files
        from glesam.official.build import OfficialFiles
        from glesam.smaller_gle import Reduction

        official = OfficialFiles(
            sam_checkpoint,
            unet,
            lora,
            decoder,
            text_embedding,
            sam_type,
            gamma,
            timestep,
            new_lora,
            cast(Any, no_mem_embed),  # checked by `load`
            robust_sam,
        )
        reduction = Reduction(layers_per_block, levels_without_attention, mid_block)
        check_request(checkpoint, official, reduction)
        model = joined(official, out) if checkpoint is None else reduced(checkpoint, reduction, out)
        with replaced_folder(out, CHECKPOINT) as folder:
            model.save_pretrained(folder)
        size = sum(path.stat().st_size for path in checkpoint_files(out).values())
    say(f"wrote {out}, {size / 2**20:.1f} MiB; next: {next_command(out, new_lora, checkpoint)}")


def check_request(checkpoint: str | None, official: OfficialFiles, reduction: Reduction) -> None:
    """Raises InputError where both a checkpoint and official files are given, or a reduction of neither."""
    if checkpoint is not None and (given := official.given()):
        raise InputError(
            f"CHECKPOINT {checkpoint} is a whole model, to make its GLE smaller; leave out {', '.join(given)}"
        )
    if checkpoint is None and any(value is not None for value in vars(reduction).values()):
        raise InputError(
            "a smaller GLE is made of a checkpoint; join the official files first, then "
            "glesam-convert CHECKPOINT --out DIR with these options"
        )


def joined(official: OfficialFiles, out: Path) -> GleSam | RobustSamModel:
    """The model of official files."""
    check_out(out, official.files().values())
    return official.load()


def reduced(checkpoint: str, reduction: Reduction, out: Path) -> GleSam:
    """A checkpoint's model with a smaller GLE; says what it costs before and after."""
    from glesam.model import GleSam, checkpoint_files
    from glesam.smaller_gle import cost_of, smaller_gle

    check_out(out, checkpoint_files(GleSam.resolve(checkpoint)).values())
    model = GleSam.from_pretrained(checkpoint)
    smaller = smaller_gle(model, reduction)
    say(f"GLE's U-Net: {cost_of(model.config)}, now {cost_of(smaller.config)}")
    return smaller


def check_out(out: Path, kept: Iterable[Path]) -> None:
    """Raises InputError where replacing `out` would remove anything but an older checkpoint.

    Args:
        kept: files that are read, and must not be removed.
    """
    from glesam.config import config_from_json
    from glesam.model import CONFIG_FILE

    check_replaceable(out, CHECKPOINT)
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        config_from_json((out / CONFIG_FILE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{out} exists and is not {CHECKPOINT.name}; choose another folder with --out, or move it away"
        ) from error
    for path in kept:
        if out.resolve() in path.resolve().parents:
            raise CheckpointError(
                f"{path} lies in {out}, which is replaced; choose another folder with --out"
            )


def next_command(out: Path, new_lora: bool, checkpoint: str | None) -> str:
    """What to do with the new checkpoint: export it, or train its new LoRA or its smaller GLE."""
    if checkpoint is not None:
        return f"glesam-train --stage 1 --model {quote(str(out))} --teacher {quote(checkpoint)} --data DIR"
    if new_lora:
        return f"glesam-train --stage 1 --model {quote(str(out))} --data DIR"
    return f"glesam-export {quote(str(out))} --precision fp16"


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
