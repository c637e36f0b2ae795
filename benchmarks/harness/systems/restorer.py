"""The restorer of "restore, then SAM": a small U-Net from degraded to clean pictures, and its ONNX file."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from glesam.data.batches import Batch
from glesam.restorers.restorer import Floats, Picture, restore_picture
from glesam.training.loop import Losses
from glesam_calib.graph.files import save_onnx
from glesam_export.graphs import Graph
from glesam_export.to_onnx import onnx_from_graph

from .lab import SEED, Lab

STRIDE = 4
"""Pixels per position of its finest features, along each axis."""


class Block(nn.Module):
    """x + f(x), [B, C, h, w] in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class ImageRestorer(nn.Module):
    """RGB [B, 3, H, W] in [0, 1] -> the same, restored; a new one changes nothing. H, W: multiples of 8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, STRIDE, stride=STRIDE), Block(width))
        self.coarse = nn.Sequential(
            nn.Conv2d(width, 2 * width, 2, stride=2),
            Block(2 * width),
            Block(2 * width),
            nn.ConvTranspose2d(2 * width, width, 2, stride=2),
        )
        self.merge = nn.Sequential(nn.Conv2d(2 * width, width, 1), Block(width))
        self.change = nn.ConvTranspose2d(width, 3, STRIDE, stride=STRIDE)
        for parameter in self.change.parameters():
            nn.init.zeros_(parameter)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.stem(image)
        merged = self.merge(torch.cat([fine, self.coarse(fine)], dim=1))
        restored: Tensor = image + self.change(merged)
        return restored


@cache
def trained_restorer(lab: Lab) -> ImageRestorer:
    """Stage "restorer": the mean absolute error of tiles of degraded pictures, as many as SAM's decoder has.

    The degradation of glesam-eval is that of a whole picture, so tiles are cut out of larger views.
    """
    torch.manual_seed(SEED)
    tile = lab.size.tile
    model = ImageRestorer(lab.size.width)
    plan = replace(lab.degraded_views(lab.size.vit.sam), image_size=2 * tile, objects_per_image=1)

    def losses(batch: Batch) -> Losses:
        side = batch.image.shape[-1] - tile
        top, left = (int(torch.randint(side + 1, ())) for _ in range(2))
        window = (..., slice(top, top + tile), slice(left, left + tile))
        degraded, clean = batch.degraded[window] / 255, batch.image[window] / 255
        return {
            "loss": l1_loss(model(degraded), clean),
            "before": l1_loss(degraded, clean),
        }

    lab.train(Path("restore-then-sam/restorer"), model, model, losses, plan)
    return model


def write_restorer(model: ImageRestorer, tile: int, path: Path) -> None:
    """Writes the ONNX file for glesam-eval's --restorer, for images of `tile` x `tile` px."""
    graph = Graph("restorer", model, {"image": torch.zeros(1, 3, tile, tile)}, ("restored",), {})
    save_onnx(onnx_from_graph(graph), path)


def restored(model: ImageRestorer, tile: int, picture: Picture) -> Picture:
    """Restores a picture in PyTorch, tile by tile, as glesam-eval does with the ONNX file."""

    def network(image: Floats) -> Floats:
        with torch.no_grad():
            answer: Floats = model(torch.from_numpy(np.ascontiguousarray(image))).numpy()
        return answer

    return restore_picture(picture, network, (tile, tile))
