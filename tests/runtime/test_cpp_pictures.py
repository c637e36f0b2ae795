"""The C++ command reads the pixels that Python reads, to the bit, and refuses the same files."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from every_picture import COLOUR_KINDS, chunk_files, jpeg_files, png_files
from native import LIBRARY
from picture_files import RGB, bomb, chunk, jpeg_bomb, png, write

from glesam_runtime import ImageError, read_image
from glesam_runtime.preprocess import Pixels

TOOL = LIBRARY.parents[1] / "tests/cpp/picture_tool"
pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not built: make cpp")
FILES = {**png_files(), **jpeg_files()}
MEMORY = 1 << 29
"""Address space [bytes] in which a refusal from the header succeeds, and 900 megapixels do not."""


def read_all(paths: Sequence[Path]) -> list[Pixels | str]:
    """What the C++ command reads from each path: pixels, or its refusal."""
    done = subprocess.run(
        [TOOL, *paths], capture_output=True, timeout=60, preexec_fn=limited_memory, check=True
    )
    results: list[Pixels | str] = []
    stream = io.BytesIO(done.stdout)
    for _ in paths:
        head = stream.readline().rstrip(b"\n")
        if head.startswith(b"error: "):
            results.append(head.removeprefix(b"error: ").decode())
        else:
            width, height = map(int, head.split())
            pixels = np.frombuffer(stream.read(3 * width * height), np.uint8)
            results.append(pixels.reshape(height, width, 3))
    return results


def read(path: Path) -> Pixels | str:
    return read_all([path])[0]


def check_equal(folder: Path, files: Mapping[str, bytes]) -> None:
    """Fails where the two languages read other pixels from a file, or one of them refuses it."""
    paths = [write(folder / str(number), content) for number, content in enumerate(files.values())]
    for name, path, actual in zip(files, paths, read_all(paths), strict=True):
        try:
            expected = read_image(path)
        except ImageError as error:
            assert isinstance(actual, str), f"{name}: C++ reads it, Python says {error}"
        else:
            assert not isinstance(actual, str), f"{name}: Python reads it, C++ says {actual}"
            np.testing.assert_array_equal(actual, expected, err_msg=name)


def limited_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


@pytest.mark.parametrize("name", FILES)
def test_a_picture_has_pythons_bits(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "picture", FILES[name])
    np.testing.assert_array_equal(read(path), read_image(path))


@pytest.mark.parametrize("kind", COLOUR_KINDS)
def test_every_depth_with_every_chunk_has_pythons_bits(tmp_path: Path, kind: str) -> None:
    """Also where chunks contradict each other, and libpng would drop some."""
    check_equal(tmp_path, chunk_files(kind))


@pytest.mark.parametrize("name", ["grey", "palette alpha", "exif behind the pixels", "interlaced rgb alpha"])
def test_a_png_cut_anywhere_has_one_verdict(tmp_path: Path, name: str) -> None:
    """A file that lacks only what follows its last pixel is read."""
    content = FILES[name]
    cuts = {*range(0, len(content), 31), *range(len(content) - 70, len(content))}
    check_equal(tmp_path, {f"{name}[:{cut}]": content[:cut] for cut in sorted(cuts)})


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("height", [23, 24])
def test_rows_that_are_missing_are_noticed(tmp_path: Path, interlaced: bool, height: int) -> None:
    """Pillow would show them black."""
    whole = png(np.full((height, 96), 200, np.uint8), RGB, interlaced=interlaced)
    assert not isinstance(read(write(tmp_path / "whole", whole)), str)
    start = whole.index(b"IDAT")
    rows = zlib.decompress(whole[start + 4 :])
    files = {
        f"{kept} bytes": whole[: start - 4] + chunk(b"IDAT", zlib.compress(rows[:kept])) + chunk(b"IEND", b"")
        for kept in (0, 97, len(rows) // 2, len(rows) - 97, len(rows))
    }
    check_equal(tmp_path, files)
    for number, content in enumerate(files.values()):
        path = write(tmp_path / "picture", content)
        if number < len(files) - 1:
            with pytest.raises(ImageError, match="cannot read the picture to its end"):
                read_image(path)


@pytest.mark.parametrize("name", ["jpeg", "jpeg progressive", "jpeg Adobe RGB"])
def test_a_jpeg_cut_anywhere_has_one_verdict(tmp_path: Path, name: str) -> None:
    content = FILES[name]
    cuts = {*range(0, len(content), 31), *range(len(content) - 20, len(content))}
    check_equal(tmp_path, {f"{name}[:{cut}]": content[:cut] for cut in sorted(cuts)})


@pytest.mark.parametrize("name", ["grey", "rgb alpha", "jpeg", "jpeg progressive"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9])
def test_a_cut_picture_is_refused_in_both_languages(tmp_path: Path, name: str, kept: float) -> None:
    path = write(tmp_path / "cut", FILES[name][: int(len(FILES[name]) * kept)])
    assert str(read(path)).startswith(f"{path}: cannot read the picture to its end")
    assert str(read(path)).endswith("; copy it again")
    with pytest.raises(ImageError, match=r"cannot read the picture to its end|an unknown format"):
        read_image(path)


@pytest.mark.parametrize("content", [bomb(), jpeg_bomb()])
def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "bomb", content)
    assert read(path) == (
        f"{path}: 30000 x 30000 pixels exceed the limit of 178956970 pixels; make the picture smaller"
    )
    with pytest.raises(ImageError, match=r"at most 178.9 megapixels, found 900; make the picture smaller"):
        read_image(path)


STAND_INS = {
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        "a Git LFS pointer in its place",
    ),
    "page": (b"<!DOCTYPE html>\n<html><body>404", "a web page in its place"),
    "xhtml": (b'<?xml version="1.0"?>\n<html>', "a web page in its place"),
    "telephone": (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "a HEIC file; save it as JPEG"),
    "nothing": (b"", "an unknown format, for the file is empty"),
}


@pytest.mark.parametrize("kind", STAND_INS)
def test_what_was_downloaded_instead_is_named(tmp_path: Path, kind: str) -> None:
    content, name = STAND_INS[kind]
    path = write(tmp_path / "photo.jpg", content)
    expected = f"{path}: expected a picture, found {name}"
    assert str(read(path)).startswith(expected)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value) == read(path)


def test_another_format_is_called_unknown(tmp_path: Path) -> None:
    """The C++ command reads PNG and JPEG alone."""
    path = write(tmp_path / "photo.jpg", b"GIF89a and more")
    assert read(path) == f"{path}: expected a picture, found an unknown format; give a PNG or JPEG file"


def test_pipes_devices_and_folders_are_named_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in (
        (tmp_path / "pipe", "a pipe"),
        (Path("/dev/zero"), "a device"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(ImageError, match=f"expected a picture, found {what}; ") as caught:
            read_image(path)
        assert read(path) == str(caught.value)
