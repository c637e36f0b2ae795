"""nano's mask decoder: what all prompts share is computed once, each prompt adds a small network of its own.

1. `look` turns the image embedding into features at strides 16, 8 and 4: most of the work, once per image.
2. A prompt is drawn as maps (`glesam.nano.prompt_maps`) and joins the features at stride 16. Blocks of
   dilated depthwise convolutions and pooled context find the object coarsely there.
3. The mean features of this coarse foreground, and of its background, become a 1 x 1 kernel over the shared
   features at stride 8, so that what resembles the object stands out. Blocks at stride 8 draw its outline.
4. Masks at stride 4 are the sum of three parts: shared features weighted by kernels from the pooled context,
   as SAM's hypernetworks do; logits of the prompt's own, from stride 8; and shared edge features, which the
   prompt weights position by position.

Labels, mask prompts, the four masks and their predicted IoU are SAM's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle

from glesam.config import EMBEDDING_CHANNELS, NUM_MASKS, PromptMapDecoderConfig
from glesam.ddim import DdimDenoiser
from glesam.decoding import ImageFeatures, MaskPredictor, per_prompt
from glesam.nano.prompt_maps import MAPS

CHILDREN = 4
"""Stride-4 positions of one stride-8 position, 2 x 2, row by row."""
CONTEXT = 256
"""Length of the vector that sums up a prompt's coarse features."""
SUMMARY = 128
"""Width of the hidden layer that predicts IoUs."""


@dataclass(frozen=True)
class SharedFeatures:
    """What all prompts on an image share, for B images whose embeddings have h x w positions.

    Attributes:
        coarse: [B, c.coarse, h, w], stride 16.
        middle: [B, c.middle, 2h, 2w], stride 8; None where other weights hold it (`FeatureReader.middle`).
        keys: [B, c.keys, 2h, 2w], stride 8; what a prompt's kernel is compared with.
        fine: [B, c.fine, CHILDREN, 2h, 2w], stride 4.
        edges: [B, c.edges, CHILDREN, 2h, 2w], stride 4.
    """

    coarse: Tensor
    middle: Tensor | None
    keys: Tensor
    fine: Tensor
    edges: Tensor


