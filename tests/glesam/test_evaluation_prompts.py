"""Prompts are drawn once, kept in a file, and refused on anything but what they were drawn on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glesam.data.datasets import load_datasets
from glesam.data.sample import Sample
from glesam.evaluation.prompts import PromptedPicture, PromptSet, check_fit, completed, draw_picture
from glesam.evaluation.score import Skipped
from glesam.evaluation.selection import Library, checked, draw_prompts
from glesam_runtime.errors import PromptFileError


def sample(name: str = "a", value: int = 0) -> Sample:
    """Two objects, of 600 and 400 px, on a picture of 60 x 40."""
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:25, 10:40] = True
    masks[1, 10:30, 40:60] = True
    return Sample("set", name, np.full((40, 60, 3), value, np.uint8), list(masks))


def test_a_box_is_the_objects_own_and_points_lie_on_it() -> None:
    one, two = draw_picture(sample(), 5, 0).objects
    assert (one.box, two.box) == ((10, 5, 40, 25), (40, 10, 60, 30))
    for drawn, mask in zip((one, two), sample().masks, strict=True):
        assert len(set(drawn.points)) == 3
        assert all(mask[y, x] for x, y in drawn.points)
    assert (one.innermost, two.innermost) == ((19, 14), (49, 19))  # the first of those 10 px from an edge


def test_only_the_largest_objects_are_drawn() -> None:
    assert [one.index for one in draw_picture(sample(), 1, 0).objects] == [0]


def test_a_kind_of_prompt_reveals_nothing_of_the_other() -> None:
    one = draw_picture(sample(), 1, 0).objects[0]
    assert (one.prompt("box").box, one.prompt("box").points) == (one.box, ())
    assert (one.prompt("points").box, one.prompt("points").points) == (None, one.points)
    assert (one.prompt("innermost").box, one.prompt("innermost").points) == (None, (one.innermost,))


def test_points_depend_on_seed_and_name_and_on_nothing_drawn_before() -> None:
    alone, again = draw_picture(sample(), 5, 0), draw_picture(sample(), 5, 0)
    assert alone == again
    assert draw_picture(sample(), 1, 0).objects == alone.objects[:1]
    assert draw_picture(sample(), 5, 1).objects[0].points != alone.objects[0].points
    assert draw_picture(sample("b"), 5, 0).objects[0].points != alone.objects[0].points


def test_a_picture_without_an_object_is_refused() -> None:
    with pytest.raises(ValueError, match="set/a: it holds no object"):
        draw_picture(replace(sample(), masks=[]), 5, 0)


def test_a_file_is_read_as_it_was_written() -> None:
    written = PromptSet(7, (draw_picture(sample("a"), 5, 7), draw_picture(sample('ü "b"'), 1, 7)))
    assert PromptSet.from_json(written.to_json(), "file") == written


def in_format_1(prompts: PromptSet) -> PromptSet:
    """The prompts as they come back from a file of format 1, which has no innermost points."""
    data = json.loads(prompts.to_json())
    data["format_version"] = 1
    for picture in data["pictures"]:
        for one in picture["objects"]:
            del one["innermost"]
    return PromptSet.from_json(json.dumps(data), "old.json")


def test_a_file_of_format_1_is_read_and_completed_from_the_masks() -> None:
    drawn = PromptSet(0, (draw_picture(sample(), 5, 0),))
    (old,) = in_format_1(drawn).pictures
    check_fit(old, sample())
    assert old != drawn.pictures[0]
    with pytest.raises(ValueError, match="object 0: it has no innermost point"):
        old.prompts("innermost")
    assert completed(old, sample()) == drawn.pictures[0]


def test_a_point_that_a_file_names_is_kept() -> None:
    moved = changed(draw_picture(sample(), 1, 0), {"innermost": (0, 0)})
    assert completed(moved, sample()) == moved


def test_prompts_of_format_1_cover_the_same_ones_of_format_2() -> None:
    drawn = PromptSet(0, (draw_picture(sample("a"), 5, 0), draw_picture(sample("b"), 5, 0)))
    one = replace(drawn, pictures=drawn.pictures[:1])
    assert drawn.covers(one) and in_format_1(drawn).covers(one)
    assert not one.covers(drawn)
    assert not drawn.covers(replace(one, seed=1))
    box, innermost = {"box": (9, 5, 40, 25)}, {"innermost": (20, 14)}
    assert not in_format_1(drawn).covers(replace(one, pictures=(changed(one.pictures[0], box),)))
    assert not drawn.covers(replace(one, pictures=(changed(one.pictures[0], innermost),)))


def changed(picture: PromptedPicture, change: dict[str, Any]) -> PromptedPicture:
    """The picture with a change of its first object."""
    first, *others = picture.objects
    return replace(picture, objects=(replace(first, **change), *others))


def flipped_pixel(one: Sample) -> Sample:
    image = one.image.copy()
    image[39, 59, 2] ^= 1
    return replace(one, image=image)


def flipped_mask(one: Sample) -> Sample:
    masks = [mask.copy() for mask in one.masks]
    masks[1][0, 0] ^= True
    return replace(one, masks=masks)


def turned(one: Sample) -> Sample:
    """The same bytes in another shape."""
    return replace(one, image=one.image.reshape(60, 40, 3))


def one_object_less(one: Sample) -> Sample:
    return replace(one, masks=one.masks[:1])


@pytest.mark.parametrize("change", [flipped_pixel, flipped_mask, turned, one_object_less])
def test_prompts_are_refused_on_other_data(change: Callable[[Sample], Sample]) -> None:
    prompted = draw_picture(sample(), 5, 0)
    check_fit(prompted, sample())
    with pytest.raises(PromptFileError, match="set/a: its pixels or masks are not those"):
        check_fit(prompted, change(sample()))


@pytest.mark.parametrize(
    "change",
    [
        {"box": (10, 5, 61, 25)},
        {"box": (10, 5, 10, 25)},
        {"points": ((60, 0),)},
        {"points": ((0, -1),)},
        {"innermost": (0, 40)},
    ],
)
def test_a_prompt_outside_its_picture_is_refused(change: dict[str, Any]) -> None:
    moved = changed(draw_picture(sample(), 1, 0), change)
    with pytest.raises(PromptFileError, match="outside the picture of 60 x 40 px"):
        check_fit(moved, sample())


def break_version(data: dict[str, Any]) -> None:
    data["format_version"] = 3


def break_no_picture(data: dict[str, Any]) -> None:
    data["pictures"] = []


def break_twice(data: dict[str, Any]) -> None:
    data["pictures"] *= 2


def break_version_text(data: dict[str, Any]) -> None:
    data["format_version"] = "1"


def break_no_innermost(data: dict[str, Any]) -> None:
    """Only a file of format 1 lacks it."""
    del data["pictures"][0]["objects"][0]["innermost"]


def break_innermost_length(data: dict[str, Any]) -> None:
    data["pictures"][0]["objects"][0]["innermost"] = [1, 2, 3]


def break_missing_key(data: dict[str, Any]) -> None:
    del data["pictures"][0]["sha256"]


def break_name(data: dict[str, Any]) -> None:
    data["pictures"][0]["name"] = 7


def break_box_length(data: dict[str, Any]) -> None:
    data["pictures"][0]["objects"][0]["box"] = [1, 2, 3]


def break_fraction(data: dict[str, Any]) -> None:
    data["pictures"][0]["objects"][0]["points"][0][0] = 1.5


def break_boolean(data: dict[str, Any]) -> None:
    data["seed"] = True


def break_negative_index(data: dict[str, Any]) -> None:
    """Would silently be the last object."""
    data["pictures"][0]["objects"][0]["index"] = -1


def break_no_object(data: dict[str, Any]) -> None:
    data["pictures"][0]["objects"] = []


BREAKS = [value for name, value in list(globals().items()) if name.startswith("break_")]


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_refused_by_name(damage: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(PromptSet(0, (draw_picture(sample(), 5, 0),)).to_json())
    damage(data)
    with pytest.raises(PromptFileError, match=r"^dev\.json: not a prompt file of glesam-eval"):
        PromptSet.from_json(json.dumps(data), "dev.json")


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format_version": 1}', "[" * 100_000])
def test_what_is_no_prompt_file_at_all_is_refused_too(text: str) -> None:
    with pytest.raises(PromptFileError, match=r"^dev\.json: not a prompt file"):
        PromptSet.from_json(text, "dev.json")


def test_pictures_are_spread_evenly_over_each_set(data: Path) -> None:
    library = Library(load_datasets(data, split="all"))
    places = library.spread(3)
    names = [dataset.names[index] for dataset, index in places if dataset.name == "ccp"]
    assert names == ["picture0", "picture4", "picture9"]  # of 12, sorted as text: 0 1 10 11 2 ... 9
    assert len(places) == 3 * 5
    assert len(library.spread(None)) == 12 * 5


def test_two_sets_of_one_name_are_refused(data: Path) -> None:
    with pytest.raises(ValueError, match="two data sets are named bags"):
        Library([*load_datasets(data / "bags"), *load_datasets(data)])


def test_a_picture_that_is_missing_from_the_data_is_named(data: Path) -> None:
    library = Library(load_datasets(data, split="all"))
    (prompted,) = [one for one in draw_prompts(library.spread(1), 5, 0) if one.title.startswith("bags")]
    assert not isinstance(prompted, Skipped)
    assert checked(prompted, library) == prompted
    with pytest.raises(PromptFileError, match=r"bags/gone: no such picture in the data \(sets: bsds500, ccp"):
        checked(replace(prompted, name="gone"), library)


def test_a_picture_that_cannot_be_read_is_skipped_with_its_reason(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("picture0.jpg", "picture0.png"):
        (folder / name).write_bytes((data / "bags" / name).read_bytes())
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "broken.png").write_bytes((data / "bags/picture0.png").read_bytes())
    broken, whole = draw_prompts(Library(load_datasets(folder, split="all")).spread(None), 5, 0)
    assert isinstance(broken, Skipped)
    assert broken.title == "own/broken"
    assert "broken.jpg" in broken.reason
    assert whole.title == "own/picture0"
