"""The unfolded PyTorch model behind the runtime's own Predictor: what an export is measured against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from glesam.model import GleSam
from glesam.sam import dead_mask_heads
from glesam_runtime import Engines, Predictor
from glesam_runtime.bundle.manifest import Manifest
from glesam_runtime.bundle.spec import GraphSpec, bundle_contract
from glesam_runtime.engines.base import Array, Tensors, run_checked

Function = Callable[..., Tensor | tuple[Tensor, ...]]


class TorchEngine:
    """`glesam_runtime.engines.Engine` around a PyTorch function whose arguments are the feeds."""

    def __init__(self, spec: GraphSpec, function: Function) -> None:
        self._spec = spec
        self._function = function

    @property
    def spec(self) -> GraphSpec:
        return self._spec

    def __call__(self, feeds: Tensors, on_device: bool = False) -> dict[str, Array]:
        return run_checked(self._spec, feeds, self._infer)

    def new_session(self, stream: int | None = None) -> TorchEngine:
        return self

    def close(self) -> None:
        """Nothing to free: the model belongs to the caller."""

    def _infer(self, feeds: Tensors) -> dict[str, Array]:
        with torch.no_grad():
            outputs = self._function(**{k: torch.from_numpy(v) for k, v in feeds.items()})
        tensors = outputs if isinstance(outputs, tuple) else (outputs,)
        names = [tensor.name for tensor in self._spec.outputs]
        return {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}


def torch_engines(model: GleSam) -> Engines:
    """The model's own functions, nothing merged or folded."""
    contract = bundle_contract(model.config.sam.image_size)
    return Engines(
        TorchEngine(contract["image_encoder"], lambda image: model.encode(image)),
        TorchEngine(contract["gle"], lambda image_embeddings: model.enhance(image_embeddings)),
        TorchEngine(contract["mask_decoder"], model.decode),
    )


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
