"""What a prompt tells about the picture at once, worked out before SAM's decoder has to learn it.

SAM's decoder finds an object through attention alone, and eleven million pictures teach it how. From a
few thousand it learns to fill the box. GrabCut (Rother et al., 2004) learns from nothing but the picture:
the colours inside a box, less those outside, tell the object. Here the same is done with learned codes:

1. Every spot of 4 x 4 px has 16 numbers, three of them its colour (`glesam.conv_encoder.colours`); they
   give it a soft code, one of 64.
2. Two histograms count the codes of what the prompt marks and of the rest; the logarithm of their ratio
   at a spot's code tells how much it looks like the object (Swain and Ballard's back-projection, 1991).
3. What looks so, within the box, is what the prompt marks in the next of three rounds.

The ratios and the last marking, "cues", go into SAM's dense prompt and, at full detail, into the features
that its masks are read from. All of it is traceable, and counts stay in [0, spots]: no fp16 overflow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE

PIXELS_PER_SPOT = 4
"""Along an axis; a mask prompt has one logit per spot."""
SPOTS_PER_SIDE = EMBEDDING_STRIDE // PIXELS_PER_SPOT
"""Of an embedding cell."""
FEATURES = EMBEDDING_CHANNELS // SPOTS_PER_SIDE**2
CODES = 64
ROUNDS = 3
CUES = ROUNDS + 1
UPSCALED_CHANNELS = EMBEDDING_CHANNELS // 8
"""Of SAM's upscaled features, which masks are read from."""
DETAIL_WIDTH = 16
BLOCK_WIDTH = 64
BLOCKS = 3
RARE = 1e-4
"""Share of a code that was not seen; bounds the ratio, and is above fp16's smallest normal number."""
RATIO_SCALE = 3.0
"""Brings ratios to about 1 for the convolutions that read them."""
COLOUR_SHARPNESS = 2.0


class Guide(nn.Module):
    """The parts of a mask decoder that SAM's has not: codes, cues, and convolutions that read them."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Linear(FEATURES, CODES)
        self.steepness = nn.Parameter(torch.ones(ROUNDS))
        self.offset = nn.Parameter(torch.zeros(ROUNDS))
        self.to_dense = nn.Conv2d(CUES * SPOTS_PER_SIDE**2, EMBEDDING_CHANNELS, 1)
        self.detail = nn.Sequential(
            nn.Conv2d(FEATURES + CUES, DETAIL_WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(DETAIL_WIDTH, UPSCALED_CHANNELS, 3, padding=1),
        )
        self.blocks = nn.Sequential(*(GuidedBlock(dilation=2**i) for i in range(BLOCKS)))
        _start_as_colour_codes(self.codes)
        _start_as_zero(self.to_dense)

    def cues(self, image_embeddings: Tensor, marked: Tensor, limit: Tensor) -> Tensor:
        """float [N, 4, 4h, 4w]: the ratio after each round, scaled, and the last marking in [0, 1].

        Args:
            image_embeddings: [B, 256, h, w]; N is a multiple of B, prompts picture by picture.
            marked: [N, 1, 4h, 4w], the prompt as logits.
            limit: [N, 1, 4h, 4w], 1 where the object may lie, else 0.
        """
        features = pixel_shuffle(image_embeddings, SPOTS_PER_SIDE).flatten(2).transpose(1, 2)
        codes = self.codes(features).softmax(-1)
        share, limit = by_picture(marked.sigmoid(), codes.shape[0]), by_picture(limit, codes.shape[0])
        found = []
        for steepness, offset in zip(self.steepness, self.offset, strict=True):
            ratio = log_share(share, codes) - log_share(1 - share, codes)
            share = limit * (steepness * ratio + offset).sigmoid()
            found.append(ratio / RATIO_SCALE)
        return torch.stack([*found, share], dim=2).reshape(marked.shape[0], CUES, *marked.shape[-2:])

    def source(self, image_embeddings: Tensor, dense: Tensor, cues: Tensor) -> Tensor:
        """What SAM's transformer reads, [N, 256, h, w]: the embeddings, the dense prompt and the cues."""
        told = dense + self.to_dense(pixel_unshuffle(cues, SPOTS_PER_SIDE))
        source: Tensor = self.blocks(per_prompt(image_embeddings, cues.shape[0]) + told)
        return source

    def details(self, image_embeddings: Tensor, cues: Tensor) -> Tensor:
        """What SAM's upscaled features lack, [N, 32, 4h, 4w]: edges of the picture and of the cues."""
        n = cues.shape[0]
        features = per_prompt(pixel_shuffle(image_embeddings, SPOTS_PER_SIDE), n).expand(n, -1, -1, -1)
        details: Tensor = self.detail(torch.cat([features, cues], dim=1))
        return details


class GuidedBlock(nn.Module):
    """x + f(x), f a bottleneck with a dilated convolution; starts as x. [N, 256, h, w] in and out."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        last = nn.Conv2d(BLOCK_WIDTH, EMBEDDING_CHANNELS, 1)
        self.body = nn.Sequential(
            nn.Conv2d(EMBEDDING_CHANNELS, BLOCK_WIDTH, 1, bias=False),
            nn.BatchNorm2d(BLOCK_WIDTH),
            nn.ReLU(),
            nn.Conv2d(BLOCK_WIDTH, BLOCK_WIDTH, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(BLOCK_WIDTH),
            nn.ReLU(),
            last,
        )
        _start_as_zero(last)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.body(x)
        return x + mixed


def log_share(marked: Tensor, codes: Tensor) -> Tensor:
    """log of the share of marked spots that have a spot's own code, [B, k, P].

    Args:
        marked: how much each spot counts, in [0, 1], [B, k, P].
        codes: [B, P, 64], each spot's sum to 1.
    """
    counts = marked @ codes
    shares = counts / (counts.sum(-1, keepdim=True) + 1)
    return (shares @ codes.transpose(1, 2) + RARE).log()


def by_picture(x: Tensor, pictures: int) -> Tensor:
    """[N, 1, h, w], prompts picture by picture -> [B, N / B, h w]."""
    return x.flatten(1).reshape(pictures, x.shape[0] // pictures, -1)


def per_prompt(x: Tensor, prompts: int) -> Tensor:
    """[B, ...] -> [N, ...], prompts picture by picture; a single picture broadcasts and stays as it is."""
    return x if x.shape[0] == 1 else x.repeat_interleave(prompts // x.shape[0], dim=0)


def _start_as_zero(convolution: nn.Conv2d) -> None:
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)


@torch.no_grad()
def _start_as_colour_codes(codes: nn.Linear) -> None:
    """Softmax of -sharpness |colour - centre|^2 for random centres along the grey diagonal."""
    centres = torch.zeros(CODES, FEATURES)
    centres[:, :3] = torch.randn(CODES, 1) + 0.4 * torch.randn(CODES, 3)
    codes.weight.copy_(2 * COLOUR_SHARPNESS * centres)
    codes.bias.copy_(-COLOUR_SHARPNESS * centres.square().sum(1))
