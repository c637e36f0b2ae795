"""glesam-run as a command: what it writes and prints."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from programs import main_of
from pycocotools import mask as coco_mask
from typer.testing import CliRunner, Result

from glesam_runtime.cli.run import app
from glesam_runtime.tools.records.schema import json_schema

BOX = ["--box", "24", "16", "104", "80"]


class Run:
    """Runs glesam-run on the tiny bundle; results go to `out`."""

    def __init__(self, bundle: Path, out: Path) -> None:
        self.out = out
        self._options = ["--bundle", str(bundle), "--out", str(out)]

    def __call__(self, *arguments: object) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments), *self._options])

    def names(self) -> list[str]:
        return sorted(path.name for path in self.out.iterdir())


@pytest.fixture
def run(bundle_path: Path, tmp_path: Path) -> Run:
    return Run(bundle_path, tmp_path / "out")


def mask_in(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture).astype(bool)


def test_a_box_gives_a_mask_an_overlay_a_score_and_the_time(run: Run, photo: Path) -> None:
    result = run(photo, *BOX)
    assert result.exit_code == 0, result.output
    assert run.names() == ["photo.mask0.png", "photo.overlay.jpg"]
    mask = mask_in(run.out / "photo.mask0.png")
    expected = np.zeros((96, 128), bool)
    expected[16:80, 24:104] = True
    assert (mask & expected).sum() / (mask | expected).sum() > 0.98
    assert "128 x 96 pixels" in result.stdout
    assert f"area {mask.sum()} px" in result.stdout
    assert "preprocess" in result.stdout
    assert "backend onnxruntime (auto: " in result.stderr
    assert result.stdout.splitlines()[-1].startswith(f"wrote 2 files to {run.out}, ")
    assert result.stdout.splitlines()[-1].endswith(f"next: xdg-open {run.out}/photo.overlay.jpg")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_json_is_one_document_with_coco_rle_on_stdout(run: Run, photo: Path) -> None:
    result = run(photo, *BOX, "--box", 0, 0, 30.5, 20, "--json")
    document = json.loads(result.stdout)
    (picture,) = document["images"]
    assert document["backend"] == "onnxruntime"
    assert document["failures"] == []
    assert (picture["width"], picture["height"]) == (128, 96)
    assert [mask["prompt"] for mask in picture["masks"]] == [0, 1]
    for mask in picture["masks"]:
        decoded = coco_mask.decode(mask["segmentation"]).astype(bool)
        np.testing.assert_array_equal(decoded, mask_in(Path(mask["file"])))
        assert mask["area"] == decoded.sum()
        np.testing.assert_array_equal(mask["bbox"], coco_mask.toBbox(mask["segmentation"]))
    Draft202012Validator(json_schema()).validate(document)
    assert set(picture["timings_ms"]) >= {"preprocess", "encode", "enhance", "decode"}


def test_several_boxes_are_several_masks(run: Run, photo: Path) -> None:
    assert run(photo, *BOX, "--box", 0, 0, 30, 20).exit_code == 0
    assert run.names() == ["photo.mask0.png", "photo.mask1.png", "photo.overlay.jpg"]


def test_points_alone_are_one_prompt(run: Run, photo: Path) -> None:
    options = ("--point", 60, 40, "--point", 68, 44, "--background-point", 1, 1)
    assert run(photo, *options).exit_code == 0
    assert run.names() == ["photo.mask0.png", "photo.overlay.jpg"]


def test_points_refine_a_single_box(run: Run, photo: Path) -> None:
    run(photo, *BOX)
    alone = mask_in(run.out / "photo.mask0.png").sum()
    assert run(photo, *BOX, "--background-point", 100, 20).exit_code == 0
    assert run.names() == ["photo.mask0.png", "photo.overlay.jpg"]
    assert mask_in(run.out / "photo.mask0.png").sum() < alone


def test_multimask_writes_three_candidates(run: Run, photo: Path) -> None:
    assert run(photo, *BOX, "--multimask").exit_code == 0
    assert [name for name in run.names() if "mask" in name] == [
        "photo.mask0.png",
        "photo.mask1.png",
        "photo.mask2.png",
    ]


def test_a_mask_picture_is_a_prompt(run: Run, photo: Path, tmp_path: Path) -> None:
    rough = np.zeros((96, 128), np.uint8)
    rough[:, 64:] = 255
    Image.fromarray(rough).save(tmp_path / "rough.png")
    assert run(photo, *BOX, "--mask-input", tmp_path / "rough.png").exit_code == 0
    mask = mask_in(run.out / "photo.mask0.png")
    assert mask[:, 64:].sum() > 2 * mask[:, :60].sum()


def test_no_enhance_leaves_gle_out(run: Run, photo: Path) -> None:
    enhanced = json.loads(run(photo, *BOX, "--json").stdout)
    plain = json.loads(run(photo, *BOX, "--json", "--no-enhance").stdout)
    assert (enhanced["enhance"], plain["enhance"]) == (True, False)
    assert "enhance" not in plain["images"][0]["timings_ms"]
    scores = [each["images"][0]["masks"][0]["predicted_iou"] for each in (enhanced, plain)]
    assert scores[0] != scores[1]


def test_the_authors_resize_is_offered(run: Run, photo: Path) -> None:
    assert run(photo, *BOX, "--resize", "squash-512").exit_code == 0


def test_a_bad_picture_among_several_is_reported_and_the_rest_kept(
    run: Run, photo: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    result = run(bad, photo, *BOX, "--json")
    assert result.exit_code == 2
    assert run.names() == ["photo.mask0.png", "photo.overlay.jpg"]
    document = json.loads(result.stdout)
    assert [each["image"] for each in document["failures"]] == [str(bad)]
    assert len(document["images"]) == 1
    assert f"error: {bad}: expected a picture" in result.stderr


def pictures(folder: Path, count: int) -> list[Path]:
    """Writes pictures of noise, each of its own size."""
    rng = np.random.default_rng(1)
    paths = [folder / f"{chr(ord('z') - number)}.png" for number in range(count)]
    for path in paths:
        size = tuple(rng.integers(90, 200, 2).tolist())
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return paths


def test_many_pictures_answer_in_their_order_as_each_does_alone(
    run: Run, tmp_path: Path, bundle_path: Path
) -> None:
    paths = pictures(tmp_path, 6)
    paths[3].write_bytes(paths[3].read_bytes()[:200])
    box = ("--box", 10, 10, 80, 70)
    document = json.loads(run(*paths, *box, "--json").stdout)
    good = [path for path in paths if path != paths[3]]
    assert [picture["image"] for picture in document["images"]] == [str(path) for path in good]
    assert [failure["image"] for failure in document["failures"]] == [str(paths[3])]
    alone = Run(bundle_path, tmp_path / "alone")
    for path, picture in zip(good, document["images"], strict=True):
        (single,) = json.loads(alone(path, *box, "--json").stdout)["images"]
        assert picture["masks"][0]["segmentation"] == single["masks"][0]["segmentation"]
        assert picture["masks"][0]["predicted_iou"] == single["masks"][0]["predicted_iou"]
        assert set(picture["timings_ms"]) == set(single["timings_ms"])
    for name in run.names():
        assert (run.out / name).read_bytes() == (alone.out / name).read_bytes()


def test_json_is_one_document_though_every_picture_is_bad(run: Run, tmp_path: Path) -> None:
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for path in paths:
        path.write_bytes(b"no picture")
    result = run(*paths, *BOX, "--json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert document["images"] == []
    assert [failure["image"] for failure in document["failures"]] == list(map(str, paths))


def test_an_interrupt_leaves_whole_files_and_no_others(bundle_path: Path, tmp_path: Path) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    Image.new("RGB", (1500, 1200), "grey").save(photo)
    paths = [tmp_path / f"{number}.png" for number in range(300)]  # half a minute without the interrupt
    for path in paths:
        path.symlink_to(photo)
    arguments = [*map(str, paths), *BOX, "--bundle", str(bundle_path), "--out", str(out)]
    command = [sys.executable, "-u", "-c", main_of("run"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in errors
    names = sorted(path.name for path in out.iterdir())
    stems = {name.split(".")[0] for name in names}
    assert 0 < len(stems) < len(paths)
    assert names == sorted(f"{stem}.{kind}" for stem in stems for kind in ("mask0.png", "overlay.jpg"))
    for name in names:
        np.array(Image.open(out / name))  # whole


def test_running_twice_replaces_the_results(run: Run, photo: Path) -> None:
    run(photo, *BOX)
    assert run(photo, *BOX).exit_code == 0
    assert run.names() == ["photo.mask0.png", "photo.overlay.jpg"]


@pytest.mark.parametrize("size", [(1, 1), (100, 20000), (20000, 100)])
def test_extreme_sizes_work(run: Run, tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "extreme.png"
    Image.new("RGB", size, "grey").save(path)
    result = run(path, "--box", 0, 0, *size)
    assert result.exit_code == 0, result.output
    assert mask_in(run.out / "extreme.mask0.png").shape == size[::-1]


@pytest.mark.parametrize("mode", ["I;16", "L", "RGBA", "CMYK", "P", "1", "LA"])
def test_every_kind_of_picture_works(run: Run, tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"picture.{'tif' if mode == 'CMYK' else 'png'}"
    Image.new(mode, (128, 96)).save(path)
    assert run(path, *BOX).exit_code == 0


def test_a_box_is_in_pixels_of_the_picture_as_a_viewer_shows_it(run: Run, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (128, 96)).save(tmp_path / "turned.jpg", exif=exif)
    assert run(tmp_path / "turned.jpg", "--box", 10, 10, 90, 120).exit_code == 0
    assert mask_in(run.out / "turned.mask0.png").shape == (128, 96)


def test_help_and_version_need_no_picture() -> None:
    runner = CliRunner()
    text = runner.invoke(app, ["--help"]).output
    for option in ("--box", "--background-point", "--mask-input", "--no-enhance", "--json"):
        assert option in text
    assert runner.invoke(app, ["--version"]).output.startswith("glesam")
