"""The degradation level of a picture, read from its image embedding: what adaptive GLE follows.

The unit is GleSAM's own: 0 is a clean picture, 1 to 3 are its low-quality levels LQ-1 to LQ-3. A level is
then comparable with what glesam-degrade makes and glesam-eval reports, and between the levels it counts
doublings of the downsampling rate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from glesam.config import EMBEDDING_CHANNELS

MOST_DEGRADED = 3.0
"""Level of LQ-3, the worst that training shows; a worse picture has it too."""
HIDDEN = 64
"""Width of the head's hidden layer."""


def level_of_rate(rate: int | None) -> float:
    """Level of a picture that was downsampled by `rate`: 1 for 1, 2 for 2, 3 for 4; None is a clean one, 0.

    The training rate 3, which is no level of its own, lies between LQ-2 and LQ-3.
    """
    return 0.0 if rate is None else 1.0 + math.log2(rate)


class DegradationHead(nn.Module):
    """Image embeddings [B, 256, h, w] -> degradation levels [B], in [0, 3].

    It sees the mean and the mean absolute deviation of every channel, over all positions. An untrained head
    answers 0. The deviations are not squared: squares of embeddings overflow fp16.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * EMBEDDING_CHANNELS, HIDDEN)
        self.level = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.level.weight)
        nn.init.zeros_(self.level.bias)

    @property
    def is_trained(self) -> bool:
        """Whether it answers anything but 0."""
        return any(bool(parameter.any()) for parameter in self.level.parameters())

    def forward(self, image_embeddings: Tensor) -> Tensor:
        return self.unbounded(image_embeddings).clamp(0.0, MOST_DEGRADED)

    def unbounded(self, image_embeddings: Tensor) -> Tensor:
        """The level before it is bounded to [0, 3], [B]; below 0 for a clean picture. What training sees."""
        mean = image_embeddings.mean((2, 3))
        # Deviations above and below a mean are equal in sum, so the mean of both is twice that of one side.
        deviation = 2 * relu(image_embeddings - mean[:, :, None, None]).mean((2, 3))
        features = relu(self.hidden(torch.cat([mean, deviation], dim=1)))
        level: Tensor = self.level(features).squeeze(1)
        return level
