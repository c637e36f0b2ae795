"""The guide with everything that depends on the picture alone done once, and its spots cell by cell.

Four changes, all exact (proved in float64):

- What no prompt touches (codes, the picture's share of the details) is computed once for all prompts and
  both answers.
- What is marked and the rest are counted in one product.
- The 16 spots of a cell stay channels, as the embedding has them: cues become the dense prompt without being
  put in order first.
- The last 1 x 1 convolution of SAM's mask prompt and the cues' own are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pixel_shuffle, pixel_unshuffle

from glesam.drawn_prompts import box_limit, draw_prompts
from glesam.guide import FEATURES, RARE, RATIO_SCALE, SPOTS_PER_SIDE, Guide
from glesam_export.static_gle import constant


@dataclass(frozen=True)
class GuidedPicture:
    """What does not change between the answers to a call. P spots, cell by cell within each of 16."""

    image_embeddings: Tensor  # [1, 256, h, w]
    codes: Tensor  # [P, 64]
    details: Tensor  # [1, 16, 4h, 4w], before the cues are added
    drawn: Tensor  # [N, 1, 4h, 4w], logits
    limit: Tensor  # [N, P]


class StaticGuide(nn.Module):
    def __init__(self, guide: Guide, mask_downscaling: nn.Sequential) -> None:
        super().__init__()
        self.codes, self.blocks = guide.codes, guide.blocks
        self.steepness, self.offset = guide.steepness, guide.offset
        detail: Any = guide.detail[0]
        self.features_kernel = constant(detail.weight[:, :FEATURES])
        self.cues_kernel = constant(detail.weight[:, FEATURES:])
        self.detail_bias = detail.bias
        self.mask_downscaling = mask_downscaling[:-1]
        last: Any = mask_downscaling[-1]
        assert guide.to_dense.bias is not None
        self.dense_weight = constant(torch.cat([last.weight, guide.to_dense.weight], dim=1))
        self.dense_bias = constant(last.bias + guide.to_dense.bias)

    def look(self, image_embeddings: Tensor, point_coords: Tensor, point_labels: Tensor) -> GuidedPicture:
        height, width = (SPOTS_PER_SIDE * cells for cells in image_embeddings.shape[-2:])
        codes = self.codes(image_embeddings.reshape(FEATURES, -1).T).softmax(-1)
        features = pixel_shuffle(image_embeddings, SPOTS_PER_SIDE)
        limit = box_limit(point_coords, point_labels, height, width)
        return GuidedPicture(
            image_embeddings,
            codes,
            conv2d(features, self.features_kernel, self.detail_bias, padding=1),
            draw_prompts(point_coords, point_labels, height, width),
            pixel_unshuffle(limit, SPOTS_PER_SIDE).flatten(1),
        )

    def forward(self, picture: GuidedPicture, mask_input: Tensor, has_mask: Tensor) -> tuple[Tensor, Tensor]:
        """What the transformer reads, [N, 256, h, w], and hidden details, [N, 16, 4h 4w].

        The mask's logits [N, 1, 4h, 4w] stand for what is drawn of the prompt where `has_mask` [N] is 1.
        """
        h, w = picture.image_embeddings.shape[-2:]
        has_mask = has_mask.reshape(-1, 1, 1, 1)
        marked = has_mask * mask_input + (1 - has_mask) * picture.drawn
        spots = pixel_unshuffle(marked, SPOTS_PER_SIDE).flatten(1)
        cues = self.cues(picture, spots).reshape(marked.shape[0], -1, h, w)
        told = torch.cat([self.mask_downscaling(marked), cues], dim=1)
        dense = conv2d(told, self.dense_weight, self.dense_bias)
        of_cues = conv2d(pixel_shuffle(cues, SPOTS_PER_SIDE), self.cues_kernel, padding=1)
        source: Tensor = self.blocks(_summed(picture.image_embeddings, dense).reshape(dense.shape))
        return source, _summed(picture.details, of_cues).relu()

    def cues(self, picture: GuidedPicture, marked: Tensor) -> Tensor:
        """Logits [N, P] -> `Guide.cues`, [N, cues, P]."""
        share, found = marked.sigmoid(), []
        for steepness, offset in zip(self.steepness, self.offset, strict=True):
            ratio = self.ratio(picture, share)
            share = picture.limit * (steepness * ratio + offset).sigmoid()
            found.append(ratio / RATIO_SCALE)
        return torch.stack([*found, share], dim=1)

    def ratio(self, picture: GuidedPicture, share: Tensor) -> Tensor:
        """log of how much more often a spot's code is marked than not; both [N, P]."""
        counts = torch.stack([share, 1 - share], dim=1) @ picture.codes  # [N, 2, 64]
        shares = counts / (counts.sum(-1, keepdim=True) + 1)
        inside, outside = (shares @ picture.codes.T + RARE).log().unbind(1)
        return inside - outside


def _summed(of_picture: Tensor, of_prompts: Tensor) -> Tensor:
    """[1, C, H, W] and [N, C, H, W], a convolution's -> [N, C, H W].

    Flat, because OpenVINO 2026.4 fuses a sum with the convolution before it as if both had N.
    """
    return of_picture.flatten(2) + of_prompts.flatten(2)
