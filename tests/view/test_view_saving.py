"""Saved files hold the masks of the page, and the command and the program that it writes give them too."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner
from view_page import BOX, Page, mask_in

from glesam_runtime.automatic.rle import mask_from_rle
from glesam_runtime.cli import degrade, run
from glesam_runtime.postprocess import MaskResizer
from glesam_runtime.tools.records.polygons import closes_holes, outlines

POINTS = {"points": [[60, 40]], "background_points": [[5.5, 5]]}
Mask = NDArray[np.bool_]


def saved(page: Page, kind: str, *objects: dict[str, Any], **options: object) -> Any:  # noqa: ANN401
    answer = page.post("save", page.request(*objects, format=kind, **options))
    assert answer.status_code == 200, answer.text
    return answer


def shown(page: Page, *objects: dict[str, Any], **options: Any) -> list[Mask]:  # noqa: ANN401
    """The chosen masks on the page."""
    side = options.get("sides", ["gle"])[0]
    choices = options.get("choices", [0] * len(objects))
    answers = page.masks(*objects, **options)["objects"]
    return [mask_in(each[side]["masks"][k]) for each, k in zip(answers, choices, strict=True)]


def test_one_mask_is_a_png_and_several_are_a_zip_of_them(page: Page) -> None:
    options = {"multimask": True, "choices": [2]}
    file = saved(page, "png", {"box": BOX}, **options)
    assert unquote(file.headers["x-name"]) == "a.mask0.png"
    np.testing.assert_array_equal(mask_in(file.content), shown(page, {"box": BOX}, **options)[0])
    objects = ({"box": BOX}, POINTS)
    with zipfile.ZipFile(io.BytesIO(saved(page, "png", *objects).content)) as archive:
        assert archive.namelist() == ["a.mask0.png", "a.mask1.png"]
        files = [mask_in(archive.read(name)) for name in archive.namelist()]
    np.testing.assert_array_equal(files, shown(page, *objects))


def test_rle_is_a_coco_document_with_the_score(page: Page) -> None:
    objects = ({"box": BOX}, POINTS)
    document = saved(page, "rle", *objects, sides=["plain"]).json()
    assert document["images"] == [{"id": 1, "file_name": "a.png", "width": 128, "height": 96}]
    masks = shown(page, *objects, sides=["plain"])
    scores = [each["plain"]["scores"][0] for each in page.masks(*objects, sides=["plain"])["objects"]]
    for each, mask, score in zip(document["annotations"], masks, scores, strict=True):
        np.testing.assert_array_equal(mask_from_rle(each["segmentation"]), mask)
        rows, columns = np.nonzero(mask)
        left, top = columns.min(), rows.min()
        assert each["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
        assert each["area"] == len(rows)
        assert each["predicted_iou"] == pytest.approx(score, abs=1e-4)


def test_polygons_fill_the_mask(page: Page) -> None:
    file = saved(page, "polygons", {"box": BOX})
    (each,) = file.json()["annotations"]
    np.testing.assert_array_equal(filled(each["segmentation"], (96, 128)), shown(page, {"box": BOX})[0])
    assert file.headers["x-note"] == ""


def filled(polygons: list[list[float]], size: tuple[int, int]) -> Mask:
    """Pixels whose centre lies within an odd number of outlines: to the right of an odd number of edges."""
    crossings = np.zeros((size[0], size[1] + 1), int)
    for polygon in polygons:
        corners = list(zip(polygon[::2], polygon[1::2], strict=True))
        for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
            assert x0 == x1 or y0 == y1
            if x0 == x1:
                crossings[int(min(y0, y1)) : int(max(y0, y1)), int(x0)] += 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1


@pytest.mark.parametrize("seed", range(5))
def test_outlines_of_any_mask_are_exact_but_for_its_holes(seed: int) -> None:
    mask = np.random.default_rng(seed).random((17, 23)) < (0.2, 0.4, 0.5, 0.6, 0.8)[seed]
    polygons = outlines(mask)
    np.testing.assert_array_equal(covered(polygons, mask.shape), without_holes(mask))
    assert closes_holes(polygons, mask) == bool((without_holes(mask) & ~mask).any())


def covered(polygons: list[list[int]], size: tuple[int, int]) -> Mask:
    """Pixels inside any outline: an island in a hole lies in two."""
    return np.any([filled([polygon], size) for polygon in polygons], axis=0)


def without_holes(mask: Mask) -> Mask:
    """The mask and what it encloses: all that cannot be reached from outside, not even across a corner."""
    outside = np.pad(np.zeros_like(mask), 1, constant_values=True)
    free = ~np.pad(mask, 1)
    while True:
        spread = outside.copy()
        for rows in (-1, 0, 1):
            for columns in (-1, 0, 1):
                spread |= np.roll(outside, (rows, columns), (0, 1))
        spread &= free
        if np.array_equal(spread, outside):
            return ~outside[1:-1, 1:-1]
        outside = spread


def test_a_closed_hole_is_noticed() -> None:
    ring = np.ones((5, 5), bool)
    ring[2, 2] = False
    (outline,) = outlines(ring)
    assert sorted(zip(outline[::2], outline[1::2], strict=True)) == [(0, 0), (0, 5), (5, 0), (5, 5)]
    assert closes_holes(outlines(ring), ring)
    empty = np.zeros((3, 3), bool)
    assert outlines(empty) == [] and not closes_holes([], empty)


def test_a_format_that_there_is_not_is_refused(page: Page) -> None:
    for kind in ("svg", None, ["png"]):
        answer = page.post("save", page.request({"box": BOX}, format=kind))
        assert answer.status_code == 422 and "format: expected png, rle, polygons" in answer.json()["error"]


CALLS = [
    ([{"box": BOX}], {}, 0),
    ([{"box": BOX}, {"box": [2, 2, 60.5, 90]}], {"sides": ["plain"]}, 3),
    ([POINTS, {"box": BOX, "points": [[60, 40]]}], {"multimask": True, "choices": [1, 2]}, 0),
    ([{"box": BOX}, {"box": [2, 2, 60.5, 90]}], {"multimask": True, "choices": [2, 0]}, 1),
]


@pytest.mark.parametrize(("objects", "options", "level"), CALLS)
def test_the_program_gives_the_masks_of_the_page(
    page: Page, objects: list[dict[str, Any]], options: dict[str, Any], level: int
) -> None:
    page.degrade(level, seed=4)
    program = page.post("calls", page.request(*objects, **options)).json()["python"]
    names: dict[str, Any] = {}
    exec(compile(program, "program", "exec"), names)
    np.testing.assert_array_equal(names["masks"], shown(page, *objects, **options))


@pytest.mark.parametrize(("objects", "options", "level"), CALLS)
def test_the_command_gives_the_masks_of_the_page(
    page: Page,
    objects: list[dict[str, Any]],
    options: dict[str, Any],
    level: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    page.degrade(level, seed=4)
    answer = page.post("calls", page.request(*objects, **options)).json()
    commands = answer["command"].splitlines()
    apps = {"glesam-run": run.app, "glesam-degrade": degrade.app}
    for command in commands:
        name, *arguments = shlex.split(command)
        result = CliRunner().invoke(apps[name], arguments)
        assert result.exit_code == 0, result.output
    folders = ["out"] if len(list(Path("out").glob("*.mask*"))) else ["out/object0", "out/object1"]
    step = 3 if options.get("multimask") else 1
    choices = options.get("choices", [0] * len(objects))
    for i, (mask, choice) in enumerate(zip(shown(page, *objects, **options), choices, strict=True)):
        index = choice + step * (i if len(folders) == 1 else 0)
        path = Path(folders[i if len(folders) > 1 else 0]) / f"a.mask{index}.png"
        assert not options.get("multimask") or answer["chosen"][i] == str(path), "the page names the file"
        np.testing.assert_array_equal(mask_in(path.read_bytes()), mask)


def test_a_save_makes_full_size_masks_of_the_chosen_candidates_alone(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, ...]] = []
    resized = MaskResizer.masks

    def noted(self: MaskResizer, low_res_masks: Any, threshold: float) -> Any:  # noqa: ANN401
        sizes.append(low_res_masks.shape[:-2])
        return resized(self, low_res_masks, threshold)

    monkeypatch.setattr(MaskResizer, "masks", noted)
    for kind in ("png", "rle", "polygons"):
        sizes.clear()
        saved(page, kind, {"box": BOX}, POINTS, multimask=True, choices=[2, 1])
        assert sizes == [(1,), (1,)], "one mask at a time"


def test_a_path_is_quoted(page: Page) -> None:
    page.upload(page.client.get(f"/api/tabs/{page.tab}/picture").content, "-my%20photo%27s.jpg")
    texts = page.post("calls", page.request({"box": BOX})).json()
    assert shlex.split(texts["command"])[1] == "./-my photo's.jpg"
    assert 'read_image("-my photo\'s.jpg")' in texts["python"]
    assert json.dumps(texts)
