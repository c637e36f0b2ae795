"""The options that name the official files, for every command that makes a model of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _option(metavar: str, text: str) -> Any:  # noqa: ANN401 - typer's own type
    return typer.Option(metavar=metavar, help=text, show_default=False)


SamType = Annotated[
    str | None, _option("NAME", "vit_b, vit_l or vit_h, checked against the file. Default: the file's.")
]
SamCheckpoint = Annotated[Path | None, _option("FILE", "SAM's file, in place of a checkpoint.")]
UNet = Annotated[Path | None, _option("DIR", "Stable Diffusion's unet folder, or the one it lies in.")]
Lora = Annotated[Path | None, _option("FILE", "pytorch_lora_weights.safetensors.")]
Decoder = Annotated[Path | None, _option("FILE", "ft-decoder.pth. Default: the decoder in SAM's file.")]
TextEmbedding = Annotated[
    Path | None,
    _option("PATH", "The empty prompt, encoded, or what encodes it. Default: the folders beside the U-Net."),
]
Gamma = Annotated[float | None, _option("F", "FDA's scale of the official files. Default: 3.")]
Timestep = Annotated[int | None, _option("N", "GLE's timestep for the official files. Default: 1.")]
