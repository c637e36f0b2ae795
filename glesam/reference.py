"""The unfolded PyTorch model behind the runtime's own Predictor: what an export is measured against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from glesam.checkpoint_folder import CONFIG_FILE, resolve_folder
from glesam.config import RobustSamConfig, config_from_json
from glesam.model import GleSam
from glesam.restorers.robust_sam import RobustSam
from glesam.sam import dead_mask_heads
from glesam_runtime import Engines, Predictor
from glesam_runtime.bundle.manifest import Manifest
from glesam_runtime.bundle.spec import GraphSpec
from glesam_runtime.engines.base import Array, Tensors
from glesam_runtime.engines.function import FunctionEngine

TorchFunction = Callable[..., Tensor | tuple[Tensor, ...]]
Model = GleSam | RobustSam
"""A model that can be exported and evaluated."""


def load_model(folder_or_hub_id: str | Path) -> Model:
    """Reads a checkpoint of either kind.

    Raises:
        CheckpointError: see `SavedModel.from_pretrained`.
    """
    folder = resolve_folder(folder_or_hub_id)
    try:
        config = config_from_json((folder / CONFIG_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return GleSam.from_pretrained(folder)  # says what is wrong
    return (RobustSam if isinstance(config, RobustSamConfig) else GleSam).from_pretrained(folder)


def torch_engines(model: Model) -> Engines:
    """The model's own functions, nothing merged or folded."""
    contract = reference_manifest(model).contract()
    return Engines(
        torch_engine(contract["image_encoder"], lambda image: model.encode(image)),
        torch_engine(contract["gle"], lambda image_embeddings: model.enhance(image_embeddings)),
        torch_engine(contract["mask_decoder"], model.decode),
    )


def torch_engine(spec: GraphSpec, function: TorchFunction) -> FunctionEngine:
    """Returns an engine of a PyTorch function whose arguments have the names of `spec`'s inputs."""
    names = [tensor.name for tensor in spec.outputs]

    def infer(feeds: Tensors) -> dict[str, Array]:
        with torch.no_grad():
            outputs = function(**{name: torch.from_numpy(array) for name, array in feeds.items()})
        tensors = outputs if isinstance(outputs, tuple) else (outputs,)
        return {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}

    return FunctionEngine(spec, infer)


def reference_predictor(model: Model) -> Predictor:
    """Image to masks in PyTorch, with the same pre- and postprocessing as every runtime."""
    return Predictor(reference_manifest(model), torch_engines(model))


def reference_manifest(model: Model) -> Manifest:
    """The manifest of a bundle without files: a model's numbers as the runtime wants them."""
    config = model.config
    manifest = Manifest(
        name=config.name,
        sam_type=config.sam.sam_type,
        multimask=False,
        image_size=config.sam.image_size,
        pixel_mean=config.sam.pixel_mean,
        pixel_std=config.sam.pixel_std,
        mask_threshold=config.sam.mask_threshold,
        gamma=None,
        timestep=None,
        precision="fp32",
        graphs={},
        files={},
        made_from={},
        parity={},
    )
    if isinstance(model, RobustSam):  # no multimask: the authors' returns fifteen masks with three scores
        return replace(manifest, family="robustsam", encoder_channels=model.encoder_width)
    multimask, gle = not dead_mask_heads(model.mask_decoder), model.config.gle
    return replace(manifest, multimask=multimask, gamma=gle.gamma, timestep=gle.timestep)
