"""Every example runs, on the photograph that ships with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

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


def test_the_side_by_side_picture_shows_three_panels_that_differ(tmp_path: Path) -> None:
    out = tmp_path / "new/side.png"
    run("02_what_gle_does.py", str(out))
    panels = np.split(np.asarray(Image.open(out).convert("RGB")), 3, axis=1)
    assert panels[0].shape == (512, 512, 3)
    assert not np.array_equal(panels[0], panels[1])
    assert not np.array_equal(panels[1], panels[2])
