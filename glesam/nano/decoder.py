"""nano's mask decoder: it reads the image once, and does little for each prompt.

In SAM's decoder every image token attends to the prompt, so that a second prompt costs as much as the first:
64 boxes in one call take 64 times the arithmetic. Here the features of the image (`look`) are shared by all
prompts of a call: keys and values, upscaled features that masks are read from, edges. A prompt adds its own:

1. The guide computes which positions look like what the prompt marks (`glesam.nano.guide`).
2. A grid of 64 channels at stride 16 joins that to the image, and sees around itself through dilated
   convolutions. It says where the object is; with that as the prior the guide computes its log-odds again.
3. SAM's tokens, and two that hold the means of foreground and background, attend to the image and then to
   this grid.
4. Each mask token weighs the shared features, as in SAM, and eight more at stride 4 that are the prompt's
   own, a convolution over the image's edges, the guide's log-odds and the grid.

Labels, the form of mask prompts, four masks and their predicted IoU are SAM's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle

from glesam.config import EMBEDDING_CHANNELS, NUM_MASKS
from glesam.decoding import EmbeddedPrompts, MaskPredictor, per_prompt
from glesam.nano.drawn_prompts import box_mask, draw_prompts
from glesam.nano.guide import FEATURES, UPSCALING, Guide, by_image
from glesam.sam_modules import MLP, Attention, LayerNorm2d, MLPBlock

HEADS = 8
UPSCALED_CHANNELS = EMBEDDING_CHANNELS // 8
"""Channels of the shared features that masks are read from, as in SAM."""
SURROUNDINGS = 16
"""Channels of the features around a stride-4 position."""
CELL_CHANNELS = 64
"""Channels of a prompt's own grid."""
CELL_HIDDEN = 32
"""Channels between the two layers of a `CellBlock`."""
CELL_HEADS = 2
DETAILS = 8
DILATIONS = (1, 2, 4)
CUES = 4
"""Channels of the two stacks of cues: prior, box mask, log-odds, object (`OwnCells`); prior, both log-odds,
object (edges)."""
LOG_ODDS_SCALE = 3.0
"""Brings log-odds to about 1 for the convolutions that read them."""


@dataclass(frozen=True)
class ImageFeatures:
    """What all prompts of a call share. B images of h x w tokens and P = 16 h w positions at stride 4."""

    embeddings: Tensor  # [B, 256, h w]
    own_cells: Tensor  # [B, 64, h w]: what a prompt's grid starts from
    keys: Tensor  # [B, 8, 16, h w]
    values: Tensor  # [B, 8, 16, h w]
    codes: Tensor  # [B, P, 64]
    upscaled: Tensor  # [B, 32, P]
    edges: Tensor  # [B, 8, P]
    side: tuple[int, int]  # h, w


