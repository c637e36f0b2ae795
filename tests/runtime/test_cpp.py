"""The C++ library computes, and refuses, what the Python package does. `make cpp` builds it."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from int8_weights import FORMS, attention_in_float64, relative_error, write_attention
from native import LIBRARY, NativeSteps, choose_backend
from PIL import Image
from tiny_bundle import IMAGE_SIZE, manifest, model_of, write_bundle, write_manifest, write_precisions

from glesam_runtime import Bundle, GlesamError, Predictor, Prompt, read_image
from glesam_runtime.bundle.reader import default_bundle_path
from glesam_runtime.engines import pick_backend, pick_for_bundle
from glesam_runtime.errors import BackendError
from glesam_runtime.postprocess import MaskResizer
from glesam_runtime.preprocess import RESIZES, Pixels, longest_side, preprocess
from glesam_runtime.prompts import PromptTensors, encode_prompts
from glesam_runtime.tools.parity import mask_iou

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not built: make cpp")
ROOT = Path(__file__).parents[2]
COMMAND = LIBRARY.parents[1] / "examples/cpp/glesam-cpp"
PHOTO = ROOT / "examples/photos/astronaut_lq3.jpg"
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SIZES = [
    (96, 128),
    (128, 96),
    (64, 64),
    (1, 1),
    (1, 700),
    (700, 1),
    (17, 31),
    (63, 65),
    (480, 641),
    (641, 480),
]
SIZES += [tuple(size) for size in np.random.default_rng(3).integers(1, 300, (30, 2)).tolist()]

INT8_GLE = """
<ir_version: 8, opset_import: ["" : 18]>
gle (float[1,256,4,4] image_embeddings) => (float[1,256,4,4] image_embeddings_enhanced)
<float one = {1.0}, int8 zero = {0}, int8[256,256,1,1] weight, float[256] ones, int8[256] zeros>
{
  steps = QuantizeLinear (image_embeddings, one, zero)
  restored = DequantizeLinear (steps, one, zero)
  w = DequantizeLinear <axis = 0> (weight, ones, zeros)
  image_embeddings_enhanced = Conv (restored, w)
}
"""

BACKENDS = ("openvino", "onnxruntime")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, bundle_path: Path) -> str:
    """Each backend that the library may have been built with."""
    NativeSteps.or_skip(bundle_path, request.param)
    return str(request.param)


@pytest.fixture
def native(bundle_path: Path) -> NativeSteps:
    return NativeSteps.from_bundle(bundle_path)


@pytest.mark.parametrize("resize", list(RESIZES))
def test_pictures_of_any_size_are_preprocessed_to_the_bit(bundle_path: Path, resize: str) -> None:
    predictor = NativeSteps.from_bundle(bundle_path, resize=resize)
    for seed, size in enumerate(SIZES):
        image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        tensor, geometry = predictor.preprocess(image, IMAGE_SIZE)
        expected, python = preprocess(image, IMAGE_SIZE, MEAN, STD, resize)
        np.testing.assert_array_equal(tensor, expected, err_msg=str(size))
        assert (geometry.resized_height, geometry.resized_width) == python.resized_size


@pytest.mark.parametrize("layout", ["bgr", "rgba", "bgra", "mono8"])
def test_every_pixel_format_gives_what_its_rgb_gives(native: NativeSteps, layout: str, image: Pixels) -> None:
    if layout == "mono8":
        pixels, rgb = np.ascontiguousarray(image[..., 0]), np.repeat(image[..., :1], 3, axis=2)
    else:
        alpha = np.zeros((*image.shape[:2], 1), np.uint8)
        ordered = image if layout.startswith("rgb") else image[..., ::-1]
        pixels = np.ascontiguousarray(np.concatenate([ordered, alpha], 2) if "a" in layout else ordered)
        rgb = image
    actual, _ = native.preprocess(pixels, IMAGE_SIZE, layout)
    np.testing.assert_array_equal(actual, native.preprocess(rgb, IMAGE_SIZE)[0])


def test_rows_with_gaps_are_read_without_them(native: NativeSteps, image: Pixels) -> None:
    part = image[10:70, 5:100]
    actual, _ = native.preprocess(part, IMAGE_SIZE)
    np.testing.assert_array_equal(actual, preprocess(part, IMAGE_SIZE, MEAN, STD)[0])


@pytest.mark.parametrize("resize", list(RESIZES))
def test_masks_of_any_size_are_the_same_bits(native: NativeSteps, resize: str) -> None:
    for seed, size in enumerate(SIZES):
        geometry = RESIZES[resize].geometry(size, IMAGE_SIZE)
        # Few values: many pixels lie at the threshold but for the rounding of their sums.
        logits = (np.random.default_rng(seed).integers(-3, 4, (2, 16, 16)) / 10).astype(np.float32)
        expected = MaskResizer.for_geometry(geometry).masks(logits, threshold=0.0)
        np.testing.assert_array_equal(native.postprocess(logits, geometry), expected, err_msg=str(size))


PROMPTS = [
    [Prompt(box=(20, 10, 60, 50))],
    [Prompt(points=[(20.3, 10.7)], background_points=[(40, 80), (2, 2)])],
    [Prompt((0, 0, 128, 96), [(64, 48)])],
    [Prompt((-1, -0.4, 128.3, 97), [(-0.5, 96), (128, -1), (127.5, 95.5)], [(129, 97)])],
    [Prompt(box=(0, 0, 9, 9)), Prompt(points=[(1, 1), (2, 2), (3, 3)])],
    [Prompt(mask_input=np.full((16, 16), 3, np.float32)), Prompt(points=[(5, 5)])],
]


@pytest.mark.parametrize("prompts", PROMPTS)
def test_prompts_are_encoded_to_the_bit(native: NativeSteps, prompts: list[Prompt]) -> None:
    geometry = longest_side((96, 128), IMAGE_SIZE)
    actual, expected = native.encode_prompts(prompts, geometry), encode_prompts(prompts, geometry)._asdict()
    assert list(actual) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)
        assert actual[name].dtype == array.dtype


REFUSED_PROMPTS = [
    *([Prompt(box=box)] for box in [(-1.5, 0, 10, 10), (0, 0, 130, 10), (0, 0, 10, 97.5), (10, 10, 5, 20)]),
    *([Prompt(box=box)] for box in [(0, 0, float("nan"), 10), (0, 0, float("inf"), 10), (0, 0, 1e39, 1e-7)]),
    *([Prompt(points=[point])] for point in [(129.1, 0), (0, -1.1), (float("nan"), 0), (1234567.8, 0)]),
    [Prompt(background_points=[(0, 98)])],
    *(
        [Prompt(box=box)]
        for box in [(0.1, 0.2, 0.5, 0.9), (0, 0, 1, 1), (-0.9, 5, -0.1, 9), (128, 5, 129, 9)]
    ),
    [Prompt(mask_input=np.eye(16, dtype=np.float32))],
    [Prompt(mask_input=np.eye(16, dtype=np.float32) * 255)],
    [Prompt(mask_input=np.zeros((15, 16), np.float32))],
    [Prompt(mask_input=np.full((16, 16), np.nan, np.float32))],
    [Prompt()],
    [Prompt(box=(0, 0, 9, 9)), Prompt()],
    [],
]


@pytest.mark.parametrize("prompts", REFUSED_PROMPTS)
def test_a_prompt_is_refused_in_the_same_words(native: NativeSteps, prompts: list[Prompt]) -> None:
    geometry = longest_side((96, 128), IMAGE_SIZE)
    with pytest.raises(GlesamError) as expected:
        encode_prompts(prompts, geometry)
    with pytest.raises(GlesamError) as actual:
        native.encode_prompts(prompts, geometry)
    assert (type(actual.value), str(actual.value)) == (type(expected.value), str(expected.value))


def test_a_predictor_refuses_in_the_same_words(bundle_path: Path, tmp_path: Path, image: Pixels) -> None:
    single = write_bundle(tmp_path / "single", model={"name": "it's", "sam_type": "tiny", "multimask": False})
    native, python = NativeSteps.from_bundle(single), Predictor.from_bundle(single, "openvino")
    box = Prompt(box=(0, 0, 9, 9))

    def refusals(*calls: Any) -> list[str]:  # noqa: ANN401
        messages = []
        for call in calls:
            with pytest.raises(GlesamError) as caught:
                call()
            messages.append(str(caught.value))
        return messages

    assert refusals(
        lambda: native.predict(prompts=[box]), lambda: native.predict(prompts=[box], multimask=True)
    ) == refusals(
        lambda: python.predict(prompts=[box]), lambda: python.predict(prompts=[box], multimask=True)
    )
    assert refusals(lambda: NativeSteps.from_bundle(bundle_path, resize="crop")) == refusals(
        lambda: Predictor.from_bundle(bundle_path, resize="crop")
    )
    assert (
        "is unknown; choose auto or " in refusals(lambda: NativeSteps.from_bundle(bundle_path, "abacus"))[0]
    )
    assert "is not in this build" in refusals(lambda: NativeSteps.from_bundle(bundle_path, "tensorrt"))[0]


def skip_without_both_backends() -> None:
    for name in BACKENDS:
        NativeSteps.or_skip(default_bundle_path(), name)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8+fp16", "int8+fp32", "int8+bf16"])
def test_auto_and_names_mean_what_they_mean_in_python(tmp_path: Path, precision: str) -> None:
    skip_without_both_backends()
    bundle = write_bundle(tmp_path / "bundle", precision=precision)
    write_precisions(bundle, {"image_encoder": (precision, "")})
    chosen, why = choose_backend(bundle)
    expected, python_why = pick_backend("auto", precision)
    assert chosen == expected
    if chosen != "onnxruntime":  # there it says that it is part of the build, in Python of the installation
        assert why == python_why
    if "bf16" in precision:
        with pytest.raises(BackendError) as python:
            pick_backend("onnxruntime", precision)
        with pytest.raises(BackendError) as native:
            choose_backend(bundle, "onnxruntime")
        assert str(native.value) == str(python.value)


@pytest.mark.parametrize("encoder", ["any", "onnxruntime", "openvino", ""])
@pytest.mark.parametrize("gle", ["any", "onnxruntime", "openvino", ""])
def test_the_backend_of_a_bundle_whose_graphs_differ_has_the_name_that_python_gives(
    tmp_path: Path, encoder: str, gle: str
) -> None:
    skip_without_both_backends()
    root = write_bundle(tmp_path / "bundle", precision="int8+fp32")
    targets = {"image_encoder": encoder, "gle": gle}
    graphs = {name: ("int8+fp32" if target else "fp32", target) for name, target in targets.items()}
    bundle = write_precisions(root, graphs)
    assert choose_backend(root)[0] == pick_for_bundle("auto", bundle)[0]


def test_sums_of_int8_products_do_not_saturate(tmp_path: Path, backend: str) -> None:
    """A CPU without VNNI would add them in 16 bits."""
    bundle = write_bundle(tmp_path / "bundle")
    graph = model_of(INT8_GLE)
    weight = np.full((256, 256, 1, 1), 127, np.int8)
    ones, zeros = np.ones(256, np.float32), np.zeros(256, np.int8)
    constants = {"weight": weight, "ones": ones, "zeros": zeros}
    for tensor in [tensor for tensor in graph.graph.initializer if tensor.name in constants]:
        graph.graph.initializer.remove(tensor)
    graph.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in constants.items())
    onnx.save(graph, bundle / "gle.onnx")
    content = manifest(bundle)
    content["graphs"]["gle"]["precision"] = content["precision"] = "int8+fp32"
    write_manifest(bundle, content)
    enhanced = NativeSteps.from_bundle(bundle, backend).enhance(np.full((1, 256, 4, 4), 127, np.float32))
    np.testing.assert_allclose(enhanced, 256 * 127 * 127, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", ["fp32", "int8+fp32", "int8+fp16"])
def test_weights_in_int8_do_not_make_activations_int8(
    own_bundle: Path, backend: str, form: str, precision: str
) -> None:
    """By default both libraries quantize them before such a product, in silence."""
    write_attention(own_bundle / "gle.onnx", form)
    content = manifest(own_bundle)
    content["graphs"]["gle"]["precision"] = precision
    write_manifest(own_bundle, content)
    x = np.random.default_rng(1).normal(size=(1, 256, 4, 4)).astype(np.float32)
    actual = NativeSteps.from_bundle(own_bundle, backend).enhance(x)
    assert relative_error(actual, attention_in_float64(x)) < 1e-5


def test_the_same_masks_as_python_on_photographs(backend: str) -> None:
    path = default_bundle_path()
    native, python = NativeSteps.from_bundle(path, backend), Predictor.from_bundle(path, backend)
    photos = sorted([*(ROOT / "examples/photos").glob("*.jpg"), *(ROOT / "calib").rglob("photos/*.jpg")])
    assert len(photos) >= 5
    for photo in photos:
        image = read_image(photo)
        height, width = image.shape[:2]
        prompts = [
            Prompt((width * 0.1, height * 0.1, width * 0.9, height * 0.9)),
            Prompt(points=[(width / 2, 9)]),
        ]
        native.set_image(image)
        python.set_image(image)
        for multimask in (False, True):
            actual = native.predict(prompts=prompts, multimask=multimask)
            expected = python.predict(prompts=prompts, multimask=multimask)
            np.testing.assert_array_equal(actual.masks, expected.masks, err_msg=str(photo))
            np.testing.assert_allclose(actual.iou_predictions, expected.iou_predictions, atol=1e-4)


def test_logits_of_a_prediction_refine_the_next_as_in_python(
    backend: str, bundle_path: Path, image: Pixels
) -> None:
    native = NativeSteps.from_bundle(bundle_path, backend)
    python = Predictor.from_bundle(bundle_path, backend)
    native.set_pixels(np.ascontiguousarray(image[..., ::-1]), "bgr")
    python.set_image(image)
    first = native.predict(box=(24, 16, 104, 80)).low_res_masks[0]
    again = Prompt(box=(24, 16, 104, 80), mask_input=first)
    np.testing.assert_array_equal(
        native.predict(prompts=[again]).masks, python.predict(prompts=[again]).masks
    )


def test_the_steps_on_golden_vectors_are_python_s_exactly(backend: str) -> None:
    bundle = Bundle.open(default_bundle_path())
    native, python = NativeSteps.from_bundle(bundle.root, backend), Predictor.from_bundle(bundle, backend)
    size = bundle.manifest.image_size
    for name in sorted(name for name in bundle.manifest.files if name.startswith("golden/")):
        golden = np.load(io.BytesIO((bundle.root / name).read_bytes()), allow_pickle=False)
        tensor, _ = native.preprocess(np.ascontiguousarray(golden["image"]), size)
        embeddings = native.enhance(native.encode(tensor, golden["image_embeddings"].shape))
        points = (np.ascontiguousarray(golden[key]) for key in ("point_coords", "point_labels"))
        feeds = PromptTensors.without_masks(*points, size)._asdict()
        actual = native.decode(embeddings, feeds)
        python.set_image(golden["image"])
        picture = python._current()
        expected = python._engines.mask_decoder({"image_embeddings": picture.enhanced, **feeds})
        np.testing.assert_array_equal(embeddings, picture.enhanced)
        np.testing.assert_array_equal(actual["iou_predictions"], expected["iou_predictions"])
        geometry = picture.geometry
        for output in range(4):
            np.testing.assert_array_equal(
                native.postprocess(np.ascontiguousarray(actual["low_res_masks"][:, output]), geometry),
                picture.mask_resizer.masks(
                    expected["low_res_masks"][:, output], bundle.manifest.mask_threshold
                ),
            )


# An attention as a bf16 export has it: its Softmax in fp32, with casts around.
BF16_GLE = """
<ir_version: 8, opset_import: ["" : 18]>
gle (float[1,256,4,4] image_embeddings) => (float[1,256,4,4] image_embeddings_enhanced) {
  flat = Constant <value = int64[3] {1,256,16}> ()
  square = Constant <value = int64[4] {1,256,4,4}> ()
  low = Cast <to = 16> (image_embeddings)
  keys = Reshape (low, flat)
  values = Transpose <perm = [0,2,1]> (keys)
  scores = MatMul (values, keys)
  scores_fp32 = Cast <to = 1> (scores)
  weights_fp32 = Softmax <axis = -1> (scores_fp32)
  weights = Cast <to = 16> (weights_fp32)
  attended = MatMul (weights, values)
  turned = Transpose <perm = [0,2,1]> (attended)
  result = Reshape (turned, square)
  image_embeddings_enhanced = Cast <to = 1> (result)
}
"""


def test_a_bf16_attention_is_python_s_to_the_bit(own_bundle: Path, image: Pixels) -> None:
    onnx.save(model_of(BF16_GLE), own_bundle / "gle.onnx")
    content = manifest(own_bundle)
    content["graphs"]["gle"]["precision"] = "bf16"
    write_manifest(own_bundle, content)
    native, python = (
        NativeSteps.from_bundle(own_bundle, "openvino"),
        Predictor.from_bundle(own_bundle, "openvino"),
    )
    native.set_image(image)
    python.set_image(image)
    box = Prompt(box=(24, 16, 104, 80))
    actual, expected = native.predict(prompts=[box]), python.predict(prompts=[box])
    np.testing.assert_array_equal(actual.masks, expected.masks)
    # In the tiny model only the score depends on GLE's output.
    np.testing.assert_array_equal(actual.iou_predictions, expected.iou_predictions)
    embeddings = np.random.default_rng(0).normal(size=(1, 256, 4, 4)).astype(np.float32)
    enhanced = python._engines.gle({"image_embeddings": embeddings})["image_embeddings_enhanced"]  # type: ignore[misc]
    np.testing.assert_array_equal(native.enhance(embeddings), enhanced)


def test_robust_sams_masks_and_refusals_are_python_s(backend: str, robust_bundle: Path, photo: Path) -> None:
    image = np.array(Image.open(photo))
    prompts = [Prompt(box=(24, 16, 104, 80)), Prompt(points=[(60, 40)])]
    native, python = (kind.from_bundle(robust_bundle, backend) for kind in (NativeSteps, Predictor))
    native.set_image(image)
    python.set_image(image)
    actual, expected = native.predict(prompts=prompts), python.predict(prompts=prompts)
    for name in ("masks", "iou_predictions", "low_res_masks"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), name)
    refusals = []
    for predictor in (native, python):
        with pytest.raises(GlesamError) as multimask:
            predictor.predict(prompts=prompts, multimask=True)
        with pytest.raises(GlesamError) as plain:
            type(predictor).from_bundle(robust_bundle, backend, enhance=False)
        refusals.append((str(multimask.value), str(plain.value)))
    assert refusals[0] == refusals[1]


def test_without_enhancement_gle_is_left_out(backend: str, bundle_path: Path, photo: Path) -> None:
    image = np.array(Image.open(photo))
    plain, python = (
        NativeSteps.from_bundle(bundle_path, backend, enhance=False),
        Predictor.from_bundle(bundle_path, backend, enhance=False),
    )
    plain.set_image(image)
    python.set_image(image)
    box = Prompt(box=(24, 16, 104, 80))
    actual, expected = plain.predict(prompts=[box]), python.predict(prompts=[box])
    np.testing.assert_allclose(actual.iou_predictions, expected.iou_predictions, atol=1e-6)
    with pytest.raises(GlesamError, match="opened without GLE"):
        plain.enhance(np.zeros((1, 256, 4, 4), np.float32))


def glesam(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def test_the_command_writes_the_mask_that_python_computes(tmp_path: Path) -> None:
    bundle = default_bundle_path()
    box = (20, 5, 470, 510)
    done = glesam(PHOTO, "--bundle", bundle, "--box", *box, "--out", tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr
    assert "score 0." in done.stdout
    with Image.open(tmp_path / "mask.png") as picture:
        actual = np.array(picture)
    assert set(np.unique(actual)) == {0, 255}
    with Predictor.from_bundle(bundle) as python:
        python.set_image(read_image(PHOTO))
        expected = python.predict(box=box).masks[0]
    # The system's libjpeg may round otherwise than Pillow's.
    assert mask_iou(actual == 255, expected) >= 0.999
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]


def test_the_command_replaces_nothing_but_files(tmp_path: Path, bundle_path: Path, photo: Path) -> None:
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d/pipe")
    if os.geteuid() == 0:
        os.mknod(tmp_path / "d/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    else:
        (tmp_path / "d/null").symlink_to("/dev/null")
    (tmp_path / "d/folder").mkdir()
    for name in ("pipe", "null", "folder"):
        out = tmp_path / "d" / name
        done = glesam(photo, "--bundle", bundle_path, "--point", 64, 48, "--out", out)
        assert done.returncode == 2
        assert f"cannot write {out} (it is " in done.stderr
        assert not out.is_file()
    assert len(list((tmp_path / "d").iterdir())) == 3


def test_the_command_replaces_no_file_of_its_bundle(own_bundle: Path, photo: Path) -> None:
    before = {path: path.read_bytes() for path in own_bundle.rglob("*") if path.is_file()}
    for out in before:
        done = glesam(photo, "--bundle", own_bundle, "--point", 64, 48, "--out", out)
        assert done.returncode == 2
        assert "it is a file of the bundle" in done.stderr
    assert {path: path.read_bytes() for path in own_bundle.rglob("*") if path.is_file()} == before


def test_the_command_follows_no_link_and_leaves_a_users_own_tmp_file(
    bundle_path: Path, photo: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "victim").write_text("precious")
    (folder / "mask.png").symlink_to(folder / "victim")
    (folder / "mask.png.tmp").write_text("mine")
    (folder / f".mask.png.{'0' * 16}.tmp").write_text("left by a killed run")
    (folder / f".mask.png.{'1' * 16}.tmp").symlink_to(folder / "victim")
    done = glesam(photo, "--bundle", bundle_path, "--point", 64, 48, "--out", folder / "mask.png")
    assert done.returncode == 0, done.stderr
    assert (folder / "victim").read_text() == "precious"
    assert (folder / "mask.png.tmp").read_text() == "mine"
    assert not (folder / "mask.png").is_symlink()
    assert (folder / "mask.png").stat().st_mode == (folder / "mask.png.tmp").stat().st_mode
    assert sorted(path.name for path in folder.iterdir()) == [
        f".mask.png.{'1' * 16}.tmp",
        "mask.png",
        "mask.png.tmp",
        "victim",
    ]


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_the_command_writes_the_mask_that_python_makes_with_as_many_threads(
    tmp_path: Path, backend: str, threads: int
) -> None:
    """ONNX Runtime rounds differently with one thread than with several."""
    out, box = tmp_path / "mask.png", (20, 5, 470, 510)
    command = [PHOTO, "--bundle", default_bundle_path(), "--backend", backend, "--box", *box, "--out", out]
    done = glesam(*command, *(["--threads", threads] if threads else []))
    assert done.returncode == 0, done.stderr
    with Predictor.from_bundle(default_bundle_path(), backend, threads=threads) as predictor:
        predictor.set_image(read_image(PHOTO))
        expected = predictor.predict(box=box).masks[0]
    np.testing.assert_array_equal(np.asarray(Image.open(out)) > 0, expected)


def test_the_command_takes_the_bundle_of_a_key_alone(own_bundle: Path, photo: Path, tmp_path: Path) -> None:
    mine, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    for name, key in (("mine", mine), ("other", other)):
        text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / name).write_bytes(text)
    (own_bundle / "bundle.json.sig").write_bytes(mine.sign((own_bundle / "bundle.json").read_bytes()))
    command = (photo, "--bundle", own_bundle, "--point", 64, 48, "--out", tmp_path / "mask.png")
    assert glesam(*command, "--public-key", tmp_path / "mine").returncode == 0
    for refused in (
        glesam(*command, "--public-key", tmp_path / "other"),
        glesam(*command, GLESAM_PUBLIC_KEY=str(tmp_path / "other")),
    ):
        assert refused.returncode == 2
        assert "expected a signature by the key" in refused.stderr


def test_the_command_notices_a_full_disk(tmp_path: Path, bundle_path: Path, photo: Path) -> None:
    line = [COMMAND, photo, "--bundle", bundle_path, "--point", "64", "48", "--out", tmp_path / "mask.png"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "cannot write to the output" in done.stderr


def test_the_command_reads_png_files_of_every_kind(tmp_path: Path, bundle_path: Path, image: Pixels) -> None:
    picture = Image.fromarray(image)
    for mode in ("RGB", "L", "P", "RGBA", "LA", "1"):
        picture.convert(mode).save(tmp_path / f"{mode}.png")
        out = tmp_path / f"{mode}.mask.png"
        done = glesam(tmp_path / f"{mode}.png", "--bundle", bundle_path, "--point", 64, 48, "--out", out)
        assert done.returncode == 0, done.stderr
        with Image.open(out) as mask:
            assert mask.size == (128, 96)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a picture, found none"),
        ([PHOTO], "expected --bundle DIR, found none"),
        ([PHOTO, "--bundle"], "--bundle: expected a value, found the end"),
        ([PHOTO, "--bundle", "/nonexistent", "--box", 1, 2, 3, 4], "expected a folder with bundle.json"),
        ([PHOTO, "--bundle", "B", "--box", 1, 2, 3], "--box: expected a value, found the end"),
        ([PHOTO, "--bundle", "B", "--point", 1, "2px"], "--point: expected numbers, found '2px'"),
        ([PHOTO, "--bundle", "B", "--point", 600, 2], "point 600 2: expected 0 <= X < 512"),
        ([PHOTO, "--bundle", "B"], "no prompt: give a box, a point or a mask"),
        ([PHOTO, "--bundle", "B", "--point", 1, 1, "--backend", "abacus"], "backend 'abacus' is unknown"),
        (
            [PHOTO, "--bundle", "B", "--point", 1, 1, "--out", "/nonexistent/mask.png"],
            "cannot write /nonexistent",
        ),
        ([PHOTO, PHOTO, "--bundle", "B"], "expected one picture"),
        ([PHOTO, "--bundle", "B", "--threads", "0"], "--threads: expected a whole number from 1 to 1024"),
        ([PHOTO, "--bundle", "B", "--threads", "2x"], "--threads: expected a whole number from 1 to 1024"),
        ([PHOTO, "--bundle", "B", "--point", 1, 1, "--threads", "1025"], "found 1025"),
        ([PHOTO, "--bundle", "B", "--point", 1, 1, "--out", PHOTO], "is the picture; choose another file"),
        (["/nonexistent.png", "--bundle", "B", "--point", 1, 1], "/nonexistent.png: expected a picture"),
        ([__file__, "--bundle", "B", "--point", 1, 1], "expected a picture, found an unknown format"),
        (["/a\x1b[31m\r.png", "--bundle", "B", "--point", 1, 1], "/a\\x1b[31m\\x0d.png: expected a picture"),
        ([PHOTO, "--bundle", "B", "--point", 1, 1, "--public-key", ""], "--public-key: expected a file"),
        ([PHOTO, "--bundle", "B", "--point", 1, 1, "--public-key", PHOTO], "cannot read bundle.json.sig"),
        ([PHOTO, "--frobnicate"], "option --frobnicate is unknown"),
    ],
)
def test_the_command_refuses_in_one_line(arguments: list[object], message: str, bundle_path: Path) -> None:
    done = glesam(*(bundle_path if argument == "B" else argument for argument in arguments))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_cut_picture_is_refused(tmp_path: Path, bundle_path: Path, photo: Path) -> None:
    for source in (PHOTO, photo):
        cut = tmp_path / f"cut{source.suffix}"
        cut.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
        done = glesam(cut, "--bundle", bundle_path, "--point", 1, 1, "--out", tmp_path / "mask.png")
        assert done.returncode == 2
        assert "cannot read the picture to its end" in done.stderr
        assert not (tmp_path / "mask.png").exists()
