"""Which pictures a run evaluates, and their prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glesam.data.datasets import Split, load_datasets
from glesam.evaluation.log import Log
from glesam.evaluation.prompts import PromptSet
from glesam.evaluation.selection import Library, check_prompts, draw_prompts
from glesam_runtime.tools.progress import track


@dataclass(frozen=True)
class Choice:
    """What the user asked for. An existing `prompts` file decides pictures, objects and seed.

    `real` is a folder of sets whose photographs are of low quality by themselves: all of them count,
    whatever `split` says of `data`. `sets` describes those of `data`.
    """

    data: Path
    real: Path | None = None
    sets: Path | None = None
    split: Split = "dev"
    per_set: int | None = None
    max_objects: int = 5
    seed: int = 0
    prompts: Path | None = None


@dataclass(frozen=True)
class Pictures:
    """What is evaluated, and where it is read from. `real` names the sets of real low quality."""

    library: Library
    prompts: PromptSet
    real: frozenset[str]
    origin: str


def chosen_pictures(choice: Choice, log: Log) -> Pictures:
    """Reads every picture once: draws its prompts, or checks those of the prompt file.

    Raises:
        PromptFileError: the file is damaged or does not fit the data.
        InputError: there is no data set, two have the same name, or no picture could be read.
        OSError: a file or folder is missing.
    """
    given = choice.prompts if choice.prompts is not None and choice.prompts.exists() else None
    data = load_datasets(choice.data, choice.sets, "all" if given else choice.split)
    real = load_datasets(choice.real, split="all") if choice.real is not None else []
    library = Library([*data, *real])
    prompts = read_prompts(given, library) if given else new_prompts(choice, library, log)
    origin = f"as {given} asks" if given else f"the {choice.split} split"
    return Pictures(library, prompts, frozenset(one.name for one in real), origin)


def read_prompts(path: Path, library: Library) -> PromptSet:
    prompts = PromptSet.from_json(path.read_bytes().decode("utf-8", "replace"), str(path))
    check_prompts(track(prompts.pictures, len(prompts.pictures), "pictures checked"), library)
    return prompts


def new_prompts(choice: Choice, library: Library, log: Log) -> PromptSet:
    places = library.spread(choice.per_set)
    drawn = draw_prompts(track(places, len(places), "pictures read"), choice.max_objects, choice.seed)
    pictures = tuple(log.kept(drawn))
    log.refuse_none(pictures)
    return PromptSet(choice.seed, pictures)
