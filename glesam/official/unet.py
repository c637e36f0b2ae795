"""Stable Diffusion's `unet/` folder in diffusers' layout, loaded under GLE's adapters."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glesam.config import MID_BLOCK, UNetConfig
from glesam.file_limits import check_is_file
from glesam.gle import build_base_unet, load_base_weights
from glesam.model import GleSam
from glesam.official.lora import base_name
from glesam.official.tensor_files import check_fit, put, read_tensors
from glesam_runtime.errors import CheckpointError

WEIGHTS = tuple(
    f"diffusion_pytorch_model{suffix}"
    for suffix in (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")
)
DEFAULTS = {
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "use_linear_projection": False,
    "norm_num_groups": 32,
    "mid_block_type": MID_BLOCK,
}
"""Defaults of diffusers, for config.json files that leave them out (Stable Diffusion 1.5's does)."""
PREDICTION = "epsilon"
V_SAMPLE_SIZE = 96
"""The `sample_size` of Stable Diffusion 2.1 at 768 px, an eighth of that; 1.5 and 2.1-base have 64."""


def load_unet(model: GleSam, folder: str | Path) -> None:
    """Reads a base U-Net (4 channels), widens it (CRE) and puts it under the model's adapters.

    Args:
        folder: the U-Net's folder, or the Stable Diffusion folder that holds it as `unet/`.

    Raises:
        CheckpointError: the folder is unreadable, not the model's base, or a v-prediction U-Net, or the model
            has no CRE.
    """
    if not model.config.gle.channel_expansion:
        raise CheckpointError(
            f"{folder}: {model.config.name} takes no Stable Diffusion U-Net, whose 4 channels need channel "
            "expansion (CRE); expected a model with gle.channel_expansion in its config.json"
        )
    folder = unet_folder(folder)
    check_base(folder, read_unet_config(folder), model.config.gle.unet)
    check_prediction(folder)
    path = weights_file(folder)
    tensors = read_tensors(path)
    with torch.device("meta"):
        base = build_base_unet(model.config.gle.unet)
    check_fit(path, tensors, base.state_dict())
    unet = model.gle.unet
    weight = next(p for name, p in unet.named_parameters() if "lora_" not in name)
    put(nn.Module.to(base, weight.dtype), tensors)  # diffusers' own `to` warns without need
    load_base_weights(unet, base, assign=weight.device.type in ("cpu", "meta"))


def read_unet_config(folder: str | Path) -> UNetConfig:
    """Reads the part of a U-Net's `config.json` in which the bases differ.

    Raises:
        CheckpointError: there is no such file, or it describes no such U-Net.
    """
    path = unet_folder(folder) / "config.json"
    check_is_file(path)
    try:
        data: dict[str, Any] = {**DEFAULTS, **json.loads(path.read_text())}
        read = [(f.name, data[f.name]) for f in fields(UNetConfig)]
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in read}
        return UNetConfig(**values)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"cannot read {path} ({type(error).__name__}: {error}); "
            "expected a unet/ folder as diffusers saves it"
        ) from error


def unet_folder(folder: str | Path) -> Path:
    """The folder `unet/` within `folder` where there is one, else `folder` itself."""
    folder = Path(folder)
    return folder / "unet" if (folder / "unet").is_dir() else folder


def weights_file(folder: Path) -> Path:
    """The first of `WEIGHTS` in the folder; raises CheckpointError where there is none."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{folder} holds no weights; expected one of {', '.join(WEIGHTS)}")


def check_base(folder: Path, found: UNetConfig, expected: UNetConfig) -> None:
    """Raises CheckpointError where the configurations differ: no tensor's shape shows the number of heads."""
    ours, theirs = asdict(expected), asdict(found)
    for name, value in theirs.items():
        if value != ours[name]:
            raise CheckpointError(
                f"{folder} is {base_name(found.cross_attention_dim)} with {name} {value}, the model's base "
                f"{base_name(expected.cross_attention_dim)} with {ours[name]}; choose the base of the folder"
            )


def check_prediction(folder: Path) -> None:
    """Raises CheckpointError for a U-Net that does not predict the noise, as GLE's one step requires.

    The scheduler's file has the kind of prediction, where it lies beside the U-Net. The U-Net's own file has
    not, but Stable Diffusion 2.1 at 768 px, which predicts v, differs from 2.1-base in its `sample_size`.
    """
    path = folder.parent / "scheduler" / "scheduler_config.json"
    prediction = _json(path).get("prediction_type", PREDICTION) if path.is_file() else PREDICTION
    if prediction == PREDICTION and _json(folder / "config.json").get("sample_size") == V_SAMPLE_SIZE:
        path, prediction = folder / "config.json", f"v_prediction (sample_size {V_SAMPLE_SIZE})"
    if prediction != PREDICTION:
        raise CheckpointError(
            f"{folder} belongs to a {prediction} model ({path}); expected {PREDICTION}: "
            "Stable Diffusion 1.5 or 2.1-base, not 2.1 at 768 px"
        )


def _json(path: Path) -> dict[str, Any]:
    check_is_file(path)
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path} ({type(error).__name__}: {error})") from error
