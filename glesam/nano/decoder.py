"""nano's mask decoder: it looks at the picture once, and does little for each prompt.

In SAM's decoder every cell of the picture attends to the prompt, so that a second prompt costs as much as
the first: 64 boxes in one call take 64 times the arithmetic. Here what a call sees of the picture (`look`)
is shared by all of its prompts: keys and values, upscaled features that masks are read from, edges. A prompt
adds what is its own:

1. The guide tells which spots look like what the prompt marks (`glesam.guide`).
2. Cells of 64 channels join that to the picture, and see around themselves through dilated convolutions.
   They say where the object is; by that the guide is asked again.
3. SAM's tokens, and two that hold the mean of what is marked and of the rest, attend to the picture and then
   to these cells.
4. Each mask token weighs the shared features, as in SAM, and eight more at full detail that are the prompt's
   own, found by a convolution over what the picture, the guide's answers and the cells say of each spot.

Labels, the form of mask prompts, four masks and their predicted IoU are SAM's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle

from glesam.config import EMBEDDING_CHANNELS, NUM_MASKS
from glesam.nano.guide import FEATURES, SPOTS_PER_SIDE, Guide, by_picture, per_prompt
from glesam.sam_modules import MLP, Attention, LayerNorm2d, MLPBlock

HEADS = 8
UPSCALED_CHANNELS = EMBEDDING_CHANNELS // 8
"""Of the shared features that masks are read from, as in SAM."""
SURROUNDINGS = 16
"""Channels of what is seen around a spot."""
CELL_CHANNELS = 64
"""Of a prompt's own cells."""
CELL_HIDDEN = 32
"""Between the two layers of a `CellBlock`."""
CELL_HEADS = 2
DETAILS = 8
DILATIONS = (1, 2, 4)
CUES = 4
"""Of a spot, twice: share, limit, ratio, what looks so (own cells); share, both ratios, found (edges)."""
RATIO_SCALE = 3.0
"""Brings ratios to about 1 for the convolutions that read them."""


