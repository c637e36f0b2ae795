"""Which pictures are evaluated, and their prompts: drawn anew, or checked against the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from glesam.data.datasets import Dataset, Sample
from glesam.evaluation.evaluate import Skipped
from glesam.evaluation.prompts import PromptedPicture, check_fit, draw_picture
from glesam_runtime.errors import InputError, PromptFileError

Place = tuple[Dataset, int]
"""A picture that has not been read: its data set and its index there."""


class Library:
    """Data sets, their pictures found by name. Raises InputError where two sets have the same."""

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        names = [dataset.name for dataset in datasets]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"two data sets are named {repeated[0]}; rename a folder, or describe one")
        self._datasets = datasets
        self._places = {(one.name, name): (one, i) for one in datasets for i, name in enumerate(one.names)}

    def spread(self, per_set: int | None) -> list[Place]:
        """At most `per_set` pictures of each set, evenly spaced in its order; None: all of them."""
        places: list[Place] = []
        for dataset in self._datasets:
            count = len(dataset) if per_set is None else min(per_set, len(dataset))
            places += [(dataset, int(i)) for i in np.linspace(0, len(dataset) - 1, count).round()]
        return places

    def read(self, picture: PromptedPicture) -> Sample:
        """Raises PromptFileError where there is no such picture, ValueError where it cannot be read."""
        place = self._places.get((picture.dataset, picture.name))
        if place is None:
            found = ", ".join(dataset.name for dataset in self._datasets)
            raise PromptFileError(
                f"{picture.title}: no such picture in the data (sets: {found}); "
                "give --data and --sets as they were when the prompts were drawn"
            )
        dataset, index = place
        return dataset[index]


def draw_prompts(places: Iterable[Place], max_objects: int, seed: int) -> Iterator[PromptedPicture | Skipped]:
    """Each picture's prompts; a picture that cannot be read or holds no object is skipped."""
    for dataset, index in places:
        try:
            yield draw_picture(dataset[index], max_objects, seed)
        except (OSError, ValueError) as error:
            yield Skipped(f"{dataset.name}/{dataset.names[index]}", str(error))


def check_prompts(pictures: Iterable[PromptedPicture], library: Library) -> None:
    """Raises PromptFileError for the first picture that is missing or changed."""
    for picture in pictures:
        check_fit(picture, library.read(picture))
