"""Every command finds the same pictures below a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

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
