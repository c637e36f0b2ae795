"""A bundle whose GLE predicts the degradation level: where the level appears, and what refuses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from jsonschema import Draft202012Validator
from native import LIBRARY, NativePredictor, choose_backend
from tiny_bundle import GLE, SpyEngine, manifest, model_of, write_manifest
from typer.testing import CliRunner

from glesam_runtime import (
    AutomaticMasks,
    BackendError,
    Bundle,
    BundleError,
    Engines,
    ImageError,
    Predictor,
    Prompt,
)
from glesam_runtime.cli.run import app
from glesam_runtime.engines import open_engines
from glesam_runtime.engines.base import Tensors
from glesam_runtime.engines.function import FunctionEngine
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.follow.follower import Follower
from glesam_runtime.tools.follow.frames import Frame
from glesam_runtime.tools.follow.job import frame_record
from glesam_runtime.tools.records.schema import json_schema
from glesam_runtime.tools.triton import write_triton

# The level is the mean of the embeddings, bounded to [0, 3].
LEVELLED = GLE.replace(
    "image_embeddings_enhanced) {",
    """image_embeddings_enhanced, float[1] degradation_level) {
  one = Constant <value = int64[1] {1}> ()
  none = Constant <value = float {0.0}> ()
  most = Constant <value = float {3.0}> ()
  total = ReduceMean <keepdims = 1> (image_embeddings)
  flat = Reshape (total, one)
  degradation_level = Clip (flat, none, most)""",
)
LEVEL = {"name": "degradation_level", "dtype": "float32", "shape": [1]}


@pytest.fixture
def levelled(own_bundle: Path) -> Path:
    """A bundle whose graph and manifest have the output."""
    onnx.save(model_of(LEVELLED), own_bundle / "gle.onnx")
    write_manifest(own_bundle, listing(own_bundle, LEVEL))
    return own_bundle


def listing(root: Path, *outputs: dict[str, Any]) -> dict[str, Any]:
    """The manifest of `root`, whose gle has these outputs beside its own."""
    content = manifest(root)
    content["graphs"]["gle"]["outputs"] += outputs
    return content


@pytest.fixture
def bright() -> Pixels:
    """A picture whose level, the mean of the normalized pixels under it, lies between 0 and 3."""
    return np.full((64, 64, 3), 220, np.uint8)


def test_a_prediction_and_its_predictor_tell_the_level(levelled: Path, bright: Pixels, image: Pixels) -> None:
    with Predictor.from_bundle(levelled) as predictor:
        predictor.set_image(bright)
        expected = float(np.mean((220 - np.array([123.675, 116.28, 103.53])) / [58.395, 57.12, 57.375]))
        assert predictor.predict(points=[(5, 5)]).degradation_level == pytest.approx(expected, abs=1e-4)
        session = predictor.new_session()
        session.set_image(255 - bright)
        assert session.degradation_level == 0.0
        assert predictor.degradation_level == pytest.approx(expected, abs=1e-4)


def test_without_the_output_or_without_gle_there_is_no_level(
    levelled: Path, bundle_path: Path, bright: Pixels
) -> None:
    for predictor in (Predictor.from_bundle(bundle_path), Predictor.from_bundle(levelled, enhance=False)):
        predictor.set_image(bright)
        assert predictor.predict(points=[(5, 5)]).degradation_level is None


def test_a_level_that_is_no_number_is_an_error(levelled: Path, bright: Pixels) -> None:
    bundle = Bundle.open(levelled)
    graphs = open_engines("onnxruntime", bundle)
    spy = SpyEngine(graphs["gle"])

    def broken(feeds: Tensors) -> dict[str, Any]:
        return {**spy(feeds), "degradation_level": np.float32([np.nan])}

    gle = FunctionEngine(graphs["gle"].spec, broken)
    predictor = Predictor(bundle.manifest, Engines(graphs["image_encoder"], gle, graphs["mask_decoder"]))
    predictor.set_image(bright)
    with pytest.raises(BackendError, match="gave a NaN or infinite degradation level here; export"):
        predictor.predict(points=[(5, 5)])


@pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not built: make cpp")
def test_the_cpp_library_tells_the_level_that_python_tells(
    levelled: Path, bundle_path: Path, bright: Pixels, image: Pixels
) -> None:
    backend = choose_backend(levelled)[0]
    with (
        NativePredictor.from_bundle(levelled, backend) as native,
        Predictor.from_bundle(levelled, backend) as python,
    ):
        with pytest.raises(ImageError, match="no picture yet"):
            native.degradation_level  # noqa: B018 - a property that raises
        for picture in (bright, 255 - bright, image):
            for predictor in (native, python):
                predictor.set_image(picture)
            prediction = native.predict(points=[(5, 5)])
            assert prediction.degradation_level == python.predict(points=[(5, 5)]).degradation_level
    for path, enhance in ((bundle_path, True), (levelled, False)):
        with NativePredictor.from_bundle(path, enhance=enhance) as plain:
            plain.set_image(bright)
            assert plain.degradation_level is None


@pytest.mark.parametrize("prompt", [["--point", "5", "5"], ["--auto", "--points-per-side", "2"]])
def test_the_command_prints_it_and_its_json_holds_it(
    levelled: Path, bundle_path: Path, photo: Path, tmp_path: Path, prompt: list[str]
) -> None:
    def run(bundle: Path, *more: str) -> str:
        options = [str(photo), *prompt, "--bundle", str(bundle), "--out", str(tmp_path / "out"), *more]
        result = CliRunner().invoke(app, options)
        assert result.exit_code == 0, result.output
        return result.stdout

    document = json.loads(run(levelled, "--json"))
    assert 0 <= document["images"][0]["degradation_level"] <= 3
    Draft202012Validator(json_schema()).validate(document)
    assert "degradation level" in run(levelled)
    assert "degradation_level" not in json.loads(run(bundle_path, "--json"))["images"][0]
    assert "degradation level" not in run(bundle_path)


def test_the_level_of_automatic_masks_is_the_whole_pictures(levelled: Path, bright: Pixels) -> None:
    """A dark corner: its crops have other levels."""
    picture = bright.copy()
    picture[32:, 32:] = 0
    with Predictor.from_bundle(levelled) as predictor:
        predictor.set_image(picture)
        options = AutomaticMasks(predictor).options
        automatic = AutomaticMasks(predictor, type(options)(points_per_side=2, crop_n_layers=1))
        automatic.generate(picture)
        assert automatic.degradation_level == predictor.degradation_level


def test_json_and_the_frames_of_a_video_hold_it(levelled: Path, bright: Pixels) -> None:
    prompt = Prompt((8, 8, 50, 50))
    with Predictor.from_bundle(levelled) as predictor:
        followed = Follower(predictor, [prompt]).next(bright)
        assert followed.degradation_level == predictor.degradation_level is not None
        document = json.loads(predictor.predict(prompts=[prompt]).to_json())
        frame = frame_record(Frame(0, Path("a.png"), None, bright), followed)
    for each in (document, frame):
        assert each["degradation_level"] == pytest.approx(followed.degradation_level, abs=1e-3)
        Draft202012Validator(json_schema()).validate(each)


def test_triton_serves_it(levelled: Path, tmp_path: Path) -> None:
    write_triton(Bundle.open(levelled), tmp_path / "triton")
    for model in ("glesam", "glesam_gle"):
        config = (tmp_path / "triton" / model / "config.pbtxt").read_text()
        assert 'name: "degradation_level" data_type: TYPE_FP32 dims: [ 1 ]' in config


def test_a_graph_with_an_output_that_the_manifest_does_not_list_is_refused(levelled: Path) -> None:
    write_manifest(levelled, listing(levelled))
    with pytest.raises(BundleError, match=r"gle\.onnx: outputs must be image_embeddings_enhanced, found"):
        Bundle.open(levelled)


def test_a_listed_output_that_the_graph_has_not_is_refused(own_bundle: Path) -> None:
    write_manifest(own_bundle, listing(own_bundle, LEVEL))
    with pytest.raises(BundleError, match=r"gle\.onnx: outputs must be .*, degradation_level, found"):
        Bundle.open(own_bundle)
