"""Pictures kept in memory once read, for data sets that fit: training draws each a dozen times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from glesam.data.masks import MaskLayers
from glesam.data.sample import Dataset, Sample

DEFAULT_BYTES = 4 * 1024**3


@dataclass
class Budget:
    """Memory left for pictures, in bytes."""

    left: int = DEFAULT_BYTES


@dataclass(frozen=True, eq=False)
class InMemory:
    """A data set whose pictures are read once and kept within `budget`; beyond it, read every time.

    Threads may share it; at worst two of them read the same picture.
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
    """The data sets, kept in memory with one budget for all."""
    budget = Budget(max_bytes)
    return [InMemory(dataset, budget) for dataset in datasets]
