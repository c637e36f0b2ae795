"""glesam-degrade: files and folders in, PNGs out, the same for the same name and seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from glesam.data.pictures import read_picture
from glesam_runtime.cli.degrade import app
from glesam_runtime.degradation.lqseg import degrade_level


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(coarse).resize((40, 30), Image.Resampling.BICUBIC).save(path)
    return path


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.stdout, result.stderr


def test_a_folder_keeps_its_shape_and_every_picture_its_name_and_size(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    picture(source / "a.jpg")
    picture(source / "deep" / "b.png")
    (source / "notes.txt").write_text("no picture")
    code, stdout, stderr = invoke(source, "--level", 2, "--out", out)
    assert (code, stderr) == (0, "")
    assert stdout == f"wrote 2 pictures at LQ-2 to {out}\n"
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    assert written == ["a.png", "deep/b.png"]
    clean = read_picture(source / "deep" / "b.png")
    np.testing.assert_array_equal(
        read_picture(out / "deep" / "b.png"), degrade_level(clean, 2, 0, "deep/b.png")
    )


def test_a_name_and_a_seed_give_one_picture_alone_or_among_others(tmp_path: Path) -> None:
    one, other = picture(tmp_path / "one.png"), picture(tmp_path / "other.png", seed=1)
    for folder, arguments in {"alone": [one], "among": [other, one], "seeded": [one, "--seed", 1]}.items():
        assert invoke(*arguments, "--out", tmp_path / folder)[0] == 0
    alone, among, seeded = (read_picture(tmp_path / f / "one.png") for f in ("alone", "among", "seeded"))
    np.testing.assert_array_equal(alone, among)
    assert not np.array_equal(alone, seeded)


def test_what_an_earlier_run_wrote_into_a_subfolder_is_not_degraded_again(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    for _ in range(2):
        code, stdout, _ = invoke(tmp_path, "--out", tmp_path / "lq")
        assert (code, stdout.split()[1]) == (0, "1")
    assert [path.name for path in (tmp_path / "lq").iterdir()] == ["a.png"]


def test_a_file_that_is_no_picture_does_not_stop_the_others(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "b.jpg").write_bytes(b"no picture")
    picture(tmp_path / "in" / "c.jpg")
    code, stdout, stderr = invoke(tmp_path / "in", "--out", tmp_path / "out")
    assert code == 2
    assert stdout == f"wrote 2 pictures at LQ-3 to {tmp_path / 'out'}\n"
    (line,) = stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'in' / 'b.jpg'}: expected a picture")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", "nowhere.jpg: no such file or folder; expected a picture or a folder of them"),
        ("empty", "empty: no pictures in it; expected .jpg, "),
        ("broken", "broken.jpg: expected a picture: "),
        ("same stem", "would both become "),
        ("itself", "a.png would be written over; choose another folder with --out"),
        ("level", "level 4: expected one of 1, 2, 3"),
        ("seed", "seed -1: expected 0 or more"),
    ],
)
def test_what_cannot_be_degraded_is_named_in_one_line(tmp_path: Path, case: str, message: str) -> None:
    source = picture(tmp_path / "a.png")
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    arguments: dict[str, list[object]] = {
        "missing": [tmp_path / "nowhere.jpg", "--out", out],
        "empty": [tmp_path / "empty", "--out", out],
        "broken": [tmp_path / "broken.jpg", "--out", out],
        "same stem": [source, picture(tmp_path / "other" / "a.jpg"), "--out", out],
        "itself": [source, "--out", tmp_path],
        "level": [source, "--level", 4, "--out", out],
        "seed": [source, "--seed", -1, "--out", out],
    }
    before = source.read_bytes()
    code, stdout, stderr = invoke(*arguments[case])
    (line,) = stderr.splitlines()
    assert code == 2
    assert stdout == ""
    assert line.startswith("error: ")
    assert message in line
    assert source.read_bytes() == before
    assert not out.exists() or not any(out.iterdir())
