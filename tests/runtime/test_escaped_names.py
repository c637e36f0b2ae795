"""Names of files reach no terminal raw: ESC, CR, line breaks and bytes that are no UTF-8 are escaped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import escaped_output
import pytest
from PIL import Image

ODD = os.fsdecode(b"a\x1b[31m\r\n\x07\xff\xe2\x80\xae")
"""A name with a colour, CR, LF, BEL, a byte that is no UTF-8, and a mark that turns the text around."""
SHOWN = r"a\x1b[31m\r\n\x07\udcff" + "\\u202e"
BOX = ["--box", "24", "16", "104", "80"]


def output(command: str, *arguments: object) -> str:
    """What a command of the runtime prints."""
    return escaped_output.output(f"glesam_runtime.cli.{command}", *arguments)


def is_escaped(text: str) -> bool:
    return escaped_output.is_escaped(text, SHOWN)


@pytest.fixture
def odd_photo(tmp_path: Path) -> Path:
    path = tmp_path / f"{ODD}.png"
    Image.new("RGB", (128, 96), "grey").save(path)
    return path


@pytest.fixture
def odd_bundle(bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_path, tmp_path / f"bundle {ODD}"))


@pytest.mark.parametrize("extra", [BOX, [*BOX, "--json"], ["--auto", "--points-per-side", "2"]])
def test_glesam_run_escapes_a_pictures_name(
    odd_photo: Path, bundle_path: Path, tmp_path: Path, extra: list[str]
) -> None:
    out = tmp_path / f"out {ODD}"
    text = output("run", odd_photo, *extra, "--bundle", bundle_path, "--out", out)
    assert is_escaped(text)
    assert "error" not in text
    assert any(out.iterdir())


def test_glesam_run_escapes_the_name_of_a_picture_that_fails(tmp_path: Path, bundle_path: Path) -> None:
    broken = tmp_path / f"{ODD}.jpg"
    broken.write_bytes(b"no picture")
    assert is_escaped(output("run", broken, *BOX, "--bundle", bundle_path, "--out", tmp_path / "out"))
    assert is_escaped(output("run", f"{broken}2", *BOX, "--bundle", bundle_path, "--out", tmp_path / "out"))
    mask = ["--mask-input", broken]
    good = tmp_path / "good.png"
    Image.new("RGB", (128, 96)).save(good)
    assert is_escaped(output("run", good, *mask, "--bundle", bundle_path, "--out", tmp_path / "out"))


def test_glesam_degrade_escapes_names(odd_photo: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out {ODD}"
    text = output("degrade", odd_photo, "--out", out)
    assert is_escaped(text)
    assert "error" not in text
    folder = tmp_path / f"set {ODD}"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for place in ("images", "masks"):
        shutil.copy(odd_photo, folder / place)
    text = output("degrade", folder, "--out", out)
    assert is_escaped(text)
    assert "left out 1 mask of pictures" in text


def test_the_folder_of_a_bundle_is_escaped(odd_bundle: Path, odd_photo: Path, tmp_path: Path) -> None:
    assert is_escaped(output("info", odd_bundle))
    assert is_escaped(output("info", odd_bundle, "--verbose"))
    assert is_escaped(output("triton", odd_bundle, tmp_path / f"triton {ODD}"))
    (odd_bundle / "gle.onnx").unlink()
    for command in ("verify", "bench", "info", "build", "triton"):
        extra = [tmp_path / "out"] if command == "triton" else []
        assert is_escaped(output(command, odd_bundle, *extra)), command


def test_glesam_bench_escapes_names(odd_photo: Path, bundle_path: Path, tmp_path: Path) -> None:
    few = ["--rounds", "1", "--warmup", "0", "--prompts", "1", "--sessions", "1"]
    text = output("bench", bundle_path, *few, "--image", odd_photo, "--out", tmp_path / f"{ODD}.json")
    assert is_escaped(text)
    assert "error" not in text


def test_glesam_sign_escapes_names(odd_bundle: Path, tmp_path: Path) -> None:
    key = tmp_path / f"{ODD}.pem"
    assert is_escaped(output("sign", odd_bundle, "--key", key))
    key.write_text("no key")
    assert is_escaped(output("sign", odd_bundle, "--key", key))
