"""Official files with random weights: SAM's, Stable Diffusion's U-Net and GleSAM's, as users have them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from glesam.config import GleSamConfig
from glesam.gle import build_base_unet
from glesam.model import GleSam
from glesam.official.build import build_official, start_adapters
from glesam.official.decoder import save_decoder
from glesam.official.lora import save_lora
from glesam.official.sam2 import name_in_file
from glesam.sam import build_image_encoder, build_mask_decoder, build_prompt_encoder
from glesam_runtime.output import FolderKind, replaced_folder

SAM, UNET, TEXT = "sam.pth", "unet", "empty_prompt.npy"
LORA, DECODER = "pytorch_lora_weights.safetensors", "ft-decoder.pth"
OFFICIAL = FolderKind("a folder of official files", DECODER, "--keep")


def write_official_files(config: GleSamConfig, folder: Path) -> None:
    """Writes random weights under the official names, part by part."""
    torch.manual_seed(0)
    build_base_unet(config.gle.unet).save_pretrained(folder / UNET)
    parts = {
        "image_encoder": build_image_encoder(config.sam.encoder, config.sam.image_size),
        "prompt_encoder": build_prompt_encoder(config.sam),
        "mask_decoder": build_mask_decoder(config.sam),
    }
    if config.sam.has_high_res:
        set_sam2_apart(parts)
    tensors = {f"{part}.{n}": t for part, module in parts.items() for n, t in module.state_dict().items()}
    if config.sam.has_high_res:
        torch.save({"model": {name_in_file(name, {}): t for name, t in tensors.items()}}, folder / SAM)
    else:
        torch.save(tensors, folder / SAM)
    np.save(
        folder / TEXT, torch.randn(1, config.gle.text_tokens, config.gle.unet.cross_attention_dim).numpy()
    )
    with torch.device("meta"):
        model = GleSam(config)
    start_adapters(model)
    save_lora(model, folder / LORA)
    model.image_encoder, model.mask_decoder = parts["image_encoder"], parts["mask_decoder"]
    save_decoder(model, folder / DECODER)


@torch.no_grad()
def set_sam2_apart(parts: Mapping[str, nn.Module]) -> None:
    """Draws what starts at zero, and sets the scores of SAM 2's masks apart, as those of trained masks are.

    Among equal scores rounding would choose the mask, and no gate could hold.
    """
    for module in parts.values():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    bias = parts["mask_decoder"].get_parameter("iou_prediction_head.layers.2.bias")
    bias.add_(torch.tensor([0.0, 0.5, 1.0, -0.5]))


def write_in_a_process(sam_type: str, base: str, folder: Path) -> None:
    """Writes the files of a model in a process of its own, whose memory is not the caller's.

    `folder` is whole or not there. Raises OutputError where it is something else.
    """
    script = Path(__file__).parents[1] / "fullsize_training.py"
    with replaced_folder(folder, OFFICIAL) as partial:
        options = ["--sam-type", sam_type, "--base", base, "--write-only", str(partial)]
        subprocess.run([sys.executable, str(script), *options], check=True)


def are_written(folder: Path) -> bool:
    """Returns whether `folder` holds the official files."""
    return (folder / OFFICIAL.marker).is_file()


def read_official_files(folder: Path) -> GleSam:
    """Returns the model of a folder; its sizes are read off the files."""
    return build_official(*(folder / name for name in (SAM, UNET, TEXT, LORA, DECODER)))
