"""The interface of every data set: pictures, each with the masks of its objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from glesam.data.masks import Mask


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture: `image` uint8 [H, W, 3] RGB, `masks` bool [H, W] each, largest first.

    `name` is unique within `dataset`. Masks may overlap. They may be made on access (`glesam.data.masks`):
    keep the mask, not the index, where one is used often.
    """

    dataset: str
    name: str
    image: NDArray[np.uint8]
    masks: Sequence[Mask]


class Dataset(Protocol):
    """Pictures by index, each read from disk on access: a large data set does not fit into memory.

    `weight`: how often training draws from this data set, relative to the others. `names[i]` is the name
    of sample i. Reading raises InputError, in one line, for a file that is not what it should be.
    """

    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def names(self) -> Sequence[str]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...
