"""Which pictures a run evaluates, and their prompts: drawn anew, or checked against the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glesam.data.datasets import Split, load_datasets
from glesam.data.sample import Dataset, Sample
from glesam.evaluation.log import Log
from glesam.evaluation.prompts import PromptedPicture, PromptSet, check_fit, completed, draw_picture
from glesam.evaluation.score import Skipped
from glesam_runtime.errors import InputError, PromptFileError
from glesam_runtime.tools.progress import track

Unread = tuple[Dataset, int]
"""A picture that has not been read: its data set and its index there."""


@dataclass(frozen=True)
class Selection:
    """The user's selection of pictures and objects. An existing `prompts` file decides both, and the seed.

    `sets` describes the data sets in `data`. `real` is a folder of data sets whose photographs are of low
    quality by themselves: all of them are evaluated, whatever `split` selects from `data`.
    """

    data: Path
    real: Path | None = None
    sets: Path | None = None
    split: Split = "dev"
    per_set: int | None = None
    max_objects: int = 5
    seed: int = 0
    prompts: Path | None = None


class Library:
    """Pictures of several data sets, by name. Raises InputError where two sets have the same name."""

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        names = [dataset.name for dataset in datasets]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"two data sets are named {repeated[0]}; rename a folder, or describe one")
        self._datasets = datasets
        self._places = {(one.name, name): (one, i) for one in datasets for i, name in enumerate(one.names)}

    def spread(self, per_set: int | None) -> list[Unread]:
        """At most `per_set` pictures of each set, evenly spaced in its order; None: all of them."""
        chosen: list[Unread] = []
        for dataset in self._datasets:
            count = len(dataset) if per_set is None else min(per_set, len(dataset))
            chosen += [(dataset, int(i)) for i in np.linspace(0, len(dataset) - 1, count).round()]
        return chosen

    def read(self, picture: PromptedPicture) -> Sample:
        """Raises PromptFileError where there is no such picture, ValueError where it cannot be read."""
        place = self._places.get((picture.dataset, picture.name))
        if place is None:
            names = ", ".join(dataset.name for dataset in self._datasets)
            raise PromptFileError(
                f"{picture.title}: no such picture in the data (sets: {names}); "
                "give --data and --sets as they were when the prompts were drawn"
            )
        dataset, index = place
        return dataset[index]


@dataclass(frozen=True)
class Pictures:
    """The pictures of a run and where they are read from. `real` names the data sets of real low quality."""

    library: Library
    prompts: PromptSet
    real: frozenset[str]
    origin: str


def select_pictures(selection: Selection, log: Log) -> Pictures:
    """Reads every picture once: draws its prompts, or checks those of the prompt file.

    Raises:
        PromptFileError: the file is damaged or does not fit the data.
        InputError: there is no data set, two have the same name, or no picture could be read.
        OSError: a file or folder is missing.
    """
    path = selection.prompts
    file = path if path is not None and path.exists() else None
    data = load_datasets(selection.data, selection.sets, "all" if file else selection.split)
    real = load_datasets(selection.real, split="all") if selection.real is not None else []
    library = Library([*data, *real])
    prompts = read_prompts(file, library) if file else new_prompts(selection, library, log)
    origin = f"from {file}" if file else f"the {selection.split} split"
    return Pictures(library, prompts, frozenset(one.name for one in real), origin)


def read_prompts(path: Path, library: Library) -> PromptSet:
    """Reads a prompt file, checks every picture of it, and completes those of an older format."""
    prompts = PromptSet.from_json(path.read_bytes().decode("utf-8", "replace"), str(path))
    unchecked = track(prompts.pictures, len(prompts.pictures), "pictures checked")
    return PromptSet(prompts.seed, tuple(checked(picture, library) for picture in unchecked))


def checked(picture: PromptedPicture, library: Library) -> PromptedPicture:
    """The picture with prompts of every kind. Raises PromptFileError where it is missing or changed."""
    sample = library.read(picture)
    check_fit(picture, sample)
    return completed(picture, sample)


def new_prompts(selection: Selection, library: Library, log: Log) -> PromptSet:
    """Draws the prompts of the selected pictures; skips those without any."""
    chosen = library.spread(selection.per_set)
    drawn = draw_prompts(track(chosen, len(chosen), "pictures read"), selection.max_objects, selection.seed)
    pictures = tuple(log.kept(drawn))
    log.refuse_none(pictures)
    return PromptSet(selection.seed, pictures)


def draw_prompts(
    unread: Iterable[Unread], max_objects: int, seed: int
) -> Iterator[PromptedPicture | Skipped]:
    """Yields each picture's prompts; a picture that cannot be read or holds no object is skipped."""
    for dataset, index in unread:
        try:
            yield draw_picture(dataset[index], max_objects, seed)
        except (OSError, ValueError) as error:
            yield Skipped(f"{dataset.name}/{dataset.names[index]}", str(error))