class GuidedDecoder(nn.Module):
    """Names are SAM's where the parts are; `output_upscaling` is SAM's but for its ReLU."""

    def __init__(self, mlp_dim: int) -> None:
        super().__init__()
        channels = EMBEDDING_CHANNELS
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(NUM_MASKS, channels)
        self.guide = Guide(SURROUNDINGS)
        self.surroundings = _surroundings()
        self.edges = nn.Conv2d(SURROUNDINGS, DETAILS, 1)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 2, 2),
            LayerNorm2d(channels // 4),
            nn.ReLU(),
            nn.ConvTranspose2d(channels // 4, UPSCALED_CHANNELS, 2, 2),
            nn.ReLU(),
        )
        self.own_cells = OwnCells()
        self.pooled = nn.Linear(channels, channels)
        self.pooled_tokens = nn.Embedding(2, channels)
        self.to_picture = PictureAttention()
        self.to_own_cells = CellAttention()
        self.first, self.second = TokenLayer(mlp_dim), TokenLayer(mlp_dim)
        self.cue_edges = nn.Linear(CUES, DETAILS, bias=False)
        self.details = nn.Conv2d(DETAILS, DETAILS, 3, padding=1)
        weights = UPSCALED_CHANNELS + DETAILS
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(channels, channels, weights, 3) for _ in range(NUM_MASKS)
        )
        self.iou_prediction_head = MLP(channels, 256, NUM_MASKS, 3)

    def prepare(self, image_embeddings: Tensor, image_pe: Tensor, prompts: EmbeddedPrompts) -> MaskPredictor:
        """See `glesam.decoding.Decoder`."""
        image = self.look(image_embeddings, image_pe)
        height, width = UPSCALING * image.side[0], UPSCALING * image.side[1]
        drawn = draw_prompts(prompts.point_coords, prompts.point_labels, height, width)
        box = box_mask(prompts.point_coords, prompts.point_labels, height, width)

        def predict(mask_input: Tensor, has_mask_input: Tensor) -> tuple[Tensor, Tensor]:
            has_mask = has_mask_input.reshape(-1, 1, 1, 1)
            marked = has_mask * mask_input + (1 - has_mask) * drawn
            masks: tuple[Tensor, Tensor] = self(image, prompts.sparse, marked, box)
            return masks

        return predict

    def image_attentions(self) -> list[Any]:
        """See `glesam.decoding.Decoder`: here prompt tokens alone attend."""
        return [self.to_picture]

    def look(self, image_embeddings: Tensor, positions: Tensor) -> ImageFeatures:
        """The features that all prompts share.

        Args:
            image_embeddings: [B, 256, h, w].
            positions: SAM's dense positional encoding, [1, 256, h, w].
        """
        fine = pixel_shuffle(image_embeddings, UPSCALING)
        around = self.surroundings(fine)
        return ImageFeatures(
            image_embeddings.flatten(2),
            self.own_cells.of_picture(image_embeddings).flatten(2),
            *self.to_picture.look(image_embeddings.flatten(2), positions.flatten(2)),
            self.guide.encode(fine, around),
            self.output_upscaling(image_embeddings).flatten(2),
            self.edges(around).flatten(2),
            (image_embeddings.shape[2], image_embeddings.shape[3]),
        )

    def forward(
        self, image: ImageFeatures, sparse: Tensor, marked: Tensor, box: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All four masks of N prompts, image by image; N is a multiple of B.

        Args:
            image: what `look` returned.
            sparse: sparse prompt embeddings, [N, p, 256].
            marked: the prompt as logits, [N, 1, 4h, 4w].
            box: [N, 1, 4h, 4w], 1 where the object may lie, else 0.

        Returns:
            low_res_masks [N, 4, 4h, 4w], logits, and iou_predictions [N, 4].
        """
        n, side = marked.shape[0], marked.shape[-2:]
        prior, box = marked.flatten(1).sigmoid(), box.flatten(1)
        first_odds = self.guide.log_odds(prior, image.codes)
        grid, coarse = self.own_cells(image, prior, box, first_odds)
        located = box * self.own_cells.locate(first_odds, coarse)
        second_odds = self.guide.log_odds(located, image.codes)

        tokens = self._tokens(image, sparse, located)
        x = self.first(tokens, tokens, lambda queries: self.to_picture(queries, image), tokens)
        x = self.second(x, x + tokens, lambda queries: self.to_own_cells(queries, grid), tokens)

        cues = torch.stack([prior, first_odds / LOG_ODDS_SCALE, second_odds / LOG_ODDS_SCALE, located], dim=1)
        own_edges = self.cue_edges.weight @ cues + coarse.flatten(2)  # a layer on channels that come first
        edges = (per_prompt(image.edges, n) + own_edges).relu()
        details = self.details(edges.reshape(n, DETAILS, *side)).relu().flatten(2)
        weights = torch.stack(
            [mlp(x[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        image_weights, prompt_weights = weights[..., :UPSCALED_CHANNELS], weights[..., UPSCALED_CHANNELS:]
        shared = by_image(image_weights, len(image.codes)) @ image.upscaled
        masks = shared.reshape(n, NUM_MASKS, -1) + prompt_weights @ details
        return masks.reshape(n, NUM_MASKS, *side), self.iou_prediction_head(x[:, 0])

    def _tokens(self, image: ImageFeatures, sparse: Tensor, located: Tensor) -> Tensor:
        """SAM's learned tokens, the means of object and background, the prompt's tokens: [N, T, 256]."""
        n = located.shape[0]
        fine = located.reshape(n, 1, *(UPSCALING * side for side in image.side))
        inside = avg_pool2d(fine, UPSCALING).flatten(2)
        both = torch.cat([inside, 1 - inside], dim=1)
        both = both / (both.sum(-1, keepdim=True) + 1)
        means = by_image(both, len(image.codes)) @ image.embeddings.transpose(1, 2)
        learned = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(n, -1, -1)
        pooled = self.pooled(means.reshape(n, 2, -1)) + self.pooled_tokens.weight
        return torch.cat([learned, pooled, sparse], dim=1)


class OwnCells(nn.Module):
    """A prompt's own grid at stride 16, from the image and the guide's log-odds."""

    def __init__(self) -> None:
        super().__init__()
        self.of_picture = nn.Conv2d(EMBEDDING_CHANNELS, CELL_CHANNELS, 1)
        self.of_cues = nn.Conv2d(CUES, CELL_CHANNELS, UPSCALING, UPSCALING)
        self.blocks = nn.Sequential(*(CellBlock(dilation) for dilation in DILATIONS))
        self.coarse = nn.Conv2d(CELL_CHANNELS, DETAILS, 1)
        # They turn log-odds into probabilities: [0] in what the grid reads, [1] in what it says.
        self.steepness = nn.Parameter(torch.ones(2))
        self.offset = nn.Parameter(torch.zeros(2))

    def forward(
        self, image: ImageFeatures, prior: Tensor, box: Tensor, log_odds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The grid [N, 64, h w], and eight channels of it at stride 4, [N, 8, 4h, 4w]: the first says where
        the object is (`locate`), all eight are edges. The arguments are [N, P], `prior` in [0, 1].
        """
        n, (h, w) = prior.shape[0], image.side
        similar = box * (self.steepness[0] * log_odds + self.offset[0]).sigmoid()
        cues = torch.stack([prior, box, log_odds / LOG_ODDS_SCALE, similar], dim=1)
        own = self.of_cues(cues.reshape(n, CUES, UPSCALING * h, UPSCALING * w))
        joined = (per_prompt(image.own_cells, n) + own.flatten(2)).relu()
        grid = self.blocks(joined.reshape(n, CELL_CHANNELS, h, w))
        return grid.flatten(2), upsampled(self.coarse(grid))

    def locate(self, log_odds: Tensor, coarse: Tensor) -> Tensor:
        """Probability of the object at each position, from its log-odds and the grid, [N, P]."""
        return (self.steepness[1] * log_odds + coarse[:, 0].flatten(1) + self.offset[1]).sigmoid()


class CellBlock(nn.Module):
    """x + f(x), f a dilated depthwise convolution and two layers; starts as x. [N, 64, h, w] in and out."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        last = nn.Conv2d(CELL_HIDDEN, CELL_CHANNELS, 1)
        self.body = nn.Sequential(
            nn.Conv2d(
                CELL_CHANNELS, CELL_CHANNELS, 3, padding=dilation, dilation=dilation, groups=CELL_CHANNELS,
                bias=False,
            ),
            nn.BatchNorm2d(CELL_CHANNELS),
            nn.Conv2d(CELL_CHANNELS, CELL_HIDDEN, 1),
            nn.ReLU(),
            last,
        )  # fmt: skip
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.body(x)
        return x + mixed


class PictureAttention(nn.Module):
    """SAM's attention of prompt tokens to image tokens, whose keys and values all prompts share."""

    def __init__(self) -> None:
        super().__init__()
        channels, inner = EMBEDDING_CHANNELS, EMBEDDING_CHANNELS // 2
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, channels)
        self.scale = (inner // HEADS) ** -0.5

    def look(self, embeddings: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, 8, 16, h w] from embeddings [B, 256, h w] and positions [1, 256, h w]."""
        return _by_head(self.k_proj, embeddings + positions), _by_head(self.v_proj, embeddings)

    def forward(self, tokens: Tensor, image: ImageFeatures) -> Tensor:
        """[N, T, 256] in and out."""
        n, t, _ = tokens.shape
        queries = by_image(self.q_proj(tokens) * self.scale, len(image.keys))
        queries = queries.reshape(*queries.shape[:2], HEADS, -1).transpose(1, 2)
        seen = (queries @ image.keys).softmax(-1) @ image.values.transpose(2, 3)
        out: Tensor = self.out_proj(seen.transpose(1, 2).reshape(n, t, -1))
        return out


class CellAttention(nn.Module):
    """Tokens attend to a prompt's own grid, which serves as keys and values unprojected.

    Projecting the grid would be most of a prompt's work; queries of 64 channels a head and the output's
    projection can express the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(EMBEDDING_CHANNELS, CELL_HEADS * CELL_CHANNELS)
        self.out_proj = nn.Linear(CELL_HEADS * CELL_CHANNELS, EMBEDDING_CHANNELS)

    def forward(self, tokens: Tensor, grid: Tensor) -> Tensor:
        """[N, T, 256] in and out; grid [N, 64, h w]."""
        n, t, _ = tokens.shape
        queries = self.q_proj(tokens).reshape(n, t * CELL_HEADS, CELL_CHANNELS) * CELL_CHANNELS**-0.5
        seen = (queries @ grid).softmax(-1) @ grid.transpose(1, 2)
        out: Tensor = self.out_proj(seen.reshape(n, t, -1))
        return out


class TokenLayer(nn.Module):
    """A layer of SAM's two-way transformer without its last step: image tokens stay as they are.

    Unlike SAM's, the first layer, too, has a residual around its self-attention.
    """

    def __init__(self, mlp_dim: int) -> None:
        super().__init__()
        channels = EMBEDDING_CHANNELS
        self.self_attn = Attention(channels, HEADS)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.mlp = MLPBlock(channels, mlp_dim, nn.ReLU)

    def forward(
        self, x: Tensor, placed: Tensor, attend: Callable[[Tensor], Tensor], tokens: Tensor
    ) -> Tensor:
        """All tensors are [N, T, 256].

        Args:
            x: the tokens after the layers before.
            placed: the queries and keys of self-attention.
            attend: attention to the image or to the prompt's grid.
            tokens: the tokens before the first layer, their positions.
        """
        x = self.norm1(x + self.self_attn(placed, placed, x))
        x = self.norm2(x + attend(x + tokens))
        out: Tensor = self.norm3(x + self.mlp(x))
        return out


def _surroundings() -> nn.Sequential:
    """Features around each stride-4 position, [B, 16, H, W] -> [B, 16, H, W]."""
    layers: list[nn.Module] = []
    for channels in (FEATURES, SURROUNDINGS):
        layers += [
            nn.Conv2d(channels, SURROUNDINGS, 3, padding=1, bias=False),
            nn.BatchNorm2d(SURROUNDINGS),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def _by_head(projection: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer on channels that come first, as embeddings have them: [B, C, h w] -> [B, 8, d, h w]."""
    projected = projection.weight @ x + projection.bias.unsqueeze(1)
    return projected.reshape(projected.shape[0], HEADS, -1, projected.shape[2])


def upsampled(x: Tensor) -> Tensor:
    """Stride 16 [N, C, h, w] -> stride 4 [N, C, 4h, 4w], bilinear."""
    return interpolate(x, scale_factor=UPSCALING, mode="bilinear", align_corners=False)
