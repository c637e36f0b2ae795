"""glesam-calibrate: what a bundle's layers see on real pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator
from typer.testing import CliRunner

from glesam_calib import CalibrationError, CalibrationTable, Sample, calibrate, empty_table
from glesam_calib.cli.calibrate import app
from glesam_calib.cli.quantize import app as quantize_app
from glesam_calib.observation.pictures import CalibrationPictures
from glesam_calib.quantization.layers import answers_of, layers_of
from glesam_runtime import Bundle, ImageError
from glesam_runtime.preprocess import preprocess


def pictures(folder: Path, count: int = 4) -> CalibrationPictures:
    return CalibrationPictures(folder, (0, 3), count, print)


@pytest.fixture(scope="module")
def table(fp32_bundle: Path, photos: Path) -> CalibrationTable:
    opened = Bundle.open(fp32_bundle)
    actual = empty_table(opened)
    calibrate(opened, pictures(photos), actual)
    return actual


def test_what_layers_read_and_convolutions_answer_is_observed_on_every_sample(
    table: CalibrationTable, fp32_bundle: Path
) -> None:
    levels = {"chelsea.jpg": (0, 3), "coffee.jpg": (3, 0)}
    assert table.samples == [f"{name} at LQ-{levels[name][turn]}" for turn in (0, 1) for name in levels]
    for graph in ("image_encoder", "gle"):
        tensors = ir.load(fp32_bundle / f"{graph}.onnx").graph
        layers = layers_of(tensors)
        assert len(layers) > 10
        read = {layer.input.name for layer in layers}
        assert set(table.tensors[graph]) == read | {value.name for value in answers_of(tensors, layers)}
        for statistics in table.tensors[graph].values():
            assert statistics.count % len(table.samples) == 0
            assert statistics.count > 0


def test_the_statistics_are_those_of_the_graph(
    table: CalibrationTable, fp32_bundle: Path, photos: Path
) -> None:
    """Compares a tensor in the middle of the encoder with ONNX's reference evaluator."""
    model = onnx.load(fp32_bundle / "image_encoder.onnx")
    name = sorted(table.tensors["image_encoder"])[3]
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    evaluator, manifest = ReferenceEvaluator(model), Bundle.open(fp32_bundle).manifest
    largest = []
    for _, picture in pictures(photos):
        image, _ = preprocess(picture, manifest.image_size, manifest.pixel_mean, manifest.pixel_std)
        largest.append(np.abs(evaluator.run([name], {"image": image})[0]).max())
    assert table.tensors["image_encoder"][name].absmax == pytest.approx(max(largest), rel=1e-4)


class Killed(Exception):
    pass


def killed_after(samples: Iterable[Sample], count: int) -> Iterator[Sample]:
    for i, sample in enumerate(samples):
        if i == count:
            raise Killed
        yield sample


