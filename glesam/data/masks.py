"""Masks of a picture, held as a few label maps instead of one plane each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from glesam_runtime.errors import InputError

Mask = NDArray[np.bool_]
Layers = NDArray[np.uint8]
Place = tuple[int, int]

MAX_LABEL = 255
"""Largest number of masks in one layer."""


@dataclass(frozen=True, eq=False)
class MaskLayers(Sequence[Mask]):
    """A sequence of bool masks [H, W], each made when it is accessed.

    No two masks of a layer overlap: the parts of a label map need one layer, the instances of a
    COCO picture a few. Forty masks take the memory, and the time to warp, of one.

    `layers` uint8 [L, H, W]; `places[i]` is mask i's layer and its label there.
    """

    layers: Layers
    places: tuple[Place, ...]

    @classmethod
    def of(cls, masks: Sequence[Mask], shape: tuple[int, int]) -> MaskLayers:
        """Layers of masks of `shape` (H, W), in their order; masks that are layers already are returned."""
        return masks if isinstance(masks, MaskLayers) else cls.stacked(masks, shape)

    @classmethod
    def stacked(cls, masks: Iterable[Mask], shape: tuple[int, int]) -> MaskLayers:
        """Layers made by putting every mask into the first layer where it covers no other."""
        layers: list[NDArray[np.uint8]] = []
        counts: list[int] = []
        places = []
        for mask in masks:
            layer = next((i for i, n in enumerate(counts) if n < MAX_LABEL and not layers[i][mask].any()), -1)
            if layer < 0:
                layer = len(layers)
                layers.append(np.zeros(shape, np.uint8))
                counts.append(0)
            counts[layer] += 1
            layers[layer][mask] = counts[layer]
            places.append((layer, counts[layer]))
        return cls(np.stack(layers) if layers else np.zeros((0, *shape), np.uint8), tuple(places))

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Mask: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Mask, ...]: ...
    def __getitem__(self, index: int | slice) -> Mask | tuple[Mask, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(len(self))[index])
        layer, label = self.places[index]
        mask: Mask = self.layers[layer] == label
        return mask

    def areas(self) -> list[int]:
        """Number of pixels of every mask."""
        counts = [np.bincount(layer.ravel(), minlength=MAX_LABEL + 1) for layer in self.layers]
        return [int(counts[layer][label]) for layer, label in self.places]

    def at_least(self, min_px: int, at_most: int = MAX_LABEL) -> MaskLayers:
        """The masks of `min_px` pixels or more, largest first, no more than `at_most` of them."""
        areas = self.areas()
        kept = [i for i, area in enumerate(areas) if area >= max(1, min_px)]
        kept.sort(key=lambda i: -areas[i])
        return MaskLayers(self.layers, tuple(self.places[i] for i in kept[:at_most]))

    def cut(self, mask: Mask) -> MaskLayers:
        """The same masks without the pixels of `mask`; some may be left with none."""
        layers = self.layers.copy()
        layers[:, mask] = 0
        return MaskLayers(layers, self.places)

    def with_mask(self, mask: Mask) -> MaskLayers:
        """The same masks and `mask` at their end."""
        for i, layer in enumerate(self.layers):
            free = set(range(1, MAX_LABEL + 1)) - {label for place, label in self.places if place == i}
            free -= set(np.flatnonzero(np.bincount(layer.ravel())).tolist())  # labels of dropped masks
            if free and not layer[mask].any():
                layers = self.layers.copy()
                layers[i][mask] = min(free)
                return MaskLayers(layers, (*self.places, (i, min(free))))
        layers = np.concatenate([self.layers, mask[None].astype(np.uint8)])
        return MaskLayers(layers, (*self.places, (len(self.layers), 1)))

    def painted(self) -> NDArray[np.uint8]:
        """Label map uint8 [H, W]: mask i has label i + 1, later masks cover earlier ones, 0 is no mask."""
        if len(self) > MAX_LABEL:
            raise InputError(f"at most {MAX_LABEL} masks fit a label map of bytes, found {len(self)}")
        painted = np.zeros(self.layers.shape[1:], np.uint8)
        for i, layer in enumerate(self.layers):
            ranks = np.zeros(MAX_LABEL + 1, np.uint8)
            for rank, (place, label) in enumerate(self.places, start=1):
                if place == i:
                    ranks[label] = rank
            np.maximum(painted, ranks[layer], out=painted)
        return painted
