"""The unfolded PyTorch model behind the runtime's own Predictor: what an export is measured against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from glesam.model import GleSam
from glesam.sam import dead_mask_heads
from glesam_runtime import Engines, Predictor
from glesam_runtime.bundle.manifest import Manifest
from glesam_runtime.bundle.options import AUXILIARY_IMAGE, DEGRADATION_LEVEL, with_options
from glesam_runtime.bundle.spec import GraphSpec, bundle_contract
from glesam_runtime.engines.base import Array, Tensors
from glesam_runtime.engines.function import FunctionEngine

TorchFunction = Callable[..., Tensor | tuple[Tensor, ...]]


def torch_engines(model: GleSam) -> Engines:
    """The model's own functions, nothing merged or folded."""
    contract = bundle_contract(model.config.sam.image_size)
    return Engines(
        torch_engine(contract["image_encoder"], lambda image: model.encode(image)),
        torch_gle(model, contract["gle"]),
        torch_engine(contract["mask_decoder"], model.decode),
    )


def torch_gle(model: GleSam, required: GraphSpec) -> FunctionEngine:
    """Returns GLE as an engine; an adaptive one tells the degradation level too."""

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


def reference_predictor(model: GleSam) -> Predictor:
    """Image to masks in PyTorch, with the same pre- and postprocessing as every runtime."""
    return Predictor(reference_manifest(model), torch_engines(model))


def reference_manifest(model: GleSam) -> Manifest:
    """The manifest of a bundle without files: a model's numbers as the runtime wants them."""
    config = model.config
    return Manifest(
        name=config.name,
        sam_type=config.sam.sam_type,
        multimask=not dead_mask_heads(model.mask_decoder),
        image_size=config.sam.image_size,
        pixel_mean=config.sam.pixel_mean,
        pixel_std=config.sam.pixel_std,
        mask_threshold=config.sam.mask_threshold,
        gamma=config.gle.gamma,
        timestep=config.gle.timestep,
        precision="fp32",
        graphs={},
        files={},
        made_from={},
        parity={},
    )
