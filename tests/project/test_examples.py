"""Every example runs, on the photograph that ships with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glesam_runtime import read_image
from glesam_runtime.tools.follow.video import written_video

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTO_AND_BOX = [str(EXAMPLES / "photos/astronaut_lq3.jpg"), "20", "5", "470", "510"]


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *PHOTO_AND_BOX, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_picture_one_box_one_mask() -> None:
    score, area = run("01_segment_a_photo.py").split(", ")
    assert 0 < float(score.removeprefix("score ")) <= 1.2
    assert int(area.removesuffix(" px\n")) > 10_000


def test_the_side_by_side_picture_shows_three_panels_of_each_photograph_that_differ(tmp_path: Path) -> None:
    out = tmp_path / "new/side.png"
    run("02_what_gle_does.py", *PHOTO_AND_BOX, str(out))
    sheet = np.asarray(Image.open(out).convert("RGB"))
    assert sheet.shape == (36 + 240 + 8 + 240, 3 * 240 + 2 * 8, 3)
    header, first, second = sheet[:36], sheet[36:276], sheet[284:]
    np.testing.assert_array_equal(first, second)
    columns = [slice(left, left + 240) for left in (0, 248, 496)]
    panels = [first[:, column] for column in columns]
    assert not np.array_equal(panels[0], panels[1])
    assert not np.array_equal(panels[1], panels[2])
    for column in columns:
        assert (header[:, column] < 128).any(), "a label stands above each panel"


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
@pytest.mark.parametrize("arguments", [[], ["a.jpg"], ["a", "b", "1", "2", "x", "4", "5"]])
def test_an_example_without_its_arguments_says_how_it_is_called(
    script: Path, arguments: list[str], tmp_path: Path
) -> None:
    for name in ("ray", "pycuda", "pycuda/autoinit", "pycuda/driver", "pycuda/gpuarray"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    found = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | found)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"usage: python examples/{script.name} ")


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'glesam[ray]'")
def test_a_folder_with_ray_answers_every_picture_and_names_a_bad_one(tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(PHOTO_AND_BOX[0], folder / f"{name}.jpg")
    (folder / "bad.jpg").write_bytes(b"no picture")
    command = [sys.executable, str(EXAMPLES / "03_a_folder_with_ray.py"), str(folder), str(out)]
    # A home of its own, where Ray leaves its files; no usage report.
    quiet = {"HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | quiet, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for path in out.glob("*.json") for line in path.read_text().splitlines()]
    actual = {Path(row["path"]).stem: row for row in rows}
    assert set(actual) == {"a", "b", "c", "bad"}
    assert "unknown format" in actual["bad"]["error"] and actual["bad"]["counts"] is None
    assert actual["a"]["counts"] == actual["b"]["counts"] == actual["c"]["counts"]
    assert actual["a"]["size"] == [512, 512] and actual["a"]["error"] is None


def test_the_camera_loop_says_where_the_object_is(tmp_path: Path) -> None:
    """A video takes the camera's place; the photograph moves by 4 pixels a frame."""
    photo = read_image(PHOTO_AND_BOX[0])[:320, :480]
    with written_video(tmp_path / "clip.mp4", 10) as write:
        for index in range(3):
            write(np.roll(photo, 4 * index, axis=1))
    script, clip = EXAMPLES / "04_follow_with_a_camera.py", tmp_path / "clip.mp4"
    command = [sys.executable, str(script), str(clip), "100", "10", "380", "310", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["frame 0", "frame 1", "frame 2"]
    assert all(line.endswith(" px") for line in lines), lines
    assert (tmp_path / "first_frame.png").is_file()
