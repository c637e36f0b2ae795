"""The whole C++ predictor beside the Python one; test_cpp.py compares the single steps."""

from __future__ import annotations

import gc
import threading
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest
from native import LIBRARY, NativePredictor
from native import library as native_library
from tiny_bundle import write_bundle

from glesam_runtime import BackendError, Bundle, BundleError, GlesamError, ImageError, Predictor, Prompt
from glesam_runtime.preprocess import Pixels

built = pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not built: make cpp")
BOX = (24, 16, 104, 80)


@built
def test_each_picture_layout_gives_the_masks_of_python(bundle_path: Path, image: Pixels) -> None:
    native, python = (
        NativePredictor.from_bundle(bundle_path, "openvino"),
        Predictor.from_bundle(bundle_path, "openvino"),
    )
    turned = np.ascontiguousarray(image.transpose(1, 0, 2))
    for picture in (image, image[:, 5:], image[::-1], image[..., ::-1], image[::2, ::2], turned, image[:1]):
        native.set_image(picture)
        python.set_image(picture)
        actual, expected = native.predict(points=[(9, 0.5)]), python.predict(points=[(9, 0.5)])
        np.testing.assert_array_equal(actual.masks, expected.masks)
        # In the tiny model only the scores depend on the picture.
        np.testing.assert_allclose(actual.iou_predictions, expected.iou_predictions, rtol=1e-6)


@built
@pytest.mark.parametrize("multimask", [False, True])
def test_a_prediction_has_the_shapes_and_dtypes_of_python(
    bundle_path: Path, image: Pixels, multimask: bool
) -> None:
    native, python = (
        NativePredictor.from_bundle(bundle_path, "openvino"),
        Predictor.from_bundle(bundle_path, "openvino"),
    )
    prompts = [Prompt(box=BOX), Prompt(points=[(5, 6)], background_points=np.array([[7, 8], [9, 9]]))]
    native.set_image(image)
    python.set_image(image)
    actual = native.predict(prompts=prompts, multimask=multimask)
    expected = python.predict(prompts=prompts, multimask=multimask)
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(actual, name), array, strict=True)
    kept = actual.masks.copy()
    native.predict(box=(0, 0, 9, 9))
    np.testing.assert_array_equal(actual.masks, kept)  # not the library's memory, which it writes again


REFUSED = [
    {"box": (1, 2, 3)},
    {"box": (0, 0, float("nan"), 9)},
    {"points": [(1, 2, 3)]},
    {"points": [(1, "x")]},
    {"background_points": [(1, 2), (1000, 2)]},
    {"mask_input": np.zeros((16, 15), np.float32)},
    {"mask_input": np.zeros((1, 16, 16), np.float32)},
    {"mask_input": np.full((16, 16), np.nan, np.float32)},
    {"box": BOX, "prompts": [Prompt(box=BOX)]},
    {"prompts": []},
    {},
]


@built
@pytest.mark.parametrize("arguments", REFUSED)
def test_a_prompt_that_does_not_fit_is_refused_as_by_python(
    bundle_path: Path, image: Pixels, arguments: dict[str, object]
) -> None:
    refusals = []
    for predictor in (
        NativePredictor.from_bundle(bundle_path, "openvino"),
        Predictor.from_bundle(bundle_path, "openvino"),
    ):
        predictor.set_image(image)
        with pytest.raises(GlesamError) as caught:
            predictor.predict(**arguments)  # type: ignore[arg-type]
        refusals.append((type(caught.value), str(caught.value)))
    assert refusals[0] == refusals[1]


@built
@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)]
)
def test_what_is_no_picture_never_reaches_the_library(bundle_path: Path, image: Pixels) -> None:
    with pytest.raises(ImageError, match="expected a uint8 array"):
        NativePredictor.from_bundle(bundle_path).set_image(image)


@built
def test_what_cannot_be_opened_is_refused_as_by_python(bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"expected a folder with bundle\.json, found nothing"):
        NativePredictor.from_bundle(tmp_path / "absent")
    with pytest.raises(BackendError, match="backend 'abacus' is unknown; choose auto or "):
        NativePredictor.from_bundle(bundle_path, "abacus")
    with pytest.raises(ImageError, match="resize 'crop' is unknown"):
        NativePredictor.from_bundle(Bundle.open(bundle_path), resize="crop")


@built
def test_a_long_message_is_cut_between_characters(tmp_path: Path) -> None:
    names = ["n" * shift + "\N{GRINNING FACE}" * 2000 for shift in range(4)]
    for name in names:
        bundle = write_bundle(tmp_path / str(len(name)), files={name: {}})
        with pytest.raises(BundleError) as caught:
            NativePredictor.from_bundle(bundle)
        assert "\N{REPLACEMENT CHARACTER}" not in str(caught.value)


@built
def test_sessions_share_graphs_and_outlive_the_first(bundle_path: Path, image: Pixels) -> None:
    first = NativePredictor.from_bundle(bundle_path)
    first.set_image(image)
    expected = first.predict(box=BOX)
    sessions = [first.new_session() for _ in range(3)]
    first.close()
    first.close()
    with pytest.raises(BackendError, match="closed; open another NativePredictor"):
        first.predict(box=BOX)
    masks = []

    def work(session: NativePredictor) -> None:
        session.set_image(image)
        masks.append(session.predict(box=BOX).masks)

    threads = [threading.Thread(target=work, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(masks) == 3
    for actual in masks:
        np.testing.assert_array_equal(actual, expected.masks)
    del first, sessions, work
    gc.collect()


def test_an_absent_library_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch, bundle_path: Path) -> None:
    monkeypatch.delenv("GLESAM_LIBRARY", raising=False)
    monkeypatch.setattr(native_library, "find_library", lambda name: None)
    with pytest.raises(
        BackendError, match=r"libglesam is not installed; build it with `make cpp`, and set GLE"
    ):
        NativePredictor.from_bundle(bundle_path)


@pytest.mark.parametrize("name", ["/nonexistent/libglesam.so", __file__, find_library("c")])
def test_what_is_not_the_library_is_refused(
    monkeypatch: pytest.MonkeyPatch, bundle_path: Path, name: str
) -> None:
    monkeypatch.setenv("GLESAM_LIBRARY", name)
    with pytest.raises(BackendError, match=r"cannot load the C\+\+ library .* build it with `make cpp`"):
        NativePredictor.from_bundle(bundle_path)


@built
def test_a_library_of_another_abi_is_refused(monkeypatch: pytest.MonkeyPatch, bundle_path: Path) -> None:
    monkeypatch.setattr(native_library, "ABI", "0.2")
    with pytest.raises(BackendError, match=r"expected a C\+\+ library 0\.2, found 0\.1\.0"):
        NativePredictor.from_bundle(bundle_path)