class NanoDecoder(nn.Module):
    """Image embeddings and drawn prompts to masks, a `glesam.decoding.Decoder`."""

    num_high_res = 0

    def __init__(self, config: PromptMapDecoderConfig) -> None:
        super().__init__()
        self.config = c = config
        self.look = FeatureReader(c)
        self.coarse_prompt = nn.Conv2d(MAPS, c.coarse, 2, 2)
        self.middle_prompt = nn.Conv2d(MAPS, c.middle, 1)
        self.coarse_blocks = nn.Sequential(*(CoarseBlock(c.coarse, c.heads, d) for d in c.dilations))
        self.denoiser = DdimDenoiser(c.coarse) if c.denoise else None
        self.foreground = nn.Conv2d(c.coarse, 1, 1)
        self.appearance = nn.Linear(2 * c.keys, c.middle * c.keys)
        self.to_middle = nn.Conv2d(c.coarse, c.middle, 1)
        self.middle_blocks = nn.Sequential(*(MiddleBlock(c.middle) for _ in range(c.middle_blocks)))
        self.context = PooledContext(c.coarse, c.heads, CONTEXT)
        self.kernels = nn.Linear(CONTEXT, NUM_MASKS * c.fine)
        self.own = nn.Conv2d(c.middle, NUM_MASKS * CHILDREN + c.edges, 1)
        self.summary = nn.Linear(CONTEXT + 2 * c.middle, SUMMARY)
        self.iou = nn.Linear(SUMMARY, NUM_MASKS)

    def prepare(
        self, prompt_encoder: nn.Module, features: ImageFeatures, point_coords: Tensor, point_labels: Tensor
    ) -> MaskPredictor:
        """See `glesam.decoding.Decoder`; `prompt_encoder` is a `PromptMaps`."""
        encoder: Any = prompt_encoder
        height, width = features.image_embeddings.shape[-2:]
        shared = self.look(features.image_embeddings)
        drawn = encoder(point_coords, point_labels, 2 * height, 2 * width)

        def predict(mask_input: Tensor, has_mask_input: Tensor) -> tuple[Tensor, Tensor]:
            maps = encoder.with_masks(drawn, mask_input, has_mask_input)
            masks: tuple[Tensor, Tensor] = self(shared, maps)
            return masks

        return predict

    def forward(self, shared: SharedFeatures, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts all four masks of N prompts, image by image.

        Args:
            shared: what `look` returned for B images; N is a multiple of B.
            maps: float [N, MAPS, 2h, 2w], the drawn prompts (`glesam.nano.prompt_maps`).

        Returns:
            low_res_masks [N, 4, 4h, 4w], logits, and iou_predictions [N, 4].
        """
        n = maps.shape[0]
        coarse = per_prompt(shared.coarse, n)
        if coarse.shape[0] == 1:
            # [C, h, w]: OpenVINO 2026.4 fuses convolutions of 1 and of n pictures into one sum, and fails.
            coarse = coarse.squeeze(0)
        x = self.coarse_blocks((coarse + self.coarse_prompt(maps)).relu())
        if self.denoiser is not None:
            x = self.denoiser(x)
        similarity = weighted(self._appearance(shared.keys, self.foreground(x).sigmoid()), shared.keys)
        own = self.middle_prompt(maps) + upsampled(self.to_middle(x)) + similarity
        if shared.middle is not None:
            own = own + per_prompt(shared.middle, n)
        y = self.middle_blocks(own.relu())
        context = self.context(x).relu()
        logits, edge_weights = self.own(y).split([NUM_MASKS * CHILDREN, self.config.edges], dim=1)
        weighted_edges = edge_weights.unsqueeze(2) * per_prompt(shared.edges, n)
        edges = weighted_edges.sum(1, keepdim=True)  # [N, 1, CHILDREN, 2h, 2w]
        kernels = self.kernels(context).reshape(n, NUM_MASKS, -1)
        parts = weighted(kernels, shared.fine) + logits.unflatten(1, (NUM_MASKS, CHILDREN)) + edges
        masks = pixel_shuffle(parts.flatten(1, 2), 2)
        summary = self.summary(torch.cat([context, y.mean((2, 3)), y.amax((2, 3))], 1))
        return masks, self.iou(summary.relu())

    def coarse_readers(self) -> tuple[nn.Conv2d | nn.Linear, ...]:
        """The layers that read a prompt's coarse features."""
        return self.foreground, self.to_middle, self.context.scores, self.context.out

    def _appearance(self, keys: Tensor, foreground: Tensor) -> Tensor:
        """A kernel over the keys from their means in foreground and background: [N, c.middle, c.keys].

        Args:
            keys: [B, c.keys, 2h, 2w].
            foreground: [N, 1, h, w], probabilities.
        """
        n = foreground.shape[0]
        regions = torch.cat([foreground, 1 - foreground], 1).flatten(2)
        regions = regions / (regions.sum(-1, keepdim=True) + 1)  # + 1 position: an empty region has mean 0
        coarse_keys = avg_pool2d(keys, 2).flatten(2).transpose(1, 2)
        means = by_image(regions, keys.shape[0]) @ coarse_keys
        kernel: Tensor = self.appearance(means.reshape(n, -1)).reshape(n, self.config.middle, -1)
        return kernel


class FeatureReader(nn.Module):
    """Image embeddings [B, 256, h, w] -> the features that all prompts share, at strides 16, 8 and 4.

    `middle` is a constant part of the kernel over the keys; the exporter adds it to that kernel's bias.
    """

    middle: nn.Module | None

    def __init__(self, c: PromptMapDecoderConfig) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(EMBEDDING_CHANNELS, c.coarse, 1)
        self.to_middle = nn.Conv2d(EMBEDDING_CHANNELS, 4 * c.keys, 1)
        self.around = nn.ModuleList(nn.Conv2d(c.keys, c.keys, 3, padding=1) for _ in range(c.shared_layers))
        self.middle = nn.Conv2d(c.keys, c.middle, 1)
        self.to_fine = nn.Conv2d(EMBEDDING_CHANNELS, 4 * CHILDREN * c.fine, 1)
        self.from_middle = nn.Conv2d(c.keys, CHILDREN * c.fine, 1)
        self.edges = nn.Conv2d(c.fine, c.edges, 1)

    def readers(self) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
        """The layers that read the embedding."""
        return self.coarse, self.to_middle, self.to_fine

    def forward(self, embeddings: Tensor) -> SharedFeatures:
        keys = pixel_shuffle(self.to_middle(embeddings), 2)
        for layer in self.around:
            keys = keys + layer(keys.relu())
        fine = (pixel_shuffle(self.to_fine(embeddings), 2) + self.from_middle(keys.relu())).relu()
        fine = fine.unflatten(1, (-1, CHILDREN))
        edges = self.edges(fine.flatten(2).unsqueeze(-1)).reshape(fine.shape[0], -1, *fine.shape[2:])
        middle = None if self.middle is None else self.middle(keys)
        return SharedFeatures(self.coarse(embeddings), middle, keys, fine, edges)


class PooledContext(nn.Module):
    """Attention pooling over all positions with learned queries: [N, C, h, w] -> [N, D]."""

    def __init__(self, channels: int, heads: int, out: int) -> None:
        super().__init__()
        self.scores = nn.Conv2d(channels, heads, 1)
        self.out = nn.Linear(heads * channels, out)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.scores(x).flatten(2).softmax(-1)  # [N, heads, h w]
        pooled: Tensor = self.out((weights @ x.flatten(2).transpose(1, 2)).flatten(1))
        return pooled


class CoarseBlock(nn.Module):
    """x + f(x) at stride 16, [N, C, h, w]: dilated depthwise convolution and pooled context, a 1 x 1 layer.

    A new block is the identity.
    """

    def __init__(self, channels: int, heads: int, dilation: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels)
        self.context = PooledContext(channels, heads, channels)
        self.last = nn.Conv2d(channels, channels, 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        inner = self._filtered(x) + self.context(x).unsqueeze(-1).unsqueeze(-1)
        out: Tensor = x + self.last(inner.relu())
        return out

    def _filtered(self, x: Tensor) -> Tensor:
        """The depthwise convolution, in fp32 where autocast would make it bf16 and gradients are wanted.

        torch 2.13 computes the bf16 weight gradients of dilated depthwise convolutions wrongly on CPUs: off
        by more than their size, or NaN (64 channels, 32 x 32, dilations 2 and 4). fp32 is faster there, too.
        """
        if torch.is_grad_enabled() and torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                filtered: Tensor = self.around(x.float())
        else:
            filtered = self.around(x)
        return filtered


class MiddleBlock(nn.Module):
    """x + f(x) at stride 8, [N, C, 2h, 2w]: depthwise convolution and two 1 x 1 layers.

    A new block is the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.first = nn.Conv2d(channels, channels, 1)
        self.last = nn.Conv2d(channels, channels, 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.last(self.first(self.around(x)).relu())
        return out


def upsampled(x: Tensor) -> Tensor:
    """[N, C, h, w] -> [N, C, 2h, 2w], bilinear."""
    return interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def weighted(kernels: Tensor, features: Tensor) -> Tensor:
    """A 1 x 1 convolution with each prompt's own kernels: [N, k, C] over [B, C, ...] -> [N, k, ...]."""
    images, positions = features.shape[0], features.shape[2:]
    sums = by_image(kernels, images) @ features.flatten(2)
    return sums.reshape(kernels.shape[0], -1, *positions)


def by_image(x: Tensor, images: int) -> Tensor:
    """[N, k, ...], prompts image by image -> [B, N / B k, ...]: one product serves an image's prompts."""
    return x.reshape(images, x.shape[0] // images * x.shape[1], *x.shape[2:])
