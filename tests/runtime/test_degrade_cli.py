"""glesam-degrade: files and folders in, PNGs out, the same for the same name and seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import glesam_runtime
from glesam_runtime import read_image
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
    clean = read_image(source / "deep" / "b.png")
    np.testing.assert_array_equal(
        read_image(out / "deep" / "b.png"), degrade_level(clean, 2, 0, "deep/b.png")
    )


@pytest.mark.parametrize("level", ["LQ-2", "lq2", "2"])
def test_a_level_may_be_written_as_the_page_writes_it(tmp_path: Path, level: str) -> None:
    source, out = picture(tmp_path / "a.png"), tmp_path / "out"
    assert invoke(source, "--level", level, "--out", out) == (0, f"wrote 1 picture at LQ-2 to {out}\n", "")
    np.testing.assert_array_equal(read_image(out / "a.png"), degrade_level(read_image(source), 2, 0, "a.png"))


def test_a_name_and_a_seed_give_one_picture_alone_or_among_others(tmp_path: Path) -> None:
    one, other = picture(tmp_path / "one.png"), picture(tmp_path / "other.png", seed=1)
    for folder, arguments in {"alone": [one], "among": [other, one], "seeded": [one, "--seed", 1]}.items():
        assert invoke(*arguments, "--out", tmp_path / folder)[0] == 0
    alone, among, seeded = (read_image(tmp_path / f / "one.png") for f in ("alone", "among", "seeded"))
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
    assert line.startswith(f"error: {tmp_path / 'in' / 'b.jpg'}: expected a picture, found")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", "nowhere.jpg: no such file or folder; expected a picture or a folder of them"),
        ("empty", "empty: no pictures in it; expected .jpg, "),
        ("broken", "broken.jpg: expected a picture, found an unknown format"),
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


def run_without(absent: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """glesam-degrade in a Python that has the runtime, but none of the packages in `absent`."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent.split()}))\n"
        "from glesam_runtime.cli.degrade import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(glesam_runtime.__file__).parents[1])},
        timeout=120,
    )


def test_it_works_in_an_install_without_torch(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png")
    done = run_without("torch onnx glesam glesam_calib glesam_export", source, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    expected = degrade_level(read_image(source), 3, 0, "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "out/a.png"), expected)


@pytest.mark.parametrize("package", ["cv2", "scipy"])
def test_a_missing_package_is_one_line_that_names_the_extra(tmp_path: Path, package: str) -> None:
    done = run_without(package, picture(tmp_path / "a.png"), "--out", tmp_path / "out")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith(f"error: glesam-degrade needs {package}")
    assert line.endswith(": pip install 'glesam[degrade]'")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_ends_the_command_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")

    def full(descriptor: int, _: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    code, stdout, stderr = invoke(*sources, "--out", tmp_path / "out")
    (line,) = stderr.splitlines()
    assert (code, stdout) == (2, "")
    assert "(No space left on device); choose another folder with --out" in line
    assert not list((tmp_path / "out").iterdir())
