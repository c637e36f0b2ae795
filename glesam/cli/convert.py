"""glesam-convert: official files become one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from glesam_runtime.cli.command import Command, Version, command_app
from glesam_runtime.cli.errors import one_line_errors, say
from glesam_runtime.errors import CheckpointError, InputError
from glesam_runtime.output import FolderKind, check_replaceable, replaced_folder

if TYPE_CHECKING:
    from glesam.official.build import OfficialFiles

FILES, SETTINGS, OUTPUT = "Official files", "Settings that no file holds", "Output"
CHECKPOINT = FolderKind("a checkpoint", "model.safetensors", "--out")

app = command_app()


def _option(group: str, metavar: str, text: str) -> Any:  # noqa: ANN401 - typer's own type
    return typer.Option(metavar=metavar, help=text, show_default=False, rich_help_panel=group)


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
NewLora = Annotated[
    bool,
    typer.Option("--new-lora", help="Start a new LoRA, for glesam-train --stage 1.", rich_help_panel=FILES),
]
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
Out = Annotated[Path, _option(OUTPUT, "DIR", "The checkpoint's folder; an older checkpoint is replaced.")]


@app.command(cls=Command)
def convert(
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
    out: Out,
    _version: Version = False,
) -> None:
    """Join official files into a checkpoint folder, for glesam-export, glesam-train and glesam-eval.

    Needs --sam-checkpoint, --unet, and --lora or --new-lora; or --robust-sam alone. Once the new checkpoint
    is complete, it replaces an older one in DIR and everything that lies beside it.
    """
    with one_line_errors("glesam-convert", "train"):
        from glesam.model import checkpoint_files
        from glesam.official.build import OfficialFiles

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
        check_out(out, official)
        model = official.load()
        with replaced_folder(out, CHECKPOINT) as folder:
            model.save_pretrained(folder)
        size = sum(path.stat().st_size for path in checkpoint_files(out).values())
    say(f"wrote {out}, {size / 2**20:.1f} MiB; next: {next_command(out, new_lora)}")


def check_out(out: Path, official: OfficialFiles) -> None:
    """Raises InputError where replacing `out` would remove anything but an older checkpoint."""
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
    for path in official.files().values():
        if out.resolve() in path.resolve().parents:
            raise CheckpointError(
                f"{path} lies in {out}, which is replaced; choose another folder with --out"
            )


def next_command(out: Path, new_lora: bool) -> str:
    """What to do with the checkpoint: export it, or train its new LoRA."""
    if new_lora:
        return f"glesam-train --stage 1 --model {out} --data DIR"
    return f"glesam-export {out} --precision fp16"


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
