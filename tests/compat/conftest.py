"""segment-anything itself, and the same tiny weights in it and in a bundle.

Its two helpers from torchvision, which this project does not install, are stood in for: what resizes a PIL
image there is PIL, and greedy non-maximum suppression is written out below.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from glesam.model import GleSam
from glesam_runtime.compat import Sam, sam_model_registry

SIDE = 64
"""Side of the tiny model's input [px]."""


def resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """torchvision's resize of a PIL image; `size` is (height, width)."""
    return picture.resize(size[::-1], Image.Resampling.BILINEAR)


def box_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def batched_nms(boxes: Tensor, scores: Tensor, categories: Tensor, iou_threshold: float) -> Tensor:
    """torchvision's suppression, of one category: the indices that stay, best score first."""
    assert not categories.any()
    kept: list[int] = []
    for index in torch.sort(scores, descending=True, stable=True).indices.tolist():
        start = torch.maximum(boxes[index, :2], boxes[kept, :2])
        end = torch.minimum(boxes[index, 2:], boxes[kept, 2:])
        shared = (end - start).clamp(min=0).prod(dim=1)
        union = box_area(boxes[index : index + 1]) + box_area(boxes[kept]) - shared
        if not (shared / union > iou_threshold).any():
            kept.append(index)
    return torch.tensor(kept, dtype=torch.int64)


@contextmanager
def torchvision_stand_in() -> Iterator[None]:
    """Makes the four functions importable by torchvision's names in this block."""
    functional, boxes = ModuleType("torchvision.transforms.functional"), ModuleType("torchvision.ops.boxes")
    vars(functional).update(resize=resize, to_pil_image=Image.fromarray)
    vars(boxes).update(batched_nms=batched_nms, box_area=box_area)
    names = ("torchvision", "torchvision.transforms", "torchvision.ops")
    modules = {name: ModuleType(name) for name in names} | {
        each.__name__: each for each in (functional, boxes)
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        yield


@pytest.fixture(scope="session")
def original() -> ModuleType:
    """segment-anything's own SamPredictor and SamAutomaticMaskGenerator, in one namespace."""
    names = ModuleType("original")
    with torchvision_stand_in():
        for file, name in (
            ("predictor", "SamPredictor"),
            ("automatic_mask_generator", "SamAutomaticMaskGenerator"),
        ):
            module = importlib.import_module(f"segment_anything.{file}")
            setattr(names, name, getattr(module, name))
    return names


@pytest.fixture(scope="session")
def torch_sam(checkpoints: dict[str, Path]) -> Any:  # noqa: ANN401
    """segment-anything's Sam with the tiny weights, in its own classes."""
    modeling = importlib.import_module("segment_anything.modeling")
    model = GleSam.from_pretrained(checkpoints["fp32"])
    decoder = modeling.MaskDecoder(
        transformer_dim=256,
        transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=64),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )
    decoder.load_state_dict(model.mask_decoder.state_dict())
    config = model.config.sam
    return modeling.Sam(
        model.image_encoder, model.prompt_encoder, decoder, list(config.pixel_mean), list(config.pixel_std)
    ).eval()


@pytest.fixture(scope="session")
def bundle_sam(fp32_bundle: Path) -> Sam:
    """The same weights as a bundle, without GLE."""
    return sam_model_registry["default"](checkpoint=fp32_bundle, enhance=False)


@pytest.fixture(params=[(96, 128), (90, 61)], ids=["wide", "tall"])
def image(request: pytest.FixtureRequest) -> np.ndarray:
    """uint8 [H,W,3]: a bright disc and a dark rectangle on a gradient with noise."""
    height, width = request.param
    y, x = np.mgrid[:height, :width]
    picture = np.random.default_rng(1).integers(0, 40, (height, width, 3)) + (x + y)[..., None] // 2
    picture[(x - width // 3) ** 2 + (y - height // 2) ** 2 < (height // 4) ** 2] += 90
    picture[height // 5 : height // 2, 2 * width // 3 : -3] //= 3
    return picture.astype(np.uint8)
