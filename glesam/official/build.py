"""A model made of official files: no tensor is drawn at random first, and none is held twice."""

from __future__ import annotations

from pathlib import Path

import torch
from peft.tuners.lora import LoraLayer

from glesam.config import BaseName, GleSamConfig, official, sd15, sd21
from glesam.model import CheckpointError, GleSam
from glesam.official.decoder import load_decoder
from glesam.official.lora import load_lora, lora_kind, read_lora
from glesam.official.sam import load_sam, sam_type_of
from glesam.official.text_embedding import load_text_embedding
from glesam.official.unet import load_unet, read_unet_config

LORA_RANK = 8
"""The authors'."""


def build_official(
    sam_checkpoint: str | Path,
    unet: str | Path,
    text_embedding: str | Path,
    lora: str | Path | None = None,
    decoder: str | Path | None = None,
    config: GleSamConfig | None = None,
) -> GleSam:
    """The model of these files, float32 on the CPU, in eval mode.

    Weights stay mapped from their files where those are float32. Without `lora` the adapters are fresh:
    GLE is then its base, and ready for stage 1 of training.

    Args:
        sam_checkpoint: `sam_vit_{b,l,h}_*.pth`, or a whole fine-tuned SAM.
        unet: Stable Diffusion's `unet/` folder, or the folder that holds it.
        text_embedding: see `glesam.official.text_embedding`.
        lora: `pytorch_lora_weights.safetensors`.
        decoder: `ft-decoder.pth`, in place of the one in `sam_checkpoint`.
        config: told from the files where not given.

    Raises:
        CheckpointError: a file is unreadable or does not fit the others.
    """
    with torch.device("meta"):
        model = GleSam(config or config_of(sam_checkpoint, unet, lora))
    load_sam(model, sam_checkpoint)
    load_unet(model, unet)
    start_adapters(model)
    load_text_embedding(model, text_embedding)
    if lora is not None:
        load_lora(model, lora)
    if decoder is not None:
        load_decoder(model, decoder)
    return model.eval()


def config_of(
    sam_checkpoint: str | Path,
    unet: str | Path,
    lora: str | Path | None = None,
    gamma: float = 3.0,
    lora_rank: int = LORA_RANK,
) -> GleSamConfig:
    """Reads sizes off the files: SAM's type, the base, and the rank where there is a LoRA.

    Args:
        gamma: no file holds it (`glesam.config.official`).
        lora_rank: of new adapters, where there is no LoRA file.

    Raises:
        CheckpointError: a file is unreadable, or of a size that is neither SAM's nor Stable Diffusion's.
    """
    rank = lora_rank if lora is None else lora_kind(read_lora(lora), lora).rank
    return official(sam_type_of(sam_checkpoint), base_of(unet), gamma, rank)


def base_of(unet: str | Path) -> BaseName:
    """Which Stable Diffusion a `unet/` folder holds, from its config.json."""
    found = read_unet_config(unet)
    if found == sd15():
        return "sd15"
    if found == sd21():
        return "sd21"
    raise CheckpointError(
        f"{unet} is neither Stable Diffusion 1.5's U-Net nor 2.1-base's; "
        "for another base pass a config of its own"
    )


def start_adapters(model: GleSam) -> None:
    """Gives adapters on the meta device their initial values: A random, B zero."""
    for layer in model.gle.unet.modules():
        if isinstance(layer, LoraLayer):
            for factors in (layer.lora_A, layer.lora_B):
                factors.to_empty(device="cpu")
            for name in layer.lora_A:
                layer.reset_lora_parameters(name, init_lora_weights=True)