def test_a_killed_run_is_resumed(
    table: CalibrationTable, fp32_bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glesam_calib.observation.observe.SAVE_EVERY", 1)
    opened, path = Bundle.open(fp32_bundle), tmp_path / "table.json"
    with pytest.raises(Killed):
        calibrate(opened, killed_after(pictures(photos), 2), empty_table(opened), path)
    resumed = CalibrationTable.load(path)
    assert len(resumed.samples) == 2
    calibrate(opened, pictures(photos), resumed, path)
    again = CalibrationTable.load(path)
    assert again.samples == table.samples
    for graph, tensors in table.tensors.items():
        for name, expected in tensors.items():
            actual = again.tensors[graph][name]
            assert (actual.histogram.counts == expected.histogram.counts).all()
            np.testing.assert_allclose(actual.channel_mean, expected.channel_mean, rtol=1e-5, atol=1e-6)


def command(bundle: Path, images: Path, out: Path, *options: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(bundle), "--calib-images", str(images), "--out", str(out), *options])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_writes_a_table_with_sensitivities(
    fp32_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "table.json"
    status, said, _ = command(fp32_bundle, photos, out, "--samples", "4", "--sensitivity", "1")
    assert status == 0
    assert said.splitlines()[-1].startswith(f"wrote {out}, ")
    errors = CalibrationTable.load(out).sensitivity
    assert all(0 <= error < 1 for graph in errors.values() for error in graph.values())
    assert max(errors["image_encoder"].values()) > 1e-4
    assert any("conv_in" in name for name in errors["gle"])  # in float only where nothing is measured


@pytest.mark.parametrize("option", ["--images {}", "--images={}"])
def test_the_old_name_of_the_pictures_is_taken_with_a_note(
    fp32_bundle: Path, photos: Path, tmp_path: Path, option: str
) -> None:
    out = tmp_path / "table.json"
    words = [str(fp32_bundle), *option.format(photos).split(" "), "--out", str(out), "--samples", "4"]
    done = CliRunner().invoke(app, [*words, "--level", "LQ-3,0"])
    assert done.exit_code == 0, done.stderr
    assert "written today as: " in done.stderr and "--calib-images" in done.stderr.splitlines()[0]
    assert {name.rsplit(" ", 1)[1] for name in CalibrationTable.load(out).samples} == {"LQ-0", "LQ-3"}
    assert "--images" not in CliRunner().invoke(app, ["-h"]).stdout.replace("--calib-images", "")


@pytest.mark.parametrize("level", ["4", "-1", "", "one", "0,,1"])
def test_an_unknown_level(fp32_bundle: Path, photos: Path, tmp_path: Path, level: str) -> None:
    status, _, said = command(fp32_bundle, photos, tmp_path / "table.json", "--level", level)
    assert status == 2
    assert "expected numbers from 0 to 3" in said
    assert not (tmp_path / "table.json").exists()


def test_a_table_of_another_model_is_left_as_it_is(fp32_bundle: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.json"
    opened = Bundle.open(fp32_bundle)
    other = empty_table(opened)
    CalibrationTable({"image_encoder": "0" * 64, "gle": "1" * 64}, {}, other.tensors).save(out)
    before = out.read_bytes()
    status, _, said = command(fp32_bundle, photos, out, "--samples", "4")
    assert status == 2
    assert "another model's" in said
    assert out.read_bytes() == before


def test_int8_is_made_from_fp32_alone(fp16_bundle: Path, photos: Path, tmp_path: Path) -> None:
    status, _, said = command(fp16_bundle, photos, tmp_path / "table.json")
    assert status == 2
    assert "precision fp16, expected fp32" in said


def test_nan_activations_are_an_error_that_names_the_tensor(
    fp32_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(fp32_bundle, tmp_path / "bundle"))
    model = onnx.load(broken / "image_encoder.onnx")
    first = next(i for i in model.graph.initializer if len(i.dims) == 4)
    weight = np.array(onnx.numpy_helper.to_array(first))
    weight[0] = np.nan
    first.CopyFrom(onnx.numpy_helper.from_array(weight, first.name))
    onnx.save(model, broken / "image_encoder.onnx")
    opened = replace(Bundle.open(fp32_bundle), root=broken, stamps={})
    with pytest.raises(CalibrationError, match=r"image_encoder: .* of chelsea.jpg at LQ-0 is NaN"):
        calibrate(opened, pictures(photos), empty_table(Bundle.open(fp32_bundle)))


def test_pictures_are_spread_and_come_again_at_other_levels(tmp_path: Path, photos: Path) -> None:
    for i in range(10):
        shutil.copy(photos / "coffee.jpg", tmp_path / f"{i}.jpg")
    names = [name for name, _ in CalibrationPictures(tmp_path, (0,), 5, print)]
    assert names == [f"{i}.jpg at LQ-0" for i in (0, 2, 4, 6, 8)]
    few = [name for name, _ in CalibrationPictures(photos, (0, 1, 2, 3), 64, print)]
    assert len(few) == len(set(few)) == 8


def test_broken_pictures_are_named_and_too_few_are_an_error(photos: Path, tmp_path: Path) -> None:
    for i in range(4):
        shutil.copy(photos / "coffee.jpg", tmp_path / f"{i}.jpg")
    (tmp_path / "1.jpg").write_bytes(b"no picture")
    said: list[str] = []
    actual = CalibrationPictures(tmp_path, (0,), 8, said.append)
    with pytest.raises(CalibrationError, match="3 samples, expected at least 4"):
        list(actual)
    assert len(said) == 1
    assert "1.jpg" in said[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(CalibrationError, match="0 samples"):
        CalibrationPictures(tmp_path / "empty", (0,), 8, print)
    with pytest.raises(ImageError, match="expected a folder of pictures"):
        CalibrationPictures(tmp_path / "missing", (0,), 8, print)


def test_another_picture_stands_in_for_a_broken_one(photos: Path, tmp_path: Path) -> None:
    for i in range(8):
        shutil.copy(photos / "coffee.jpg", tmp_path / f"{i}.jpg")
    (tmp_path / "2.jpg").write_bytes(b"no picture")
    (tmp_path / "1.jpg").write_bytes(b"no picture either")
    said: list[str] = []
    actual = CalibrationPictures(tmp_path, (0,), 4, said.append)
    names = ["0.jpg at LQ-0", "3.jpg at LQ-0", "4.jpg at LQ-0", "6.jpg at LQ-0"]
    assert [name for name, _ in actual] == [name for name, _ in actual] == names
    assert len(said) == 2


def test_a_table_of_other_pictures_is_not_resumed(fp32_bundle: Path, photos: Path, tmp_path: Path) -> None:
    out, others = tmp_path / "table.json", tmp_path / "others"
    assert command(fp32_bundle, photos, out, "--samples", "4")[0] == 0
    before = out.read_bytes()
    assert command(fp32_bundle, photos, out, "--samples", "4")[0] == 0
    assert out.read_bytes() == before
    shutil.copytree(photos, others)
    shutil.copy(photos / "coffee.jpg", others / "chelsea.jpg")
    for images, options in ((others, ("--samples", "4")), (photos, ("--samples", "4", "--level", "3,2"))):
        status, _, said = command(fp32_bundle, images, out, *options)
        assert status == 2
        assert "is of other pictures, levels or samples; choose another --out" in said
        assert out.read_bytes() == before


def test_a_killed_runs_table_is_resumed_and_not_used_before(
    fp32_bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glesam_calib.observation.pictures.SAVE_EVERY", 1)
    out, tried = tmp_path / "table.json", []

    def killed(*_: object) -> Iterator[tuple[str, float]]:
        tried.append(1)
        yield "a layer", 0.5
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("glesam_calib.observation.pictures.sensitivities", killed)
        done = CliRunner().invoke(
            app,
            [
                str(fp32_bundle),
                "--calib-images",
                str(photos),
                "--out",
                str(out),
                "--samples",
                "4",
                "--sensitivity",
                "1",
            ],
        )
    assert isinstance(done.exception, Killed)
    table = CalibrationTable.load(out)
    assert table.sensitivity["image_encoder"] == {"a layer": 0.5}
    command_line = [str(fp32_bundle), "--calib-table", str(out), "--out", str(tmp_path / "bundle")]
    refused = CliRunner().invoke(quantize_app, command_line)
    assert refused.exit_code == 2
    assert "interrupted (4 of 4 samples observed); run that command again" in refused.stderr
    for others in ((), ("--sensitivity", "2")):
        status, _, said = command(fp32_bundle, photos, out, "--samples", "4", *others)
        assert status == 2
        assert "is of --sensitivity 1; choose another --out" in said

    def measured(*arguments: Any) -> Iterator[tuple[str, float]]:  # noqa: ANN401 - most are of no interest
        return ((layer, 0.25) for layer in arguments[3])

    monkeypatch.setattr("glesam_calib.observation.pictures.sensitivities", measured)
    assert command(fp32_bundle, photos, out, "--samples", "4", "--sensitivity", "1")[0] == 0
    resumed = CalibrationTable.load(out)
    resumed.check_complete()
    assert resumed.sensitivity["image_encoder"].pop("a layer") == 0.5
    assert {error for graph in resumed.sensitivity.values() for error in graph.values()} == {0.25}


@pytest.mark.parametrize("options", [("--samples", "0"), ("--sensitivity", "-1")])
def test_a_number_out_of_range(
    fp32_bundle: Path, photos: Path, tmp_path: Path, options: tuple[str, str]
) -> None:
    status, _, said = command(fp32_bundle, photos, tmp_path / "table.json", *options)
    assert status == 2
    assert options[0] in said
    assert not (tmp_path / "table.json").exists()


def test_the_table_is_json(fp32_bundle: Path, photos: Path, table: CalibrationTable, tmp_path: Path) -> None:
    table.save(tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    fields = {"format_version", "checkpoint", "samples", "plan", "sensitivity_samples", "complete", "graphs"}
    assert set(document) == fields
    assert set(document["graphs"]["gle"]) == {"sha256", "sensitivity", "tensors"}
