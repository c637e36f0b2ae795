"""Every command finds the same pictures below a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from glesam.data.descriptions import DatasetDescription
from glesam.data.picture_folders import find_pairs
from glesam_calib import images_in
from glesam_runtime import ImageError
from glesam_runtime.cli import degrade, run
from glesam_runtime.degradation.files import plan_jobs
from glesam_runtime.image_io import pictures_below


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("files", "pictures", "masks"),
    [
        (["day1/a.jpg", "day2/b.PNG", "c.webp"], ["c.webp", "day1/a.jpg", "day2/b.PNG"], []),
        (["a.jpg", "a.png", "b.jpeg", "b.png"], ["a.jpg", "b.jpeg"], ["a.png", "b.png"]),
        (["a.png", "a_mask.png", "b.jpg", "b_mask.jpg"], ["a.png", "b.jpg"], ["a_mask.png", "b_mask.jpg"]),
        (["images/x/a.jpg", "masks/x/a.png"], ["images/x/a.jpg"], ["masks/x/a.png"]),
        (["set/images/a.jpg", "set/masks/a.tif"], ["set/images/a.jpg"], ["set/masks/a.tif"]),
        (["masks/a.jpg"], ["masks/a.jpg"], []),
        (["a.jpg", "a.tif", "b.webp", "b.bmp"], ["a.jpg", "b.webp"], ["a.tif", "b.bmp"]),
        (["a.tif", "b.tif", "b.bmp"], ["a.tif", "b.bmp", "b.tif"], []),
        (["images/a.png", "labels/a.png"], ["images/a.png"], ["labels/a.png"]),
        (
            ["a.jpg", "b/c.jpg", "masks/a.png", "masks/b/c_mask.png"],
            ["a.jpg", "b/c.jpg"],
            ["masks/a.png", "masks/b/c_mask.png"],
        ),
        (
            ["gloves/a.jpg", "masks/b.jpg", "labels/d.png"],
            ["gloves/a.jpg", "labels/d.png", "masks/b.jpg"],
            [],
        ),
        (["@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "a.jpg"], ["a.jpg"], []),
        (["face_mask.jpg", "a.jpg"], ["a.jpg", "face_mask.jpg"], []),
        (["._a.jpg", "a.jpg", ".cache/b.jpg", "__MACOSX/c.jpg", "notes.txt"], ["a.jpg"], []),
    ],
)
def test_pictures_are_found_and_masks_are_left_out(
    tmp_path: Path, files: list[str], pictures: list[str], masks: list[str]
) -> None:
    found = pictures_below(made(tmp_path, *files))
    assert [path.relative_to(tmp_path).as_posix() for path in found.pictures] == pictures
    assert [path.relative_to(tmp_path).as_posix() for path in found.masks] == masks
    assert (found.left_out(tmp_path) is None) == (not masks)


def test_degrading_a_data_set_leaves_its_masks_alone_and_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    made(tmp_path / "set", "images/a.jpg", "images/b.jpg", "masks/a.png", "masks/b.png", "images/._a.jpg")
    jobs = plan_jobs([tmp_path / "set"], tmp_path / "out", lines.append)
    assert [job.name for job in jobs] == ["images/a.jpg", "images/b.jpg"]
    assert lines == [f"left out 2 masks of pictures in {tmp_path / 'set'}, first masks/a.png"]


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a picture, a link that leads nowhere, a pipe, and a folder whose names nobody may read."""
    folder = made(tmp_path / "photos", "locked/b.png", ".locked/c.png")
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(folder / "a.png")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    scandir = os.scandir

    def refusing(path: Any = ".") -> Any:  # noqa: ANN401
        if Path(path).name in ("locked", ".locked", "a_mask", "a_mask.jpg"):  # root may read any
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    yield folder


def reason(folder: Path) -> str:
    cure = "change its permissions, or those of its folder"
    return f"{folder}: expected a folder of pictures, found no permission to read it; {cure}"


