"""Predictors of SAM 2 and RobustSAM: what they pass from graph to graph, in both languages alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from native import LIBRARY, NativeSteps
from tiny_bundle import SpyEngine, write_bundle

from glesam_runtime import (
    AutomaticMasks,
    AutomaticOptions,
    BackendError,
    Bundle,
    GlesamError,
    Predictor,
    Prompt,
)
from glesam_runtime.bundle.spec import HIGH_RES, Family
from glesam_runtime.engines.base import Engines
from glesam_runtime.preprocess import Pixels, model_input, squash
from glesam_runtime.prompts import encode_prompts

GEOMETRY = squash((96, 128), 64)
BOX = (24.0, 16.0, 104.0, 80.0)
PROMPTS = [Prompt(box=BOX), Prompt(points=[(64, 48)], background_points=[(5, 5)]), Prompt(BOX, [(64, 48)])]
BACKENDS = ("openvino", "onnxruntime")
NEWER: tuple[Family, ...] = ("sam2", "robustsam")
needs_library = pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not built: make cpp")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    root = tmp_path_factory.mktemp("families")
    return {family: write_bundle(root / family, family) for family in NEWER}


def spied(bundle: Path, enhance: bool = True) -> tuple[Predictor, SpyEngine, SpyEngine]:
    """A predictor, its encoder and its decoder."""
    predictor = Predictor.from_bundle(bundle, "onnxruntime", enhance)
    engines = predictor._engines
    encoder, decoder = SpyEngine(engines.image_encoder), SpyEngine(engines.mask_decoder)
    return Predictor(predictor.manifest, Engines(encoder, engines.gle, decoder)), encoder, decoder


def test_every_prompt_of_sam2_ends_with_a_padding_point() -> None:
    """Its official predictor hands a box over as two points, and points are always padded by one."""
    tensors = encode_prompts(PROMPTS, GEOMETRY, "sam2")
    assert tensors.point_labels.tolist() == [[2, 3, -1, -1], [1, 0, -1, -1], [1, 2, 3, -1]]
    corners = [[12, 16 * 64 / 96], [52, 80 * 64 / 96]]
    np.testing.assert_allclose(tensors.point_coords[0], [*corners, [0, 0], [0, 0]], rtol=1e-6)
    assert encode_prompts(PROMPTS[:1], GEOMETRY).point_labels.tolist() == [[2, 3]]


def test_mask_inputs_of_sam2_are_limited_to_32() -> None:
    logits = np.linspace(-100, 100, 256, dtype=np.float32).reshape(16, 16)
    prompt = Prompt(mask_input=logits)
    limited = encode_prompts([prompt], GEOMETRY, "sam2").mask_input
    np.testing.assert_array_equal(limited[0, 0], logits.clip(-32, 32))
    np.testing.assert_array_equal(encode_prompts([prompt], GEOMETRY).mask_input[0, 0], logits)


@pytest.mark.parametrize("enhance", [True, False])
def test_the_finer_features_pass_by_gle(bundles: dict[Family, Path], image: Pixels, enhance: bool) -> None:
    predictor, encoder, decoder = spied(bundles["sam2"], enhance)
    predictor.set_image(image)
    predictor.predict(prompts=PROMPTS)
    tensor, geometry = model_input(image, predictor.manifest)
    np.testing.assert_array_equal(encoder.calls[0]["image"], tensor)
    assert geometry == squash((96, 128), 64)
    encoded = Predictor.from_bundle(bundles["sam2"], "onnxruntime")._engines.image_encoder({"image": tensor})
    (feeds,) = decoder.calls
    for name in HIGH_RES:
        np.testing.assert_array_equal(feeds[name], encoded[name])
        assert np.abs(feeds[name]).max() > 0
    factor = 1.5 if enhance else 1  # the tiny GLE's
    np.testing.assert_allclose(feeds["image_embeddings"], factor * encoded["image_embeddings"], rtol=1e-6)


def test_robust_sams_decoder_reads_the_restored_features(bundles: dict[Family, Path], image: Pixels) -> None:
    predictor, _, decoder = spied(bundles["robustsam"])
    predictor.set_image(image)
    predictor.predict(box=BOX)
    assert decoder.calls[0]["image_embeddings"].shape == (1, 768, 4, 4)


def test_a_caller_may_choose_another_way_to_resize(bundles: dict[Family, Path], image: Pixels) -> None:
    predictor = Predictor.from_bundle(bundles["sam2"], resize="longest-side")
    predictor.set_image(image)
    assert predictor.geometry.resized_size == (48, 64)


def test_a_tensor_gives_what_its_picture_gives(bundles: dict[Family, Path], image: Pixels) -> None:
    predictor = Predictor.from_bundle(bundles["sam2"])
    predictor.set_image(image)
    expected = predictor.predict(prompts=PROMPTS)
    tensor, _ = model_input(image, predictor.manifest)
    predictor.set_tensor(tensor, predictor.geometry_of((96, 128)))
    np.testing.assert_array_equal(predictor.predict(prompts=PROMPTS).low_res_masks, expected.low_res_masks)


def test_sessions_keep_the_features_of_their_own_pictures(bundles: dict[Family, Path], image: Pixels) -> None:
    first = Predictor.from_bundle(bundles["sam2"])
    first.set_image(image)
    expected = first.predict(prompts=PROMPTS).low_res_masks
    second = first.new_session()
    second.set_image(image[::-1].copy())
    assert np.abs(second.predict(prompts=PROMPTS).low_res_masks - expected).max() > 0
    np.testing.assert_array_equal(first.predict(prompts=PROMPTS).low_res_masks, expected)


@pytest.mark.parametrize("family", NEWER)
def test_automatic_masks_are_found(bundles: dict[Family, Path], image: Pixels, family: Family) -> None:
    options = AutomaticOptions(points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0)
    assert AutomaticMasks(Predictor.from_bundle(bundles[family]), options).generate(image)


def test_sam2_has_the_thresholds_of_its_own_generator() -> None:
    thresholds = {
        name: AutomaticOptions.for_model(name).pred_iou_thresh for name in ("vit_b", "sam2.1_hiera_tiny")
    }
    assert thresholds == {"vit_b": 0.88, "sam2.1_hiera_tiny": 0.8}


def test_a_missing_high_resolution_feature_is_refused_in_one_line(bundles: dict[Family, Path]) -> None:
    decoder = Predictor.from_bundle(bundles["sam2"])._engines.mask_decoder
    feeds = encode_prompts(PROMPTS, GEOMETRY, "sam2").feeds(
        {"image_embeddings": np.zeros((1, 256, 4, 4), "f4")}
    )
    with pytest.raises(BackendError, match="expected image_embeddings, high_res_s0, high_res_s1") as caught:
        decoder(feeds)
    assert "\n" not in str(caught.value)


@needs_library
@pytest.mark.parametrize("family", NEWER)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_cpp_library_finds_the_same_masks(
    bundles: dict[Family, Path], image: Pixels, family: Family, backend: str
) -> None:
    native = NativeSteps.or_skip(bundles[family], backend)
    python = Predictor.from_bundle(bundles[family], backend)
    for picture in (image, np.ascontiguousarray(image[:41, ::-1])):
        for predictor in (native, python):
            predictor.set_image(picture)
        logits = np.linspace(-90, 90, 256, dtype=np.float32).reshape(16, 16)
        prompts = [
            Prompt((4, 4, 60, 40)),
            Prompt(points=[(20, 30)]),
            Prompt((2, 3, 50, 39), mask_input=logits),
        ]
        for multimask in (False, True):
            actual, expected = (x.predict(prompts=prompts, multimask=multimask) for x in (native, python))
            for name in ("masks", "iou_predictions", "low_res_masks"):
                np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name))
            assert 0 < expected.masks.mean() < 1


@needs_library
@pytest.mark.parametrize("family", NEWER)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_cpp_steps_are_those_of_python(
    bundles: dict[Family, Path], image: Pixels, family: Family, backend: str
) -> None:
    native = NativeSteps.or_skip(bundles[family], backend)
    python = Predictor.from_bundle(bundles[family], backend)
    engines, manifest = python._engines, python.manifest
    tensor, geometry = model_input(image, manifest)
    np.testing.assert_array_equal(native.preprocess(image, 64)[0], tensor)
    encoded = engines.image_encoder({"image": tensor})
    actual = native.encode_features(tensor)
    np.testing.assert_array_equal(actual, flat(encoded))
    assert engines.gle is not None
    enhanced = engines.gle({"image_embeddings": encoded["image_embeddings"]})["image_embeddings_enhanced"]
    features = native.enhance_features(actual)
    np.testing.assert_array_equal(features, flat({**encoded, "image_embeddings": enhanced}))
    prompts = encode_prompts(PROMPTS, geometry, manifest.family)
    for name, array in native.encode_prompts(PROMPTS, geometry).items():
        np.testing.assert_array_equal(array, getattr(prompts, name))
    answer = native.decode(features, prompts._asdict())
    expected = engines.mask_decoder(prompts.feeds(encoded, enhanced))
    np.testing.assert_array_equal(answer["low_res_masks"], expected["low_res_masks"])


def flat(tensors: dict) -> np.ndarray:
    return np.concatenate([array.ravel() for array in tensors.values()])


@needs_library
@pytest.mark.parametrize("family", NEWER)
def test_the_steps_of_one_embedding_refuse_these_models(
    bundles: dict[Family, Path], image: Pixels, family: Family
) -> None:
    """An older program's buffer would be too small."""
    native = NativeSteps.from_bundle(bundles[family])
    tensor, _ = native.preprocess(image, 64)
    one = np.zeros((1, 256, 4, 4), np.float32)
    for call, cure in (
        (lambda: native.encode(tensor, one.shape), "this model needs glesam_encode_features"),
        (lambda: native.enhance(one), "this model needs glesam_enhance_features"),
        (lambda: native.decode_one_embedding(one), "this model needs glesam_decode_features"),
        (lambda: native.encode_features(tensor, one.size), "give as many as glesam_feature_sizes says"),
    ):
        with pytest.raises(GlesamError, match=rf"expected \d+ floats, found 4096; {cure}$"):
            call()
    assert native.feature_sizes() == {"sam2": (16384, 16384), "robustsam": (288 * 16, 768 * 16)}[family]


def test_a_decoder_of_the_other_family_is_refused(bundles: dict[Family, Path], image: Pixels) -> None:
    """Its engine has SAM's inputs; the encoder gives two features more."""
    sam2, robust = (Predictor.from_bundle(bundles[family]) for family in NEWER)
    mixed = Predictor(sam2.manifest, replace(sam2._engines, mask_decoder=robust._engines.mask_decoder))
    mixed.set_image(image)
    with pytest.raises(
        BackendError, match="mask_decoder input: expected image_embeddings, point_coords"
    ) as caught:
        mixed.predict(box=BOX)
    assert "\n" not in str(caught.value)


def test_a_size_of_another_model_is_refused(bundles: dict[Family, Path]) -> None:
    predictor = Predictor.from_bundle(Bundle.open(bundles["sam2"]))
    with pytest.raises(BackendError, match=r"expected image float32 \[1,3,64,64\]"):
        predictor.set_tensor(np.zeros((1, 3, 32, 32), np.float32), squash((96, 128), 64))
