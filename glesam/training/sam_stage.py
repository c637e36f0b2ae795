"""Stage "sam": the image encoder, prompt encoder and mask decoder on clean pictures.

Cross entropy + dice, a squared error on the predicted IoU, and coherence: cells of one label must have
similar embeddings, cells of different labels dissimilar ones. (With SAM's own focal loss the masks were
still empty after 75 steps; a CPU affords a thousand.) `glesam.training.mask_loss` has the loss of a mask.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from glesam.config import EMBEDDING_STRIDE
from glesam.data.batches import Batch
from glesam.model import GleSam
from glesam.training.loop import Losses
from glesam.training.mask_loss import segmentation_losses


def sam_losses(model: GleSam, batch: Batch) -> Losses:
    embeddings = model.encode(model.normalize(batch.image))
    losses = segmentation_losses(model, embeddings, batch)
    coherence = coherence_loss(embeddings, batch.labels)
    return {**losses, "loss": losses["loss"] + coherence, "coherence": coherence}


def coherence_loss(image_embeddings: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of "same label" for every pair of cells of a picture, from their similarity.

    Args:
        image_embeddings: [B, 256, h, w], each cell of norm about 16.
        labels: uint8 [B, 16h, 16w].
    """
    cells = image_embeddings.flatten(2)
    similarity = torch.einsum("bcm,bcn->bmn", cells, cells) / image_embeddings.shape[1]
    half = EMBEDDING_STRIDE // 2
    centres = labels[:, half::EMBEDDING_STRIDE, half::EMBEDDING_STRIDE].flatten(1)
    same = (centres.unsqueeze(2) == centres.unsqueeze(1)).float()
    return binary_cross_entropy_with_logits(6 * (similarity - 0.5), same)