def test_what_cannot_be_looked_at_is_found_and_told_apart(locked: Path) -> None:
    found = pictures_below(locked)
    assert [path.name for path in found.pictures] == ["a.png", "gone.jpg"]
    assert [path.name for path in found.closed] == ["locked"]
    assert [path.name for path in found.to_read] == ["a.png", "gone.jpg", "locked"]
    with pytest.raises(ImageError, match=r"locked: expected a folder of pictures, found no permission"):
        pictures_below(locked / "locked")


@pytest.mark.parametrize("suffix", ["", ".jpg"])
def test_a_folder_that_cannot_be_read_is_no_picture_and_no_mask_whatever_its_name(
    locked: Path, suffix: str
) -> None:
    """Its name is that of a picture's mask, or a picture's."""
    (locked / "locked").rename(locked / f"a_mask{suffix}")
    found = pictures_below(locked)
    assert [path.name for path in found.closed] == [f"a_mask{suffix}"]
    assert [path.name for path in found.pictures] == ["a.png", "gone.jpg"] and not found.masks
    with pytest.raises(ImageError, match=r"a_mask.*: expected a folder of pictures, found no permission"):
        find_pairs(locked, DatasetDescription("set", "pairs", path="."))


@pytest.mark.parametrize("options", [["--box", "8", "8", "40", "40"], ["--auto", "--points-per-side", "2"]])
def test_glesam_run_reports_a_folder_that_cannot_be_read(
    bundle_path: Path, locked: Path, tmp_path: Path, options: list[str]
) -> None:
    words = [locked, *options, "--json", "--bundle", bundle_path, "--out", tmp_path / "out"]
    result = CliRunner().invoke(run.app, list(map(str, words)))
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert [each["image"] for each in document["images"]] == [str(locked / "a.png")]
    failures = {Path(each["image"]).name: each["error"] for each in document["failures"]}
    assert failures["locked"] == reason(locked / "locked")
    assert "found nothing" in failures["gone.jpg"] and len(failures) == 2
    assert f"error: {reason(locked / 'locked')}\n" in result.stderr


def test_glesam_run_follow_and_degrade_report_it_too(bundle_path: Path, locked: Path, tmp_path: Path) -> None:
    degraded = CliRunner().invoke(degrade.app, [str(locked), "--out", str(tmp_path / "degraded")])
    assert degraded.exit_code == 2
    assert f"error: {reason(locked / 'locked')}\n" in degraded.stderr
    assert degraded.stdout == f"wrote 1 picture at LQ-3 to {tmp_path / 'degraded'}\n"
    (locked / "gone.jpg").unlink()
    words = [locked, "--follow", "--box", 8, 8, 40, 40, "--bundle", bundle_path, "--out", tmp_path / "out"]
    followed = CliRunner().invoke(run.app, list(map(str, words)))
    assert followed.exit_code == 2
    assert f"error: {reason(locked / 'locked')}\n" in followed.stderr


def test_a_calibration_names_it_and_a_data_set_refuses_it(locked: Path) -> None:
    lines: list[str] = []
    assert list(images_in(locked, 8, lines.append)) == ["a.png"]
    assert f"skipped {reason(locked / 'locked')}" in lines
    with pytest.raises(ImageError, match=r"locked: .* no permission"):
        find_pairs(locked, DatasetDescription("set", "pairs", path="."))


def test_an_error_of_a_prompt_names_the_picture(bundle_path: Path, tmp_path: Path) -> None:
    folder = made(tmp_path / "photos")
    folder.mkdir()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(folder / "a.png")
    Image.fromarray(np.full((1, 2000, 3), 90, np.uint8)).save(folder / "long.png")
    words = [folder, "--box", 0, 0, 60, 60, "--bundle", bundle_path, "--out", tmp_path / "out"]
    result = CliRunner().invoke(run.app, list(map(str, words)))
    assert result.exit_code == 2
    assert f"error: {folder}/long.png: box 0 0 60 60: expected" in result.stderr
    assert (tmp_path / "out/a.mask0.png").is_file()
