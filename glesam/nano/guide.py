"""What a prompt tells about the picture at once, worked out before a decoder has to learn it.

SAM's decoder finds an object through attention alone, and eleven million pictures teach it how. From a
few thousand it learns to fill the box. GrabCut (Rother et al., 2004) learns from nothing but the picture:
the colours inside a box, less those outside, tell the object. Here the same is done with learned codes:

1. Every spot of 4 x 4 px has 16 numbers, three of them its colour (`glesam.conv_encoder.colours`), and what
   convolutions see around it; they give it a soft code, one of 64.
2. Two histograms count the codes of what is marked and of the rest; the logarithm of their ratio, averaged
   over a spot's soft code, tells how much it looks like the object (Swain and Ballard's back-projection,
   1991).

What the prompt marks is the first round; `glesam.guided_decoder` marks anew by what looks so, and asks again.
All of it is traceable, and counts stay in [0, spots]: no fp16 overflow below S = 1024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE

PIXELS_PER_SPOT = 4
"""Along an axis; a mask prompt has one logit per spot."""
SPOTS_PER_SIDE = EMBEDDING_STRIDE // PIXELS_PER_SPOT
"""Of an embedding cell."""
FEATURES = EMBEDDING_CHANNELS // SPOTS_PER_SIDE**2
CODES = 64
RARE = 1e-4
"""Share of a code that was not seen; bounds the ratio, and is above fp16's smallest normal number."""
COLOUR_SHARPNESS = 2.0


class Guide(nn.Module):
    """Codes of spots, and how much each looks like what is marked."""

    def __init__(self, surroundings: int) -> None:
        """surroundings: channels of what is seen around a spot."""
        super().__init__()
        self.codes = nn.Linear(FEATURES + surroundings, CODES)
        _start_as_colour_codes(self.codes)

    def encode(self, features: Tensor, surroundings: Tensor) -> Tensor:
        """[B, 16, H, W] and [B, C, H, W] -> soft codes [B, H W, 64], each spot's sum to 1."""
        seen = torch.cat([features, surroundings], dim=1)
        codes: Tensor = self.codes(seen.flatten(2).transpose(1, 2)).softmax(-1)
        return codes

    def log_ratio(self, marked: Tensor, codes: Tensor) -> Tensor:
        """Logarithm of a code's share of what is marked over its share of the rest, averaged over each spot's
        soft code, [N, P].

        Args:
            marked: how much each spot is, in [0, 1], [N, P].
            codes: [B, P, 64]; N is a multiple of B, prompts picture by picture.
        """
        both = torch.stack([marked, 1 - marked], dim=1)
        shares = share_of_codes(by_picture(both, codes.shape[0]), codes) + RARE
        of_marked, of_rest = shares.reshape(-1, 2, CODES).unbind(1)
        ratios = (of_marked / of_rest).log().reshape(codes.shape[0], -1, CODES)
        return (ratios @ codes.transpose(1, 2)).reshape(marked.shape)


def share_of_codes(marked: Tensor, codes: Tensor) -> Tensor:
    """The share that each code has of the marked spots, [B, k, 64].

    Args:
        marked: how much each spot counts, in [0, 1], [B, k, P].
        codes: [B, P, 64].
    """
    counts = marked @ codes
    return counts / (counts.sum(-1, keepdim=True) + 1)


def by_picture(x: Tensor, pictures: int) -> Tensor:
    """[N, k, ...], prompts picture by picture -> [B, N / B * k, ...]."""
    return x.reshape(pictures, x.shape[0] // pictures * x.shape[1], *x.shape[2:])


def per_prompt(x: Tensor, prompts: int) -> Tensor:
    """[B, ...] -> [N, ...], prompts picture by picture; a single picture broadcasts and stays as it is."""
    return x if x.shape[0] == 1 else x.repeat_interleave(prompts // x.shape[0], dim=0)


@torch.no_grad()
def _start_as_colour_codes(codes: nn.Linear) -> None:
    """Softmax of -sharpness |colour - centre|^2 for random centres along the grey diagonal."""
    centres = torch.zeros(CODES, codes.in_features)
    centres[:, :3] = torch.randn(CODES, 1) + 0.4 * torch.randn(CODES, 3)
    codes.weight.copy_(2 * COLOUR_SHARPNESS * centres)
    codes.bias.copy_(-COLOUR_SHARPNESS * centres.square().sum(1))
