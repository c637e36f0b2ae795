"""A user's folder of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glesam_calib import images_in
from glesam_runtime import ImageError


def save_picture(path: Path, level: int) -> None:
    Image.fromarray(np.full((4, 6, 3), level, np.uint8)).save(path)


def test_pictures_come_in_the_order_of_their_names_up_to_the_limit(tmp_path: Path) -> None:
    for level, name in enumerate(["c.png", "a.png", "b.jpg", "d.bmp"]):
        save_picture(tmp_path / name, level)
    (tmp_path / "notes.txt").write_text("not a picture")
    actual = images_in(tmp_path, 3, report=pytest.fail)
    assert list(actual) == ["a.png", "b.jpg", "c.png"]
    assert actual["a.png"].shape == (4, 6, 3)
    assert (actual["a.png"] == 1).all()


def test_a_broken_picture_is_named_and_skipped(tmp_path: Path) -> None:
    save_picture(tmp_path / "good.png", 9)
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:40])
    said: list[str] = []
    assert list(images_in(tmp_path, 8, said.append)) == ["good.png"]
    assert len(said) == 1
    assert "bad.png" in said[0]


@pytest.mark.parametrize("name", ["missing", "empty", "broken"])
def test_a_folder_without_a_readable_picture_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/x.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=name):
        images_in(tmp_path / name, 8, report=lambda _: None)
