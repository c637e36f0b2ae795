"""RobustSAM behind the runtime's own Predictor: the same pre- and postprocessing as every other model.

A Predictor keeps one tensor per image. Here that is the image embeddings and the robust features together:
[1, 768, S/16, S/16], of which the last 512 channels are the 4 x 4 positions of each of 32 channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from glesam.config import EMBEDDING_CHANNELS
from glesam.reference import torch_engine
from glesam.restorers.robust_features import MASK_CHANNELS
from glesam.restorers.robust_sam import RobustSam
from glesam_runtime import Engines
from glesam_runtime.bundle.manifest import Manifest
from glesam_runtime.bundle.spec import bundle_contract

FINER = 4
"""Positions of the robust features per position of the embedding, along each axis."""
PACKED_CHANNELS = EMBEDDING_CHANNELS + MASK_CHANNELS * FINER**2


def robust_engines(model: RobustSam) -> Engines:
    """The model's own functions; the image's part of the decoder runs in the image encoder's engine."""
    contract = bundle_contract(model.config.image_size, PACKED_CHANNELS)

    def encode(image: Tensor) -> Tensor:
        embeddings, early = model.encode(image)
        return torch.cat([embeddings, pixel_unshuffle(model.restore(embeddings, early), FINER)], dim=1)

    def decode(image_embeddings: Tensor, **prompts: Tensor) -> tuple[Tensor, Tensor]:
        embeddings, packed = image_embeddings.tensor_split([EMBEDDING_CHANNELS], dim=1)
        return model.decode(embeddings, pixel_shuffle(packed, FINER), **prompts)

    return Engines(
        torch_engine(contract["image_encoder"], encode),
        None,
        torch_engine(contract["mask_decoder"], decode),
    )


def robust_manifest(model: RobustSam) -> Manifest:
    """The model's numbers as the runtime wants them.

    There is no multimask: the authors' returns fifteen masks with three scores.
    """
    config = model.config
    return Manifest(
        name=f"robustsam-{config.sam_type}",
        sam_type=config.sam_type,
        multimask=False,
        image_size=config.image_size,
        pixel_mean=config.pixel_mean,
        pixel_std=config.pixel_std,
        mask_threshold=config.mask_threshold,
        gamma=1.0,
        timestep=0,
        precision="fp32",
        graphs={},
        files={},
        made_from={},
        parity={},
    )
