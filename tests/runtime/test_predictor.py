"""From a picture and prompts to masks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import SpyEngine, write_bundle

from glesam_runtime import (
    BackendError,
    Bundle,
    BundleError,
    Engines,
    ImageError,
    Predictor,
    Prompt,
    PromptError,
)
from glesam_runtime.engines import Engine, open_engine
from glesam_runtime.engines.function import FunctionEngine
from glesam_runtime.preprocess import Pixels


@pytest.fixture
def predictor(bundle_path: Path) -> Predictor:
    return Predictor.from_bundle(bundle_path)


def box_mask(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((96, 128), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("resize", ["longest-side", "squash", "squash-512"])
def test_the_mask_is_the_box_of_the_prompt(bundle_path: Path, image: Pixels, resize: str) -> None:
    with Predictor.from_bundle(bundle_path, resize=resize) as predictor:
        predictor.set_image(image)
        prediction = predictor.predict(box=(24, 16, 104, 80))
    assert prediction.masks.shape == (1, 96, 128)
    assert prediction.masks.dtype == bool
    assert prediction.iou_predictions.dtype == np.float32
    assert prediction.low_res_masks.shape == (1, 16, 16)
    assert iou(prediction.masks[0], box_mask(24, 16, 104, 80)) > 0.98


def test_a_point_gives_a_mask_around_it(predictor: Predictor, image: Pixels) -> None:
    predictor.set_image(image)
    mask = predictor.predict(points=[(64, 48)]).masks[0]
    assert iou(mask, box_mask(48, 32, 80, 64)) > 0.9
    smaller = predictor.predict(points=[(64, 48)], background_points=[(2, 2)]).masks[0]
    assert smaller.sum() < mask.sum()


def test_several_prompts_share_one_call_of_the_decoder(bundle_path: Path, image: Pixels) -> None:
    predictor, decoder = with_spied_decoder(bundle_path)
    predictor.set_image(image)
    boxes = [(8, 8, 60, 60), (64, 40, 120, 90)]
    prompts = [*(Prompt(box) for box in boxes), Prompt(points=[(64, 48)])]
    prediction = predictor.predict(prompts=prompts)
    assert len(decoder.calls) == 1
    assert prediction.masks.shape == (3, 96, 128)
    for prompt, mask in zip(prompts, prediction.masks, strict=True):
        alone = predictor.predict(prompts=[prompt]).masks[0]
        np.testing.assert_array_equal(mask, alone)


def with_spied_decoder(bundle_path: Path) -> tuple[Predictor, SpyEngine]:
    bundle = Bundle.open(bundle_path)

    def engine(name: str) -> Engine:
        return open_engine("onnxruntime", bundle.graph_path(name), bundle.manifest.graphs[name].spec)

    real = engine("mask_decoder")
    spy = SpyEngine(real)
    return Predictor(bundle.manifest, Engines(engine("image_encoder"), engine("gle"), spy)), spy


def test_multimask_gives_three_candidates_per_prompt(predictor: Predictor, image: Pixels) -> None:
    predictor.set_image(image)
    boxes = [Prompt((24, 16, 104, 80)), Prompt((8, 8, 60, 60))]
    prediction = predictor.predict(prompts=boxes, multimask=True)
    assert prediction.masks.shape == (2, 3, 96, 128)
    assert prediction.iou_predictions.shape == (2, 3)
    assert prediction.low_res_masks.shape == (2, 3, 16, 16)
    small, equal, large = prediction.masks[0].sum(axis=(1, 2))
    assert small < equal < large


def test_multimask_is_refused_where_the_model_has_none(tmp_path: Path, image: Pixels) -> None:
    model = {"name": "single", "sam_type": "tiny", "multimask": False}
    predictor = Predictor.from_bundle(write_bundle(tmp_path / "single", model=model))
    predictor.set_image(image)
    with pytest.raises(PromptError, match=r"'single' has no multimask: .* call it without multimask"):
        predictor.predict(box=(0, 0, 9, 9), multimask=True)


def test_low_res_masks_refine_the_next_prediction(predictor: Predictor, image: Pixels) -> None:
    predictor.set_image(image)
    first = predictor.predict(box=(24, 16, 104, 80))
    again = predictor.predict(box=(24, 16, 104, 80), mask_input=first.low_res_masks[0])
    np.testing.assert_allclose(again.low_res_masks, 2 * first.low_res_masks, atol=1e-5)


def test_without_enhancement_gle_is_neither_opened_nor_run(
    bundle_path: Path, predictor: Predictor, image: Pixels
) -> None:
    plain = Predictor.from_bundle(bundle_path, enhance=False)
    scores = []
    for each in (predictor, plain):
        each.set_image(image)
        scores.append(each.predict(box=(24, 16, 104, 80)).iou_predictions[0])
    assert scores[0] != scores[1]
    assert list(predictor.timings) == ["preprocess", "encode", "enhance", "decode", "postprocess"]
    assert "enhance" not in plain.timings


def test_the_bundles_mask_threshold_is_used(tmp_path: Path, image: Pixels) -> None:
    predictor = Predictor.from_bundle(write_bundle(tmp_path / "strict", mask_threshold=4.0))
    predictor.set_image(image)
    mask = predictor.predict(box=(24, 16, 104, 80)).masks[0]
    assert iou(mask, box_mask(32, 24, 96, 72)) > 0.98  # 4 input pixels are 8 of the picture


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [[1, 2, 3]],
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(predictor: Predictor, wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(ImageError, match=r"expected a uint8 array \[H,W,3\]"):
        predictor.set_image(wrong)


def test_a_strided_picture_is_the_same_as_its_copy(predictor: Predictor, image: Pixels) -> None:
    scores = []
    for view in (image[:, ::-1], np.ascontiguousarray(image[:, ::-1])):
        predictor.set_image(view)
        scores.append(predictor.predict(box=(24, 16, 104, 80)).iou_predictions[0])
    assert scores[0] == scores[1]


def test_predict_needs_a_picture_first(predictor: Predictor) -> None:
    with pytest.raises(ImageError, match="call set_image"):
        predictor.predict(box=(0, 0, 1, 1))


def test_prompts_are_accepted_in_one_way_only(predictor: Predictor, image: Pixels) -> None:
    predictor.set_image(image)
    with pytest.raises(PromptError, match="not both"):
        predictor.predict(box=(0, 0, 9, 9), prompts=[Prompt((0, 0, 9, 9))])
    with pytest.raises(PromptError, match="no prompt"):
        predictor.predict()


def test_a_bad_prompt_leaves_the_picture_in_place(predictor: Predictor, image: Pixels) -> None:
    predictor.set_image(image)
    with pytest.raises(PromptError):
        predictor.predict(box=(9, 9, 0, 0))
    assert predictor.predict(box=(0, 0, 60, 60)).masks.any()


def test_an_unknown_resize_names_the_known_ones(bundle_path: Path) -> None:
    with pytest.raises(ImageError, match="choose longest-side or squash or squash-512"):
        Predictor.from_bundle(bundle_path, resize="crop")


def test_a_missing_default_bundle_says_where_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glesam_runtime.bundle.reader.files", lambda _: Path("/nonexistent"))
    with pytest.raises(BundleError, match="no default bundle"):
        Predictor.from_bundle()


def test_a_closed_predictor_says_so(bundle_path: Path, image: Pixels) -> None:
    with Predictor.from_bundle(bundle_path) as predictor:
        session = predictor.new_session()
    with pytest.raises(BackendError, match="closed"):
        session.set_image(image)


def test_sessions_in_many_threads_give_the_single_threaded_results(predictor: Predictor) -> None:
    pictures = [
        np.random.default_rng(seed).integers(0, 40 * seed + 40, (80 + seed, 120, 3), np.uint8)
        for seed in range(5)
    ]

    def segment(session: Predictor, picture: Pixels) -> tuple[float, bytes]:
        session.set_image(picture)
        prediction = session.predict(points=[(60, 40)])
        return float(prediction.iou_predictions[0]), prediction.masks.tobytes()

    alone = [segment(predictor, picture) for picture in pictures]
    sessions = [predictor.new_session() for _ in pictures]
    for _ in range(5):
        with ThreadPoolExecutor(len(pictures)) as pool:
            assert list(pool.map(segment, sessions, pictures)) == alone


def test_masks_of_nan_are_refused_instead_of_returned(bundle_path: Path, image: Pixels) -> None:
    real = Predictor.from_bundle(bundle_path)
    decoder = real._engines.mask_decoder

    def poisoned(feeds: Any) -> dict[str, Any]:  # noqa: ANN401
        outputs = decoder(feeds)
        outputs["low_res_masks"] = outputs["low_res_masks"] + np.float32("nan")
        return outputs

    engines = Engines(real._engines.image_encoder, None, FunctionEngine(decoder.spec, poisoned))
    predictor = Predictor(real.manifest, engines)
    predictor.set_image(image)
    with pytest.raises(BackendError, match="NaN"):
        predictor.predict(box=(24, 16, 104, 80))
