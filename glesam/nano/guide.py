"""How much each position of an image looks like what a prompt marks, before a decoder has to learn it.

SAM's decoder finds an object through attention alone, and eleven million images teach it how. From a
few thousand it learns to fill the box. GrabCut (Rother et al., 2004) learns from nothing but the image:
the colours inside a box, less those outside, show the object. Here the same is done with learned codes:

1. Every position at stride 4 has 16 numbers, three of them its colour (`glesam.nano.encoder.colours`), and
   features that convolutions compute around it; they give it a soft code over 64 visual words.
2. Two histograms count the codes of what is marked and of the rest. The logarithm of their ratio, averaged
   over a position's soft code, is its foreground log-odds (Swain and Ballard's back-projection, 1991).

The first round marks the prompt; `glesam.nano.decoder` then marks what looks like the object, and repeats it.
All of it is traceable, and counts are at most the number of positions: no fp16 overflow below S = 1024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE

MASK_STRIDE = 4
"""Pixels per logit of a mask prompt, along an axis."""
UPSCALING = EMBEDDING_STRIDE // MASK_STRIDE
"""Stride-4 positions per stride-16 position, along an axis."""
FEATURES = EMBEDDING_CHANNELS // UPSCALING**2
CODES = 64
RARE = 1e-4
"""Frequency of a code that does not occur; bounds the log-odds, and is a normal number in fp16."""
COLOUR_SHARPNESS = 2.0


class Guide(nn.Module):
    """Visual-word codes of stride-4 positions, and their foreground log-odds."""

    def __init__(self, surroundings: int) -> None:
        """`surroundings`: channels of the features around a position."""
        super().__init__()
        self.codes = nn.Linear(FEATURES + surroundings, CODES)
        _start_as_colour_codes(self.codes)

    def encode(self, features: Tensor, surroundings: Tensor) -> Tensor:
        """[B, 16, H, W] and [B, C, H, W] -> soft codes [B, H W, 64], which sum to 1 at each position."""
        joined = torch.cat([features, surroundings], dim=1)
        codes: Tensor = self.codes(joined.flatten(2).transpose(1, 2)).softmax(-1)
        return codes

    def log_odds(self, prior: Tensor, codes: Tensor) -> Tensor:
        """Foreground log-odds [N, P]: the logarithm of a code's frequency in the foreground over that in the
        background, averaged over each position's soft code.

        Args:
            prior: how much each position belongs to the foreground, in [0, 1], [N, P].
            codes: [B, P, 64]; N is a multiple of B, prompts image by image.
        """
        both = torch.stack([prior, 1 - prior], dim=1)
        frequencies = code_frequencies(by_image(both, codes.shape[0]), codes) + RARE
        foreground, background = frequencies.reshape(-1, 2, CODES).unbind(1)
        odds = (foreground / background).log().reshape(codes.shape[0], -1, CODES)
        return (odds @ codes.transpose(1, 2)).reshape(prior.shape)


def code_frequencies(weights: Tensor, codes: Tensor) -> Tensor:
    """Frequency of each code among weighted positions, [B, k, 64].

    Args:
        weights: how much each position counts, in [0, 1], [B, k, P].
        codes: [B, P, 64].
    """
    counts = weights @ codes
    return counts / (counts.sum(-1, keepdim=True) + 1)


def by_image(x: Tensor, images: int) -> Tensor:
    """[N, k, ...], prompts image by image -> [B, N / B * k, ...]."""
    return x.reshape(images, x.shape[0] // images * x.shape[1], *x.shape[2:])


@torch.no_grad()
def _start_as_colour_codes(codes: nn.Linear) -> None:
    """Softmax of -sharpness |colour - centre|^2 for random centres along the grey diagonal."""
    centres = torch.zeros(CODES, codes.in_features)
    centres[:, :3] = torch.randn(CODES, 1) + 0.4 * torch.randn(CODES, 3)
    codes.weight.copy_(2 * COLOUR_SHARPNESS * centres)
    codes.bias.copy_(-COLOUR_SHARPNESS * centres.square().sum(1))
