"""Pictures kept in memory once read, for sets that fit: nano's are drawn a dozen times each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from glesam.data.masks import MaskLayers
from glesam.data.sample import Dataset, Sample

DEFAULT_BYTES = 4 * 1024**3


@dataclass
class Budget:
    """What is left for pictures, in bytes."""

    left: int = DEFAULT_BYTES


@dataclass(frozen=True, eq=False)
class InMemory:
    """Another set's pictures, decoded and taken apart into objects once; beyond `budget`, every time.

    Threads may share it; at worst two of them read a picture at the same time.
    """

    dataset: Dataset
    budget: Budget = field(default_factory=Budget)
    kept: dict[int, Sample] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def weight(self) -> float:
        return self.dataset.weight

    @property
    def names(self) -> Sequence[str]:
        return self.dataset.names

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        if (sample := self.kept.get(index)) is not None:
            return sample
        sample = self.dataset[index]
        size = sample.image.nbytes + _bytes_of_masks(sample)
        if size <= self.budget.left:
            self.budget.left -= size
            self.kept[index] = sample
        return sample


def _bytes_of_masks(sample: Sample) -> int:
    masks = sample.masks
    return masks.layers.nbytes if isinstance(masks, MaskLayers) else sum(mask.nbytes for mask in masks)


def in_memory(datasets: Sequence[Dataset], max_bytes: int = DEFAULT_BYTES) -> list[InMemory]:
    """The sets with one budget for all."""
    budget = Budget(max_bytes)
    return [InMemory(dataset, budget) for dataset in datasets]
