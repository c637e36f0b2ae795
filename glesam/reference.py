"""The unfolded PyTorch model behind the runtime's own Predictor: what an export is measured against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from glesam.checkpoint_folder import read_config, resolve_folder
from glesam.config import HieraEncoderConfig, RobustSamConfig
from glesam.decoding import ImageFeatures
from glesam.model import GleSam
from glesam.restorers.robust_sam import RobustSam
from glesam.two_way import dead_mask_heads
from glesam_runtime import Engines, Predictor
from glesam_runtime.bundle.manifest import Manifest
from glesam_runtime.bundle.options import AUXILIARY_IMAGE, DEGRADATION_LEVEL, with_options
from glesam_runtime.bundle.spec import HIGH_RES, GraphSpec
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
        is_robust = isinstance(read_config(folder), RobustSamConfig)
    except Exception:  # json and the operating system raise their own; from_pretrained says what is wrong
        is_robust = False
    return (RobustSam if is_robust else GleSam).from_pretrained(folder)


def torch_engines(model: Model) -> Engines:
    """The model's own functions, nothing merged or folded."""
    contract = reference_manifest(model).contract()
    encode, decode = (model.encode, model.decode) if isinstance(model, RobustSam) else _by_name(model)
    return Engines(
        torch_engine(contract["image_encoder"], encode),
        torch_gle(model, contract["gle"]),
        torch_engine(contract["mask_decoder"], decode),
    )


def _by_name(model: GleSam) -> tuple[TorchFunction, TorchFunction]:
    """`encode` and `decode` with SAM 2's high-resolution features by their names."""

    def encode(image: Tensor) -> tuple[Tensor, ...]:
        features = model.encode_features(image)
        return features.image_embeddings, *features.high_res

    def decode(
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        **high_res: Tensor,
    ) -> tuple[Tensor, Tensor]:
        features = ImageFeatures(
            image_embeddings, tuple(high_res[name] for name in HIGH_RES if name in high_res)
        )
        return model.decode(features, point_coords, point_labels, mask_input, has_mask_input)

    return encode, decode


def torch_gle(model: Model, required: GraphSpec) -> FunctionEngine:
    """Returns GLE, or RobustSAM's restorer, as an engine; an adaptive GLE tells the degradation level too."""
    if isinstance(model, RobustSam):
        return torch_engine(required, lambda image_embeddings: model.enhance(image_embeddings))

    def enhance(
        image_embeddings: Tensor, auxiliary_image: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        level = model.gle.degradation_level(image_embeddings)
        enhanced: Tensor = model.gle(image_embeddings, level, auxiliary_image)
        return enhanced if level is None else (enhanced, level)

    config = model.config.gle
    options = {DEGRADATION_LEVEL: config.adaptive, AUXILIARY_IMAGE: config.auxiliary}
    return torch_engine(with_options(required, [name for name, has in options.items() if has]), enhance)


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
    is_sam2 = isinstance(config.sam.encoder, HieraEncoderConfig)
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
        family="sam2" if is_sam2 else "sam",
        resize="squash" if is_sam2 else "longest-side",
    )
    if isinstance(model, RobustSam):  # no multimask: the authors' returns fifteen masks with three scores
        return replace(manifest, family="robustsam", encoder_channels=model.encoder_width)
    multimask, gle = not dead_mask_heads(model.mask_decoder), model.config.gle
    return replace(manifest, multimask=multimask, gamma=gle.gamma, timestep=gle.timestep)
