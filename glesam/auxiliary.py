"""A second sensor: an auxiliary image, such as a thermal one, as a further input of GLE."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from glesam.config import EMBEDDING_CHANNELS

WIDTHS = (1, 16, 32, 64, 128)
"""Channels before and after each of the four convolutions that halve the sides, from S to S/16."""


class AuxiliaryEncoder(nn.Module):
    """Auxiliary image [B, 1, S, S] -> what GLE adds to the embedding that its U-Net reads.

    Values lie in [0, 1]; 0 is where nothing is known. No layer has a bias, so that an image of zeros adds
    zeros: with it GLE computes what it would without the sensor. The last layer starts at zero, so that a new
    encoder adds nothing whatever it sees.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(WIDTHS):
            conv = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            layers += [conv, nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(WIDTHS[-1], EMBEDDING_CHANNELS, 1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, auxiliary_image: Tensor) -> Tensor:
        """[B, 1, S, S] -> [B, 256, S/16, S/16]."""
        added: Tensor = self.last(self.layers(auxiliary_image))
        return added
