"""The prompts of an evaluation, drawn once and kept in a file, so that every run gets the same ones.

A file names pictures and objects of a data set. It holds none of their pixels or masks:

    {"format_version": 2, "seed": 0, "pictures": [{"dataset": "bags", "name": "17", "sha256": "...",
     "objects": [{"index": 0, "box": [x0, y0, x1, y1], "points": [[x, y], [x, y], [x, y]],
                  "innermost": [x, y]}]}]}

`index` is the object's place in `Sample.masks`; `sha256` covers the picture's pixels and these masks.
Coordinates are pixels of the picture; a box's x1 and y1 are the first column and row after it.
Files of format 1, which lack `innermost`, are still read; `completed` adds it from the masks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glesam.data.innermost import innermost_pixel
from glesam.data.label_maps import mask_box
from glesam.data.sample import Sample
from glesam.evaluation.metrics import Mask
from glesam_runtime.errors import InputError, PromptFileError

FORMAT_VERSION = 2
POINTS_PER_OBJECT = 3
"""Number of random foreground points in a points prompt, as in the paper's evaluation."""

Box = tuple[int, int, int, int]
Point = tuple[int, int]
PromptKind = Literal["box", "points", "innermost"]


@dataclass(frozen=True)
class ObjectPrompt:
    """What a method knows about one object: a box, or foreground points."""

    box: Box | None = None
    points: tuple[Point, ...] = ()


@dataclass(frozen=True)
class PromptedObject:
    """One object of a picture, `Sample.masks[index]`, with its prompts of every kind.

    `innermost` is the object's pixel farthest from its edge; None until `completed`, in a file of format 1.
    """

    index: int
    box: Box
    points: tuple[Point, ...]
    innermost: Point | None

    def prompt(self, kind: PromptKind) -> ObjectPrompt:
        """The prompt of one kind, which reveals nothing of the others."""
        if kind == "box":
            return ObjectPrompt(box=self.box)
        if kind == "points":
            return ObjectPrompt(points=self.points)
        if self.innermost is None:
            raise InputError(f"object {self.index}: it has no innermost point; complete its picture first")
        return ObjectPrompt(points=(self.innermost,))


@dataclass(frozen=True)
class PromptedPicture:
    """One picture of a data set, and which of its objects are to be segmented."""

    dataset: str
    name: str
    sha256: str
    objects: tuple[PromptedObject, ...]

    @property
    def title(self) -> str:
        return f"{self.dataset}/{self.name}"

    def truth(self, sample: Sample) -> NDArray[np.bool_]:
        """The objects' masks, bool [N,H,W]."""
        return np.stack([sample.masks[one.index] for one in self.objects])

    def prompts(self, kind: PromptKind) -> list[ObjectPrompt]:
        """One prompt of `kind` for each object."""
        return [one.prompt(kind) for one in self.objects]


@dataclass(frozen=True)
class PromptSet:
    """All prompts of an evaluation, and the seed that their points were drawn with."""

    seed: int
    pictures: tuple[PromptedPicture, ...]

    def covers(self, other: PromptSet) -> bool:
        """Whether all pictures of `other`, which are complete, are here with the same prompts and seed."""
        own = set(self.pictures)
        return self.seed == other.seed and all(
            picture in own or _as_in_format_1(picture) in own for picture in other.pictures
        )

    def to_json(self) -> str:
        """JSON with one picture per line."""
        lines = ",\n".join(json.dumps(asdict(picture)) for picture in self.pictures)
        return f'{{"format_version": {FORMAT_VERSION}, "seed": {self.seed}, "pictures": [\n{lines}\n]}}\n'

    @staticmethod
    def from_json(text: str, source: str) -> PromptSet:
        """Inverse of `to_json`. Raises PromptFileError, naming `source`, for any other text."""
        try:
            return _prompt_set(json.loads(text))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise PromptFileError(
                f"{source}: not a prompt file of glesam-eval ({type(error).__name__}: {error}); "
                "give another, or a new name to have one drawn"
            ) from error


def draw_picture(sample: Sample, max_objects: int, seed: int) -> PromptedPicture:
    """Draws the prompts of the `max_objects` largest objects: tight boxes, and points on them.

    Raises InputError where the picture holds no object.
    """
    if not sample.masks:
        raise InputError(f"{sample.dataset}/{sample.name}: it holds no object large enough to be asked for")
    indices = range(min(max_objects, len(sample.masks)))
    objects = tuple(_draw_object(sample, index, seed) for index in indices)
    return PromptedPicture(sample.dataset, sample.name, fingerprint(sample, indices), objects)