@dataclass(frozen=True)
class SeenPicture:
    """What all prompts of a call share. B pictures of h x w cells and P = 16 h w spots."""

    embeddings: Tensor  # [B, 256, h w]
    own_cells: Tensor  # [B, 64, h w]: what a prompt's cells start from
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

    def look(self, image_embeddings: Tensor, positions: Tensor) -> SeenPicture:
        """What the prompts to come share.

        Args:
            image_embeddings: [B, 256, h, w].
            positions: SAM's dense positional encoding, [1, 256, h, w].
        """
        spots = pixel_shuffle(image_embeddings, SPOTS_PER_SIDE)
        around = self.surroundings(spots)
        return SeenPicture(
            image_embeddings.flatten(2),
            self.own_cells.of_picture(image_embeddings).flatten(2),
            *self.to_picture.look(image_embeddings.flatten(2), positions.flatten(2)),
            self.guide.encode(spots, around),
            self.output_upscaling(image_embeddings).flatten(2),
            self.edges(around).flatten(2),
            (image_embeddings.shape[2], image_embeddings.shape[3]),
        )

    def forward(
        self, picture: SeenPicture, sparse: Tensor, marked: Tensor, limit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All four masks of N prompts, picture by picture; N is a multiple of B.

        Args:
            picture: what `look` returned.
            sparse: sparse prompt embeddings, [N, p, 256].
            marked: the prompt as logits, [N, 1, 4h, 4w].
            limit: [N, 1, 4h, 4w], 1 where the object may lie, else 0.

        Returns:
            low_res_masks [N, 4, 4h, 4w], logits, and iou_predictions [N, 4].
        """
        n, side = marked.shape[0], marked.shape[-2:]
        share, limit = marked.flatten(1).sigmoid(), limit.flatten(1)
        ratio = self.guide.log_ratio(share, picture.codes)
        own_cells, coarse = self.own_cells(picture, share, limit, ratio)
        found = limit * self.own_cells.found(ratio, coarse)
        again = self.guide.log_ratio(found, picture.codes)

        tokens = self._tokens(picture, sparse, found)
        x = self.first(tokens, tokens, lambda queries: self.to_picture(queries, picture), tokens)
        x = self.second(x, x + tokens, lambda queries: self.to_own_cells(queries, own_cells), tokens)

        cues = torch.stack([share, ratio / RATIO_SCALE, again / RATIO_SCALE, found], dim=1)
        own_edges = self.cue_edges.weight @ cues + coarse.flatten(2)  # a layer on channels that come first
        edges = (per_prompt(picture.edges, n) + own_edges).relu()
        details = self.details(edges.reshape(n, DETAILS, *side)).relu().flatten(2)
        weights = torch.stack(
            [mlp(x[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        of_picture, of_prompt = weights[..., :UPSCALED_CHANNELS], weights[..., UPSCALED_CHANNELS:]
        shared = by_picture(of_picture, len(picture.codes)) @ picture.upscaled
        masks = shared.reshape(n, NUM_MASKS, -1) + of_prompt @ details
        return masks.reshape(n, NUM_MASKS, *side), self.iou_prediction_head(x[:, 0])

    def _tokens(self, picture: SeenPicture, sparse: Tensor, found: Tensor) -> Tensor:
        """SAM's learned ones, the mean cells of what is found and of the rest, the prompt's: [N, T, 256]."""
        n = found.shape[0]
        spots = found.reshape(n, 1, *(SPOTS_PER_SIDE * side for side in picture.side))
        inside = avg_pool2d(spots, SPOTS_PER_SIDE).flatten(2)
        both = torch.cat([inside, 1 - inside], dim=1)
        both = both / (both.sum(-1, keepdim=True) + 1)
        means = by_picture(both, len(picture.codes)) @ picture.embeddings.transpose(1, 2)
        learned = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(n, -1, -1)
        pooled = self.pooled(means.reshape(n, 2, -1)) + self.pooled_tokens.weight
        return torch.cat([learned, pooled, sparse], dim=1)


class OwnCells(nn.Module):
    """A prompt's own cells, from what the picture and the guide tell."""

    def __init__(self) -> None:
        super().__init__()
        self.of_picture = nn.Conv2d(EMBEDDING_CHANNELS, CELL_CHANNELS, 1)
        self.of_cues = nn.Conv2d(CUES, CELL_CHANNELS, SPOTS_PER_SIDE, SPOTS_PER_SIDE)
        self.blocks = nn.Sequential(*(CellBlock(dilation) for dilation in DILATIONS))
        self.coarse = nn.Conv2d(CELL_CHANNELS, DETAILS, 1)
        # Of the ratio: [0] for what the cells are told, [1] for what they find.
        self.steepness = nn.Parameter(torch.ones(2))
        self.offset = nn.Parameter(torch.zeros(2))

    def forward(
        self, picture: SeenPicture, share: Tensor, limit: Tensor, ratio: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cells [N, 64, h w] and what they answer for each spot, [N, 8, 4h, 4w]: the first channel says where
        the object is (`found`), all eight are edges. The arguments are [N, P], `share` in [0, 1].
        """
        n, (h, w) = share.shape[0], picture.side
        looks_so = limit * (self.steepness[0] * ratio + self.offset[0]).sigmoid()
        cues = torch.stack([share, limit, ratio / RATIO_SCALE, looks_so], dim=1)
        told = self.of_cues(cues.reshape(n, CUES, SPOTS_PER_SIDE * h, SPOTS_PER_SIDE * w))
        joined = (per_prompt(picture.own_cells, n) + told.flatten(2)).relu()
        cells = self.blocks(joined.reshape(n, CELL_CHANNELS, h, w))
        return cells.flatten(2), upsampled(self.coarse(cells))

    def found(self, ratio: Tensor, coarse: Tensor) -> Tensor:
        """How much each spot looks like the object and lies where the cells say, in [0, 1], [N, P]."""
        return (self.steepness[1] * ratio + coarse[:, 0].flatten(1) + self.offset[1]).sigmoid()


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
    """SAM's attention of tokens to the picture's cells, whose keys and values all prompts share."""

    def __init__(self) -> None:
        super().__init__()
        channels, inner = EMBEDDING_CHANNELS, EMBEDDING_CHANNELS // 2
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, channels)
        self.scale = (inner // HEADS) ** -0.5

    def look(self, embeddings: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, 8, 16, h w] of embeddings [B, 256, h w] in their places [1, 256, h w]."""
        return _of_cells(self.k_proj, embeddings + positions), _of_cells(self.v_proj, embeddings)

    def forward(self, tokens: Tensor, picture: SeenPicture) -> Tensor:
        """[N, T, 256] in and out."""
        n, t, _ = tokens.shape
        queries = by_picture(self.q_proj(tokens) * self.scale, len(picture.keys))
        queries = queries.reshape(*queries.shape[:2], HEADS, -1).transpose(1, 2)
        seen = (queries @ picture.keys).softmax(-1) @ picture.values.transpose(2, 3)
        out: Tensor = self.out_proj(seen.transpose(1, 2).reshape(n, t, -1))
        return out


class CellAttention(nn.Module):
    """Tokens attend to a prompt's own cells, which are their keys and values as they are.

    Cells projected to keys and values would be most of a prompt's work; queries of 64 channels a head and
    the output's projection can say the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(EMBEDDING_CHANNELS, CELL_HEADS * CELL_CHANNELS)
        self.out_proj = nn.Linear(CELL_HEADS * CELL_CHANNELS, EMBEDDING_CHANNELS)

    def forward(self, tokens: Tensor, cells: Tensor) -> Tensor:
        """[N, T, 256] in and out; cells [N, 64, h w]."""
        n, t, _ = tokens.shape
        queries = self.q_proj(tokens).reshape(n, t * CELL_HEADS, CELL_CHANNELS) * CELL_CHANNELS**-0.5
        seen = (queries @ cells).softmax(-1) @ cells.transpose(1, 2)
        out: Tensor = self.out_proj(seen.reshape(n, t, -1))
        return out


class TokenLayer(nn.Module):
    """A layer of SAM's two-way transformer without its last step: the picture's cells stay as they are.

    The first layer, too, adds its self-attention to what the tokens are.
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
        """All [N, T, 256].

        x: what the tokens know; placed: the same as self-attention's queries and keys; attend: to the
        picture or to own cells; tokens: as they came.
        """
        x = self.norm1(x + self.self_attn(placed, placed, x))
        x = self.norm2(x + attend(x + tokens))
        out: Tensor = self.norm3(x + self.mlp(x))
        return out


def _surroundings() -> nn.Sequential:
    """What is seen around each spot, [B, 16, H, W] -> [B, 16, H, W]."""
    layers: list[nn.Module] = []
    for channels in (FEATURES, SURROUNDINGS):
        layers += [
            nn.Conv2d(channels, SURROUNDINGS, 3, padding=1, bias=False),
            nn.BatchNorm2d(SURROUNDINGS),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def _of_cells(projection: nn.Linear, cells: Tensor) -> Tensor:
    """A linear layer on channels that come first, as embeddings have them: [B, C, h w] -> [B, 8, d, h w]."""
    projected = projection.weight @ cells + projection.bias.unsqueeze(1)
    return projected.reshape(projected.shape[0], HEADS, -1, projected.shape[2])


def upsampled(x: Tensor) -> Tensor:
    """Cells [N, C, h, w] -> spots [N, C, 4h, 4w], bilinear."""
    return interpolate(x, scale_factor=SPOTS_PER_SIDE, mode="bilinear", align_corners=False)
