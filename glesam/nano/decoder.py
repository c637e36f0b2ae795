"""nano's mask decoder: what all prompts share is computed once, a prompt adds a small network of its own.

1. `look` turns the image embedding into features at strides 16, 8 and 4: most of the work, once a picture.
2. A prompt is drawn as maps (`glesam.nano.prompt_maps`) and joins the features at stride 16. Blocks of dilated
   convolutions and pooled context find the object coarsely there.
3. The mean features of what was found, and of the rest, make a kernel that is laid over the features at
   stride 8: what looks like the object stands out. Blocks at stride 8 draw its outline.
4. Masks are read at stride 4, from shared features: kernels made from the pooled context weigh them everywhere
   alike, weights from stride 8 weigh some of them place by place. A last layer predicts each mask's IoU.

Labels, mask prompts, four masks and their predicted IoU are SAM's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle

from glesam.config import EMBEDDING_CHANNELS, NUM_MASKS, PromptMapDecoderConfig
from glesam.decoding import MaskPredictor, per_prompt
from glesam.nano.prompt_maps import MAPS

SUB = 4
"""Places at stride 4 of one at stride 8."""
CONTEXT = 256
"""Numbers that sum up a prompt's coarse features."""


@dataclass(frozen=True)
class Seen:
    """What all prompts on a picture share; B pictures of h x w cells."""

    coarse: Tensor  # [B, 64, h, w]
    middle: Tensor  # [B, 32, 2h, 2w]
    keys: Tensor  # [B, 48, 2h, 2w]
    fine: Tensor  # [B, 32, 4, 2h, 2w]: the 2 x 2 places at stride 4 of each at stride 8
    edges: Tensor  # [B, 8, 4, 2h, 2w]


class NanoDecoder(nn.Module):
    """`look` once a picture, then any number of prompts at once."""

    def __init__(self, config: PromptMapDecoderConfig) -> None:
        super().__init__()
        self.config = c = config
        self.look = PictureFeatures(c)
        self.coarse_prompt = nn.Conv2d(MAPS, c.coarse, 2, 2)
        self.middle_prompt = nn.Conv2d(MAPS, c.middle, 1)
        self.coarse_blocks = nn.Sequential(*(CoarseBlock(c.coarse, c.heads, d) for d in c.dilations))
        self.found = nn.Conv2d(c.coarse, 1, 1)
        self.looks_so = nn.Linear(2 * c.keys, c.middle * c.keys)
        self.to_middle = nn.Conv2d(c.coarse, c.middle, 1)
        self.middle_blocks = nn.Sequential(*(MiddleBlock(c.middle) for _ in range(c.middle_blocks)))
        self.context = PooledContext(c.coarse, c.heads, CONTEXT)
        self.kernels = nn.Linear(CONTEXT, NUM_MASKS * c.fine)
        self.own = nn.Conv2d(c.middle, NUM_MASKS * SUB + c.edges, 1)
        self.summary = nn.Linear(CONTEXT + 2 * c.middle, 128)
        self.iou = nn.Linear(128, NUM_MASKS)

    def prepare(
        self, prompt_encoder: nn.Module, image_embeddings: Tensor, point_coords: Tensor, point_labels: Tensor
    ) -> MaskPredictor:
        """See `glesam.decoding.Decoder`."""
        encoder: Any = prompt_encoder
        height, width = image_embeddings.shape[-2:]
        seen = self.look(image_embeddings)
        drawn = encoder(point_coords, point_labels, 2 * height, 2 * width)

        def predict(mask_input: Tensor, has_mask_input: Tensor) -> tuple[Tensor, Tensor]:
            masks: tuple[Tensor, Tensor] = self(seen, encoder.with_masks(drawn, mask_input, has_mask_input))
            return masks

        return predict

    def forward(self, seen: Seen, maps: Tensor) -> tuple[Tensor, Tensor]:
        """All four masks of N prompts, picture by picture.

        Args:
            seen: what `look` returned for B pictures; N is a multiple of B.
            maps: the drawn prompts, [N, 8, 2h, 2w] (`glesam.nano.prompt_maps`).

        Returns:
            low_res_masks [N, 4, 4h, 4w], logits, and iou_predictions [N, 4].
        """
        n = len(maps)
        x = self.coarse_blocks((per_prompt(seen.coarse, n) + self.coarse_prompt(maps)).relu())
        looks_so = laid_over(self._kernel_of(seen, self.found(x).sigmoid()), seen.keys)
        own = self.middle_prompt(maps) + upsampled(self.to_middle(x)) + looks_so
        y = self.middle_blocks((per_prompt(seen.middle, n) + own).relu())
        context = self.context(x).relu()
        own, weights = self.own(y).split([NUM_MASKS * SUB, self.config.edges], dim=1)
        details = (weights.unsqueeze(2) * per_prompt(seen.edges, n)).sum(1)
        shared = laid_over(self.kernels(context).reshape(n, NUM_MASKS, -1), seen.fine)
        parts = shared + own.unflatten(1, (NUM_MASKS, SUB)) + details.unsqueeze(1)
        masks = pixel_shuffle(parts.flatten(1, 2), 2)
        summary = self.summary(torch.cat([context, y.mean((2, 3)), y.amax((2, 3))], 1))
        return masks, self.iou(summary.relu())

    def _kernel_of(self, seen: Seen, found: Tensor) -> Tensor:
        """From the mean keys of what was found [N, 1, h, w] and of the rest: [N, 32, 48]."""
        n = found.shape[0]
        both = torch.cat([found, 1 - found], 1).flatten(2)
        both = both / (both.sum(-1, keepdim=True) + 1)
        keys = avg_pool2d(seen.keys, 2).flatten(2).transpose(1, 2)
        means = by_picture(both, len(keys)) @ keys
        kernel: Tensor = self.looks_so(means.reshape(n, -1)).reshape(n, self.config.middle, -1)
        return kernel


