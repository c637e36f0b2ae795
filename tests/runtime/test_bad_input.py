"""Every bad input leads to one clear line on stderr, exit status 2 and no file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_cuda import FakeGpu
from fake_tensorrt import FakeTensorRt
from PIL import Image
from test_glesam_run import BOX
from tiny_bundle import record, write_manifest
from typer.testing import CliRunner

from glesam_runtime.cli.run import app
from glesam_runtime.engines.tensorrt import choice

Refusal = Callable[..., str]


@pytest.fixture
def refused(bundle_path: Path, tmp_path: Path) -> Refusal:
    """Runs glesam-run, checks that it fails properly, and returns its error line."""
    out = tmp_path / "out"
    out.mkdir()

    def run(*arguments: object, bundle: Path = bundle_path) -> str:
        options = [*map(str, arguments), "--bundle", str(bundle), "--out", str(out)]
        result = CliRunner().invoke(app, options)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert list(out.iterdir()) == []
        (line,) = [each for each in result.stderr.splitlines() if not each.startswith("tiny fp32")]
        assert line.startswith("error: ")
        return line

    return run


def test_a_missing_picture(refused: Refusal, photo: Path, tmp_path: Path) -> None:
    assert "found nothing; check the path" in refused(photo, tmp_path / "absent.jpg", *BOX)
    (tmp_path / "empty").mkdir()
    assert "expected a folder of pictures, found none" in refused(tmp_path / "empty", *BOX)
    assert "found nothing" in refused("x" * 5000, *BOX)


def test_a_file_that_is_no_picture(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("notes.jpg", "empty.png"):
        assert "found an unknown format" in refused(tmp_path / name, *BOX)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_a_truncated_picture(refused: Refusal, image: np.ndarray, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(image).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert str(path) in refused(path, *BOX)


@pytest.mark.parametrize(
    "box",
    [
        (-5, 0, 10, 10),
        (0, 0, 130, 96),
        (100, 80, 20, 10),
        (20, 20, 20, 60),
        ("nan", 0, 10, 10),
        (0, 0, "inf", 10),
    ],
)
def test_a_box_outside_inverted_empty_or_not_finite(
    refused: Refusal, photo: Path, box: tuple[object, ...]
) -> None:
    line = refused(photo, "--box", *box)
    assert "expected 0 <= X0 < X1 <= 128 and 0 <= Y0 < Y1 <= 96" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("--box", 1, 2, 3),
        ("--box", 1, 2, "three", 4),
        ("--box", "1,2,3,4"),
        ("--box", 1, 2, "--json"),
        ("--box",),
        ("--point", 5),
        ("--background-point", "x", "y"),
    ],
)
def test_coordinates_that_are_not_the_right_numbers(
    refused: Refusal, photo: Path, arguments: tuple[object, ...]
) -> None:
    assert f"{arguments[0]}: expected" in refused(photo, *arguments)


def test_a_point_outside(refused: Refusal, photo: Path) -> None:
    for option in ("--point", "--background-point"):
        assert "0 <= X < 128 and 0 <= Y < 96" in refused(photo, option, 128, -3)
        assert "0 <= X < 128 and 0 <= Y < 96" in refused(photo, option, "nan", 3)


def test_no_prompt(refused: Refusal, photo: Path) -> None:
    assert "no prompt: give --box X0 Y0 X1 Y1" in refused(photo)


def test_ambiguous_prompts(refused: Refusal, photo: Path) -> None:
    assert "ambiguous" in refused(photo, *BOX, *BOX, "--point", 5, 5)
    assert "ambiguous" in refused(photo, *BOX, *BOX, "--mask-input", photo)


def test_a_mask_of_another_size_or_none(refused: Refusal, photo: Path, tmp_path: Path) -> None:
    Image.new("L", (12, 12)).save(tmp_path / "small.png")
    assert "found 12 x 12" in refused(photo, "--mask-input", tmp_path / "small.png")
    assert "found nothing" in refused(photo, "--mask-input", tmp_path / "absent.png")


def test_an_unreadable_bundle(refused: Refusal, photo: Path, tmp_path: Path) -> None:
    assert "expected a folder" in refused(photo, *BOX, bundle=tmp_path / "absent")
    assert "cannot read bundle.json" in refused(photo, *BOX, bundle=tmp_path)


@pytest.mark.parametrize("name", ["bundle.json", "bundle.json.sha256", "gle.onnx"])
def test_a_flipped_byte_in_the_bundle(refused: Refusal, photo: Path, own_bundle: Path, name: str) -> None:
    content = bytearray((own_bundle / name).read_bytes())
    content[len(content) // 2] ^= 0x10
    (own_bundle / name).write_bytes(content)
    assert name in refused(photo, *BOX, bundle=own_bundle)


def test_a_bundle_of_the_future(refused: Refusal, photo: Path, own_bundle: Path) -> None:
    content = json.loads((own_bundle / "bundle.json").read_text())
    write_manifest(own_bundle, content | {"format_version": 99})
    assert "upgrade glesam" in refused(photo, *BOX, bundle=own_bundle)


def test_a_path_that_leaves_the_bundle(refused: Refusal, photo: Path, own_bundle: Path) -> None:
    content = json.loads((own_bundle / "bundle.json").read_text())
    content["files"]["../photo.png"] = record(photo)
    write_manifest(own_bundle, content)
    assert "'../photo.png'" in refused(photo, *BOX, bundle=own_bundle)


def test_a_graph_with_a_missing_tensor(refused: Refusal, photo: Path, own_bundle: Path) -> None:
    (own_bundle / "mask_decoder.onnx").write_bytes((own_bundle / "gle.onnx").read_bytes())
    content = json.loads((own_bundle / "bundle.json").read_text())
    content["files"]["mask_decoder.onnx"] = record(own_bundle / "mask_decoder.onnx")
    write_manifest(own_bundle, content)
    line = refused(photo, *BOX, bundle=own_bundle)
    assert "mask_decoder.onnx: inputs must be image_embeddings, point_coords" in line


def test_an_unknown_backend(refused: Refusal, photo: Path) -> None:
    assert "choose auto or onnxruntime" in refused(photo, *BOX, "--backend", "abacus")
    assert "choose onnxruntime:cuda, tensorrt or" in refused(photo, *BOX, "--backend", "cuda")


def test_tensorrt_without_its_library(refused: Refusal, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "backend tensorrt cannot be imported" in refused(photo, *BOX, "--backend", "tensorrt")


def test_tensorrt_without_cuda_bindings(
    refused: Refusal, photo: Path, tensorrt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "load_library", lambda backend: tensorrt._library)
    for module in ("cuda", "tensorrt.engine"):
        monkeypatch.delitem(sys.modules, f"glesam_runtime.engines.{module}", raising=False)
    monkeypatch.delattr("glesam_runtime.engines.cuda")
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    line = refused(photo, *BOX, "--backend", "tensorrt-rtx")
    assert "cuda-bindings cannot be imported" in line
    assert line.endswith("pip install 'glesam[tensorrt-rtx]'")


def test_tensorrt_without_a_gpu(
    refused: Refusal, photo: Path, gpu: FakeGpu, tensorrt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "load_library", lambda backend: tensorrt._library)
    gpu.fail("cudaGetDeviceCount", error="cudaErrorInsufficientDriver")
    line = refused(photo, *BOX, "--backend", "tensorrt")
    assert "no GPU here (cudaErrorInsufficientDriver" in line


def test_an_unknown_resize(refused: Refusal, photo: Path) -> None:
    assert "choose longest-side or squash or squash-512" in refused(photo, *BOX, "--resize", "crop")


def test_two_pictures_that_would_write_the_same_files(refused: Refusal, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    namesake = tmp_path / "other" / "photo.jpg"
    Image.new("RGB", (128, 96)).save(namesake)
    assert "would both write" in refused(photo, namesake, *BOX)


def test_an_out_folder_that_cannot_be_written(bundle_path: Path, photo: Path) -> None:
    options = [str(photo), *BOX, "--bundle", str(bundle_path), "--out", str(photo)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2
    assert f"error: cannot write {photo}" in result.stderr


def test_a_result_never_overwrites_a_picture(bundle_path: Path, photo: Path) -> None:
    namesake = photo.with_name("photo.mask0.png")
    Image.new("RGB", (128, 96)).save(namesake)
    before = namesake.read_bytes()
    options = [str(photo), str(namesake), *BOX, "--bundle", str(bundle_path)]
    result = CliRunner().invoke(app, [*options, "--out", str(photo.parent)])
    assert result.exit_code == 2
    assert "photo.mask0.png is one of the inputs" in result.stderr
    assert namesake.read_bytes() == before
