"""The loss of every stage with a mask decoder: dice + a loss per pixel, on SAM's four masks.

Mask 0 answers every prompt; of masks 1 to 3 the best one counts, as SAM trains them, so that each
keeps a meaning of its own. The authors train mask 0 alone, whereupon Adam's weight decay takes the
others to zero: `MaskLoss.multimask` above 0 keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate, mse_loss

from glesam.decoding import ImageFeatures
from glesam.losses import cross_entropy_loss, dice_loss, focal_loss, mask_iou
from glesam.model import GleSam
from glesam.training.loop import Losses

PixelLoss = Literal["focal", "cross_entropy"]


@dataclass(frozen=True)
class MaskLoss:
    """The loss per pixel that goes with dice (1:1), and the weights of the terms.

    `single`: mask 0; `multimask`: the best of masks 1 to 3; `iou`: the squared error of the predicted
    IoU. `size`: px, the side to which logits are upsampled to meet the masks; None: the masks are
    averaged down to the logits instead, at a sixteenth of the cost. `feedback`: the fraction of steps
    in which masks are predicted twice, the second time with the first mask as mask input. `far`: the weight
    of a pixel that is not near its object (`near`); below 1 small objects count as much as large ones.
    """

    pixel: PixelLoss = "cross_entropy"
    single: float = 1.0
    multimask: float = 1.0
    iou: float = 1.0
    size: int | None = None
    feedback: float = 0.0
    far: float = 1.0


class Prompted(Protocol):
    """A batch with K masks and prompts for each of its pictures, such as `glesam.data.batches.Batch`."""

    @property
    def masks(self) -> Tensor: ...
    @property
    def point_coords(self) -> Tensor: ...
    @property
    def point_labels(self) -> Tensor: ...


DEFAULT_LOSS = MaskLoss()


def segmentation_losses(
    model: GleSam, features: ImageFeatures, batch: Prompted, loss: MaskLoss = DEFAULT_LOSS
) -> Losses:
    """Losses of K prompts on each of B pictures, whose features are given."""
    prompt = features, batch.point_coords, batch.point_labels
    mask_input, has_mask = no_masks(features.image_embeddings, len(batch.masks))
    if float(torch.rand(())) < loss.feedback:
        with torch.no_grad():
            first, _ = model.decode(*prompt, mask_input, has_mask, refinements=0)
        mask_input, has_mask = first[:, :1].to(mask_input), torch.ones_like(has_mask)
    low_res, iou = model.decode(*prompt, mask_input, has_mask, refinements=0)
    logits, target = aligned(low_res, batch.masks.unsqueeze(1), loss.size)
    return mask_losses(logits, iou, target.expand_as(logits), loss)


def aligned(low_res: Tensor, masks: Tensor, size: int | None) -> tuple[Tensor, Tensor]:
    """Logits [N, 4, s, s] and masks [N, 1, S, S] at one size: `size`, or s where that is None."""
    low_res = low_res.to(masks.dtype)
    if size is None:
        return low_res, interpolate(masks, low_res.shape[-2:], mode="area")
    logits = interpolate(low_res, (size, size), mode="bilinear", align_corners=False)
    return logits, masks if masks.shape[-1] == size else interpolate(masks, (size, size), mode="area")


def mask_losses(
    logits: Tensor,
    iou_predictions: Tensor,
    target: Tensor,
    loss: MaskLoss = DEFAULT_LOSS,
    single_weights: Tensor | None = None,
) -> Losses:
    """Losses of N prompts; all tensors are [N, 4, ...], `target` in [0, 1] is one mask four times.

    `single_weights` [N] weigh mask 0 of each prompt; None: all alike.
    """
    pixel = focal_loss if loss.pixel == "focal" else cross_entropy_loss
    weights = loss.far + (1 - loss.far) * near(target[:, :1]) if loss.far < 1 else None
    per_mask = pixel(logits, target, weights) + dice_loss(logits, target)
    single, multi = per_mask[:, 0], per_mask[:, 1:].min(dim=1).values.mean()
    single = (
        single.mean() if single_weights is None else (single_weights * single).sum() / single_weights.sum()
    )
    true_iou = mask_iou(logits.detach(), (target > 0.5).to(target.dtype))
    iou_error = mse_loss(iou_predictions.to(true_iou.dtype), true_iou)
    return {
        "loss": loss.single * single + loss.multimask * multi + loss.iou * iou_error,
        "iou": true_iou[:, 0].mean(),
        "best_of_three": true_iou[:, 1:].max(dim=1).values.mean(),
    }


def near(target: Tensor, margin: float = 0.1, least: int = 2) -> Tensor:
    """1 in and around the box of each mask [..., h, w], else 0.

    `margin` is relative to the box's side; `least` is in px of the mask.
    """
    on = target > 0.5
    rows, columns = (_near_along(on.any(axis), margin, least) for axis in (-1, -2))
    return rows.unsqueeze(-1) * columns.unsqueeze(-2)


def _near_along(on: Tensor, margin: float, least: int) -> Tensor:
    """float [..., n]: 1 from a margin before the first to a margin after the last place that is on."""
    place = torch.arange(on.shape[-1], device=on.device)
    first = torch.where(on, place, on.shape[-1]).amin(-1, keepdim=True)
    last = torch.where(on, place, -1).amax(-1, keepdim=True)
    around = (margin * (last - first)).clamp(min=least)
    return ((place >= first - around) & (place <= last + around)).float()


def no_masks(image_embeddings: Tensor, prompts: int) -> tuple[Tensor, Tensor]:
    """`mask_input` and `has_mask_input` for prompts without a mask."""
    height, width = image_embeddings.shape[-2:]
    empty = image_embeddings.new_zeros(prompts, 1, 4 * height, 4 * width)
    return empty, image_embeddings.new_zeros(prompts)