def fingerprint(sample: Sample, indices: Sequence[int]) -> str:
    """The sha256 of the picture's size and pixels and of its masks at `indices`."""
    digest = hashlib.sha256(np.array(sample.image.shape, "<i8").tobytes())
    digest.update(np.ascontiguousarray(sample.image).tobytes())
    for index in indices:
        digest.update(np.packbits(sample.masks[index]).tobytes())
    return digest.hexdigest()


def check_fit(picture: PromptedPicture, sample: Sample) -> None:
    """Raises PromptFileError where `sample` is not the picture that the prompts were drawn on."""
    indices = [one.index for one in picture.objects]
    if max(indices) >= len(sample.masks) or fingerprint(sample, indices) != picture.sha256:
        raise PromptFileError(
            f"{picture.title}: its pixels or masks are not those that the prompts were drawn on; "
            "take the data they were drawn on, or have new ones drawn by giving --prompts a new name"
        )
    for one in picture.objects:
        _check_inside(picture, one, sample.masks[one.index])


def completed(picture: PromptedPicture, sample: Sample) -> PromptedPicture:
    """The picture with the innermost points that a file of format 1 lacks, taken from its `sample`."""
    objects = (
        one if one.innermost else replace(one, innermost=innermost_pixel(sample.masks[one.index]))
        for one in picture.objects
    )
    return replace(picture, objects=tuple(objects))


def _as_in_format_1(picture: PromptedPicture) -> PromptedPicture:
    return replace(picture, objects=tuple(replace(one, innermost=None) for one in picture.objects))


def _draw_object(sample: Sample, index: int, seed: int) -> PromptedObject:
    """Draws points that depend on the seed and the object's name only, not on what was drawn before."""
    key = f"{seed}/{sample.dataset}/{sample.name}/{index}".encode("utf-8", "surrogatepass")
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:8], "little"))
    mask = sample.masks[index]
    rows, columns = np.nonzero(mask)
    chosen = rng.choice(len(rows), POINTS_PER_OBJECT, replace=len(rows) < POINTS_PER_OBJECT)
    points = tuple((int(columns[i]), int(rows[i])) for i in chosen)
    return PromptedObject(index, mask_box(mask), points, innermost_pixel(mask))


def _check_inside(picture: PromptedPicture, one: PromptedObject, mask: Mask) -> None:
    height, width = mask.shape
    x0, y0, x1, y1 = one.box
    inside = 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    points = (*one.points, one.innermost) if one.innermost else one.points
    if not inside or not all(0 <= x < width and 0 <= y < height for x, y in points):
        raise PromptFileError(
            f"{picture.title}, object {one.index}: its box or a point lies outside the picture of "
            f"{width} x {height} px; correct the prompt file"
        )


def _prompt_set(data: Any) -> PromptSet:  # noqa: ANN401 - whatever a JSON file may hold
    version = _integer(data["format_version"])
    if version not in (1, FORMAT_VERSION):
        raise InputError(f"format_version {version}, this glesam reads 1 and {FORMAT_VERSION}")
    pictures = tuple(_picture(entry, version) for entry in data["pictures"])
    titles = [picture.title for picture in pictures]
    if not pictures or len(set(titles)) != len(titles):
        raise InputError("expected at least one picture, and each once")
    return PromptSet(_integer(data["seed"]), pictures)


def _picture(entry: Any, version: int) -> PromptedPicture:  # noqa: ANN401
    names = entry["dataset"], entry["name"], entry["sha256"]
    objects = tuple(_object(one, version) for one in entry["objects"])
    if not all(isinstance(name, str) for name in names) or not objects:
        raise InputError("expected texts dataset, name and sha256, and at least one object")
    return PromptedPicture(*names, objects)


def _object(entry: Any, version: int) -> PromptedObject:  # noqa: ANN401
    x0, y0, x1, y1 = map(_integer, entry["box"])
    points = tuple(_point(one) for one in entry["points"])
    innermost = _point(entry["innermost"]) if version > 1 else None
    index = _integer(entry["index"])
    if index < 0 or not points:
        raise InputError("expected an index from 0 and at least one point")
    return PromptedObject(index, (x0, y0, x1, y1), points, innermost)


def _point(entry: Any) -> Point:  # noqa: ANN401
    x, y = entry
    return _integer(x), _integer(y)


def _integer(value: Any) -> int:  # noqa: ANN401
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"expected an integer, found {value!r}")
    return value