class PictureFeatures(nn.Module):
    """Image embeddings [B, 256, h, w] -> shared features at strides 16, 8 and 4."""

    def __init__(self, c: PromptMapDecoderConfig) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(EMBEDDING_CHANNELS, c.coarse, 1)
        self.to_middle = nn.Conv2d(EMBEDDING_CHANNELS, 4 * c.keys, 1)
        self.around = nn.ModuleList(nn.Conv2d(c.keys, c.keys, 3, padding=1) for _ in range(c.shared_layers))
        self.middle = nn.Conv2d(c.keys, c.middle, 1)
        self.to_fine = nn.Conv2d(EMBEDDING_CHANNELS, 16 * c.fine, 1)
        self.from_middle = nn.Conv2d(c.keys, SUB * c.fine, 1)
        self.edges = nn.Conv2d(c.fine, c.edges, 1)

    def readers(self) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
        """The layers that read the embedding."""
        return self.coarse, self.to_middle, self.to_fine

    def forward(self, embeddings: Tensor) -> Seen:
        keys = pixel_shuffle(self.to_middle(embeddings), 2)
        for layer in self.around:
            keys = keys + layer(keys.relu())
        fine = (pixel_shuffle(self.to_fine(embeddings), 2) + self.from_middle(keys.relu())).relu()
        fine = fine.unflatten(1, (-1, SUB))
        edges = self.edges(fine.flatten(2).unsqueeze(-1)).reshape(fine.shape[0], -1, *fine.shape[2:])
        return Seen(self.coarse(embeddings), self.middle(keys), keys, fine, edges)


class PooledContext(nn.Module):
    """Attention pooling over all cells with learned queries: [N, C, h, w] -> [N, D]."""

    def __init__(self, channels: int, heads: int, out: int) -> None:
        super().__init__()
        self.scores = nn.Conv2d(channels, heads, 1)
        self.out = nn.Linear(heads * channels, out)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.scores(x).flatten(2).softmax(-1)
        pooled: Tensor = self.out((weights @ x.flatten(2).transpose(1, 2)).flatten(1))
        return pooled


class CoarseBlock(nn.Module):
    """x + f(x): dilated depthwise convolution, two layers, pooled context between them; starts as x."""

    def __init__(self, channels: int, heads: int, dilation: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels)
        self.first = nn.Conv2d(channels, channels, 1)
        self.context = PooledContext(channels, heads, channels)
        self.last = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.first(self._dilated(x)) + self.context(x).unsqueeze(-1).unsqueeze(-1)
        return x + self.last(inner.relu())

    def _dilated(self, x: Tensor) -> Tensor:
        """In fp32 while training: torch 2.13 computes bf16 gradients of dilated depthwise weights wrongly.

        Seen on CPUs: of 64 channels of 32 x 32 positions, garbage or NaN; fp32 is right, and faster.
        """
        if not self.training:
            filtered: Tensor = self.around(x)
            return filtered
        with torch.autocast(x.device.type, enabled=False):
            filtered = self.around(x.float())
        return filtered


class MiddleBlock(nn.Module):
    """x + f(x): depthwise convolution and two layers; starts as x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.first = nn.Conv2d(channels, channels, 1)
        self.last = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(self.first(self.around(x)).relu())


def upsampled(x: Tensor) -> Tensor:
    """Twice the size, bilinear."""
    return interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def laid_over(kernels: Tensor, features: Tensor) -> Tensor:
    """A 1 x 1 convolution of each prompt's own: [N, k, C] over [B, C, ...] -> [N, k, ...]."""
    pictures, side = features.shape[0], features.shape[2:]
    laid = by_picture(kernels, pictures) @ features.flatten(2)
    return laid.reshape(kernels.shape[0], -1, *side)


def by_picture(x: Tensor, pictures: int) -> Tensor:
    """[N, k, ...], prompts picture by picture -> [B, N / B * k, ...]."""
    return x.reshape(pictures, x.shape[0] // pictures * x.shape[1], *x.shape[2:])
