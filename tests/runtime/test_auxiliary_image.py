"""A second sensor's image on its way into GLE: resized as the picture is, in Python and in C++."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from native import LIBRARY, NativePredictor, choose_backend
from picture_files import GREY, png, tiff
from PIL import Image
from tiny_bundle import GLE, manifest, model_of, write_manifest

from glesam_runtime import BundleError, ImageError, Predictor
from glesam_runtime.bundle.manifest import parse_manifest
from glesam_runtime.image_io.auxiliary import brightness, preprocess_auxiliary, read_auxiliary
from glesam_runtime.preprocess import Pixels, longest_side

# The 64 x 64 values, as 256 channels of 4 x 4, are added to the embedding: each moves the first score.
WITH_SENSOR = (
    GLE.replace(
        "float[1,256,4,4] image_embeddings)",
        "float[1,256,4,4] image_embeddings, float[1,1,64,64] auxiliary_image)",
    )
    .replace(
        "half = ",
        """shape = Constant <value = int64[4] {1,256,4,4}> ()
  added = Reshape (auxiliary_image, shape)
  seen = Add (image_embeddings, added)
  half = """,
    )
    .replace("Mul (image_embeddings, half)", "Mul (seen, half)")
)
IMAGE = {"name": "auxiliary_image", "dtype": "float32", "shape": [1, 1, 64, 64]}
SIZES = [(96, 128), (128, 96), (64, 64), (1, 1), (1, 200), (200, 1), (17, 31), (300, 211)]


@pytest.fixture
def sensing(own_bundle: Path) -> Path:
    """A bundle whose GLE takes the image."""
    onnx.save(model_of(WITH_SENSOR), own_bundle / "gle.onnx")
    content = manifest(own_bundle)
    content["graphs"]["gle"]["inputs"].append(IMAGE)
    write_manifest(own_bundle, content)
    return own_bundle


def pictures(size: tuple[int, int], kind: type) -> tuple[np.ndarray, np.ndarray]:
    """A picture and an auxiliary image of all values of its type."""
    rng = np.random.default_rng(size)
    second = rng.integers(0, np.iinfo(kind).max, size, kind, endpoint=True)
    return rng.integers(0, 256, (*size, 3), np.uint8), second


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_it_lies_where_the_picture_lies_in_values_of_0_to_1(kind: type) -> None:
    _, second = pictures((30, 60), kind)
    second[:, 40:] = np.iinfo(kind).max
    tensor = preprocess_auxiliary(second, longest_side((30, 60), 64))
    assert tensor.shape == (1, 1, 64, 64)
    assert tensor.dtype == np.float32
    assert (tensor[0, 0, :32, 48:] == 1).all()
    assert (tensor[0, 0, 32:] == 0).all()
    scaled = Image.fromarray((second / np.iinfo(kind).max).astype(np.float32))
    expected = scaled.resize((64, 32), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(tensor[0, 0, :32], expected, atol=1e-6)


def test_zeros_are_no_image_and_others_count(sensing: Path, image: Pixels) -> None:
    scores = {}
    with Predictor.from_bundle(sensing) as predictor:
        for name, second in (("none", None), ("zeros", brightness(image) * 0), ("grey", brightness(image))):
            predictor.set_image(image, auxiliary=second)
            scores[name] = float(predictor.predict(points=[(5, 5)]).iou_predictions[0])
    assert scores["none"] == scores["zeros"]
    assert scores["grey"] > scores["none"]


@pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not built: make cpp")
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_cpp_computes_what_python_computes_to_the_bit(sensing: Path, kind: type) -> None:
    backend = choose_backend(sensing)[0]
    with (
        NativePredictor.from_bundle(sensing, backend) as native,
        Predictor.from_bundle(sensing, backend) as python,
    ):
        for size in SIZES:
            picture, second = pictures(size, kind)
            scores = []
            for predictor in (native, python):
                predictor.set_image(picture, auxiliary=second)
                scores.append(predictor.predict(points=[(0, 0)]).iou_predictions)
            np.testing.assert_array_equal(*scores)
            for predictor in (native, python):  # the image before leaves nothing
                predictor.set_image(picture)
                scores.append(predictor.predict(points=[(0, 0)]).iou_predictions)
            np.testing.assert_array_equal(*scores[2:])
            assert scores[2] != scores[0]


@pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not built: make cpp")
def test_cpp_reads_rows_with_gaps_and_refuses_in_pythons_words(
    sensing: Path, bundle_path: Path, image: Pixels
) -> None:
    wide = np.zeros((96, 200), np.uint16)
    wide[:, :128] = pictures((96, 128), np.uint16)[1]
    with NativePredictor.from_bundle(sensing) as native:
        native.set_image(image, auxiliary=wide[:, :128])
        gaps = native.predict(points=[(5, 5)]).iou_predictions
        native.set_image(image, auxiliary=wide[:, :128].copy())
        np.testing.assert_array_equal(native.predict(points=[(5, 5)]).iou_predictions, gaps)
    wrong = np.zeros((96, 127), np.uint8)
    for path, enhance, second in (
        (sensing, True, wrong),
        (sensing, False, wide[:, :128]),
        (bundle_path, True, wide[:, :128]),
    ):
        messages = []
        for predictor in (
            NativePredictor.from_bundle(path, enhance=enhance),
            Predictor.from_bundle(path, enhance=enhance),
        ):
            with pytest.raises(ImageError) as refusal:
                predictor.set_image(image, auxiliary=second)
            messages.append(str(refusal.value))
        assert messages[0] == messages[1]


def test_files_of_8_and_16_bits_are_read_as_stored_and_others_refused(tmp_path: Path) -> None:
    for kind in (np.uint8, np.uint16):
        _, second = pictures((9, 7), kind)
        Image.fromarray(second).save(tmp_path / "grey.png")
        np.testing.assert_array_equal(read_auxiliary(tmp_path / "grey.png"), second)
        assert read_auxiliary(tmp_path / "grey.png").dtype == kind
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "grey.png")
    assert read_auxiliary(tmp_path / "grey.png").tolist() == [[255, 0]]
    Image.fromarray(pictures((9, 7), np.uint8)[0]).save(tmp_path / "colour.png")
    with pytest.raises(ImageError, match="expected a grey auxiliary image of whole numbers"):
        read_auxiliary(tmp_path / "colour.png")
    refused = {
        "signed pixels have no white level; save it with 8 or 16 bits": np.ones((3, 3), np.int32),
        "found floating-point pixels": np.ones((3, 3), np.float32),
    }
    for message, pixels in refused.items():
        Image.fromarray(pixels).save(tmp_path / "deep.tif")
        with pytest.raises(ImageError, match=message):
            read_auxiliary(tmp_path / "deep.tif")
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([255, 255, 255, 0, 0, 0])
    palette.save(tmp_path / "palette.png")
    with pytest.raises(ImageError, match="found a palette; save it in grey"):
        read_auxiliary(tmp_path / "palette.png")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_scaled_to_the_full_range(tmp_path: Path, bits: int) -> None:
    """White of 4 bits is white, and not 15 of 255."""
    numbers = np.arange(16, dtype=np.uint8) % 2**bits
    places = np.unpackbits(numbers[None, :, None], axis=-1)[..., -bits:]
    path = tmp_path / "grey.png"
    path.write_bytes(png(np.packbits(places.reshape(1, -1), axis=1), GREY, bits))
    read = read_auxiliary(path)
    assert read.dtype == np.uint8
    assert read.tolist() == [(numbers * (255 // (2**bits - 1))).tolist()]


def test_sixteen_bits_are_read_in_either_byte_order_and_from_either_end(tmp_path: Path) -> None:
    _, second = pictures((9, 7), np.uint16)
    Image.fromarray(second.astype(">u2")).save(tmp_path / "big_endian.tif")
    (tmp_path / "white_is_zero.tif").write_bytes(tiff((65535 - second).tobytes(), (7, 9), 16, 0))
    for path in tmp_path.iterdir():
        read = read_auxiliary(path)
        np.testing.assert_array_equal(read, second)
        assert read.dtype == np.uint16


def test_twelve_bits_are_scaled_to_sixteen(tmp_path: Path) -> None:
    """Two pixels, white and black, in three bytes."""
    (tmp_path / "twelve.tif").write_bytes(tiff(b"\xff\xf0\x00", (2, 1), 12, 1))
    assert read_auxiliary(tmp_path / "twelve.tif").tolist() == [[65535, 0]]


def test_an_input_of_another_size_is_refused(sensing: Path) -> None:
    text = (sensing / "bundle.json").read_text().replace("auxiliary_image", "other_image")
    with pytest.raises(BundleError, match=r"graphs\.gle\.inputs must be image_embeddings .*other_image"):
        parse_manifest(text.encode())
