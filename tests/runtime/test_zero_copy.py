"""A Predictor on the fakes of TensorRT and CUDA: where data lies, and what is copied when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeGpu, ForeignArray, Work, download
from fake_tensorrt import FakeTensorRt, with_engines
from tiny_bundle import write_bundle

from glesam_runtime import BackendError, Bundle, ImageError, Predictor, Prompt
from glesam_runtime.bundle.spec import Family
from glesam_runtime.engines import pick_for_bundle
from glesam_runtime.engines.tensorrt.cache import bundle_folder
from glesam_runtime.preprocess import Floats, Geometry, Pixels, model_input

BOX = (24, 16, 104, 80)
PROMPTS = [Prompt(BOX), Prompt(points=[(64, 48)]), Prompt((8, 8, 60, 60))]
OTHERS_STREAM = 2  # CUDA's per-thread default stream, for one


@pytest.fixture
def predictor(cached: Bundle) -> Iterator[Predictor]:
    with Predictor.from_bundle(cached, "tensorrt") as predictor:
        yield predictor


@pytest.fixture
def on_cpu(cached: Bundle) -> Predictor:
    return Predictor.from_bundle(cached, "onnxruntime")


def tensor_of(predictor: Predictor, image: Pixels) -> tuple[Floats, Geometry]:
    return model_input(image, predictor.manifest)


def work(gpu: FakeGpu) -> list[str]:
    """Returns the GPU's work since the last call, without marks and waits."""
    done = [name for name in gpu.done if name not in ("mark", "wait")]
    gpu.done.clear()
    return done


def assert_same(a: Any, b: Any) -> None:  # noqa: ANN401
    for field in ("masks", "iou_predictions", "low_res_masks"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


@pytest.mark.parametrize("multimask", [False, True])
def test_masks_are_those_of_the_cpu(
    predictor: Predictor, on_cpu: Predictor, image: Pixels, multimask: bool
) -> None:
    for picture in (image, image // 2, image):  # called, recorded, replayed
        predictor.set_image(picture)
        on_cpu.set_image(picture)
        actual, expected = (
            each.predict(prompts=PROMPTS, multimask=multimask) for each in (predictor, on_cpu)
        )
        assert_same(actual, expected)


def test_nothing_comes_to_the_host_between_the_graphs(
    predictor: Predictor, gpu: FakeGpu, image: Pixels
) -> None:
    predictor.set_image(image)
    assert work(gpu) == ["HostToDevice", "run image_embeddings", "run image_embeddings_enhanced"]
    predictor.predict(box=BOX)
    expected = ["HostToDevice"] * 4 + ["run low_res_masks+iou_predictions"] + ["DeviceToHost"] * 2
    assert work(gpu) == expected


@pytest.mark.parametrize("family", ["sam2", "robustsam"])
def test_the_features_of_another_family_stay_on_the_gpu(
    cached: Bundle, gpu: FakeGpu, tensorrt: FakeTensorRt, image: Pixels, tmp_path: Path, family: Family
) -> None:
    bundle = with_engines(Bundle.open(write_bundle(tmp_path / family, family)), tensorrt)
    on_cpu = Predictor.from_bundle(bundle, "onnxruntime")
    high_res = "+high_res_s0+high_res_s1" if family == "sam2" else ""
    with Predictor.from_bundle(bundle, "tensorrt") as predictor:
        for picture in (image, image // 2, image):
            work(gpu)
            predictor.set_image(picture)
            on_cpu.set_image(picture)
            names = [name.removeprefix("graph ") for name in work(gpu)]
            encode = [f"run image_embeddings{high_res}", "run image_embeddings_enhanced"]
            assert names == ["HostToDevice", *encode]
            actual, expected = (each.predict(prompts=PROMPTS) for each in (predictor, on_cpu))
            assert_same(actual, expected)


def test_static_graphs_are_recorded_once_and_replayed(
    predictor: Predictor, gpu: FakeGpu, image: Pixels
) -> None:
    for _ in range(4):
        predictor.set_image(image)
        predictor.predict(box=BOX)
    assert gpu.calls["cudaStreamBeginCapture"] == 2  # the encoder and GLE; the decoder's shapes change
    assert gpu.calls["cudaGraphLaunch"] == 6
    names = [name for name in work(gpu) if "run" in name]
    assert names[3:5] == ["graph run image_embeddings", "graph run image_embeddings_enhanced"]
    assert all("graph" not in name for name in names if "low_res" in name)


@pytest.mark.parametrize(
    "function", ["cudaStreamBeginCapture", "execute_async_v3", "cudaStreamEndCapture", "cudaGraphInstantiate"]
)
def test_a_refused_recording_is_logged_once_and_changes_nothing(
    predictor: Predictor,
    on_cpu: Predictor,
    gpu: FakeGpu,
    tensorrt: FakeTensorRt,
    image: Pixels,
    function: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if function == "execute_async_v3":
        tensorrt._refused.add("execute_async_v3 while recording")
    else:
        gpu.fail(function, error="cudaErrorStreamCaptureUnsupported")
    with caplog.at_level(logging.WARNING, "glesam_runtime.engines"):
        for _ in range(4):
            predictor.set_image(image)
    on_cpu.set_image(image)
    assert_same(predictor.predict(box=BOX), on_cpu.predict(box=BOX))
    messages = [record.getMessage() for record in caplog.records if record.name.endswith("launch")]
    assert messages[0].startswith("image_encoder runs without a CUDA graph: ")
    assert len(messages) == (2 if function == "execute_async_v3" else 1)  # it refuses GLE's too


def test_a_thousand_images_allocate_nothing_more(predictor: Predictor, gpu: FakeGpu, image: Pixels) -> None:
    def segment() -> None:
        predictor.set_image(image)
        predictor.predict(prompts=PROMPTS)
        predictor.predict_on_device(PROMPTS)

    for _ in range(2):
        segment()
    live, allocated = gpu.live(), gpu.calls["cudaMalloc"] + gpu.calls["cudaMallocHost"]
    for _ in range(998):
        segment()
    assert gpu.live() == live
    assert gpu.calls["cudaMalloc"] + gpu.calls["cudaMallocHost"] == allocated
    predictor.close()
    assert not any(gpu.live().values())


def test_a_preprocessed_device_tensor_is_not_copied(
    predictor: Predictor, on_cpu: Predictor, gpu: FakeGpu, image: Pixels
) -> None:
    tensor, geometry = tensor_of(predictor, image)
    assert geometry == predictor.geometry_of(image.shape[:2])
    foreign = ForeignArray.of(gpu, tensor)
    for _ in range(3):
        predictor.set_tensor(foreign, geometry)
        assert [name.removeprefix("graph ") for name in work(gpu)] == [
            "run image_embeddings",
            "run image_embeddings_enhanced",
        ]
    on_cpu.set_tensor(tensor, geometry)
    assert_same(predictor.predict(prompts=PROMPTS), on_cpu.predict(prompts=PROMPTS))


def test_tensors_at_changing_addresses_are_each_read_in_place(
    predictor: Predictor, on_cpu: Predictor, gpu: FakeGpu, image: Pixels
) -> None:
    pictures = [image, image // 2, image // 3]
    tensors = [tensor_of(predictor, picture) for picture in pictures]
    foreign = [ForeignArray.of(gpu, tensor) for tensor, _ in tensors]
    for turn in (0, 1, 2, 2, 2, 0, 0, 1, 0):
        predictor.set_tensor(foreign[turn], tensors[turn][1])
        on_cpu.set_image(pictures[turn])
        assert_same(predictor.predict(box=BOX), on_cpu.predict(box=BOX))
    assert gpu.calls["cudaStreamBeginCapture"] == 1 + 2  # GLE; the encoder for pictures 2 and 0
    assert gpu.live()["graphs"] == 2


def test_the_stream_of_a_device_tensor_is_waited_for(
    predictor: Predictor, on_cpu: Predictor, gpu: FakeGpu, image: Pixels
) -> None:
    tensor, geometry = tensor_of(predictor, image)
    address = gpu.upload(np.full_like(tensor, np.nan))

    def written_late() -> None:
        gpu.bytes_at(address, tensor.nbytes)[:] = np.frombuffer(tensor.tobytes(), np.uint8)

    gpu.enqueue(OTHERS_STREAM, Work("preprocessing", written_late))
    predictor.set_tensor(ForeignArray(gpu, address, tensor, stream=OTHERS_STREAM), geometry)
    on_cpu.set_image(image)
    assert_same(predictor.predict(box=BOX), on_cpu.predict(box=BOX))


def test_a_misaligned_tensor_is_moved_on_the_device(
    predictor: Predictor, on_cpu: Predictor, gpu: FakeGpu, image: Pixels
) -> None:
    tensor, geometry = tensor_of(predictor, image)
    address = gpu.upload(np.concatenate([np.zeros(1, np.float32), tensor.ravel()]))
    predictor.set_tensor(ForeignArray(gpu, address + 4, tensor), geometry)
    assert work(gpu)[:2] == ["Default", "run image_embeddings"]
    on_cpu.set_image(image)
    assert_same(predictor.predict(box=BOX), on_cpu.predict(box=BOX))


def test_a_device_picture_is_resized_on_the_host(
    predictor: Predictor, on_cpu: Predictor, gpu: FakeGpu, image: Pixels
) -> None:
    foreign = ForeignArray.of(gpu, image)
    predictor.set_image(foreign)
    assert work(gpu)[0] == "DeviceToHost at once"
    on_cpu.set_image(foreign)
    assert_same(predictor.predict(box=BOX), on_cpu.predict(box=BOX))
    with pytest.raises(ImageError, match=r"expected a uint8 array \[H,W,3\], RGB, found float32"):
        predictor.set_image(ForeignArray(gpu, foreign.address, np.zeros((4, 4, 3), np.float32)))


@pytest.mark.parametrize("multimask", [False, True])
def test_logits_stay_on_the_device_on_request(
    predictor: Predictor, gpu: FakeGpu, image: Pixels, multimask: bool
) -> None:
    predictor.set_image(image)
    expected = predictor.predict(prompts=PROMPTS, multimask=multimask)
    work(gpu)
    actual = predictor.predict_on_device(PROMPTS, multimask)
    assert "DeviceToHost" not in work(gpu)
    np.testing.assert_array_equal(download(gpu, actual.low_res_masks), expected.low_res_masks)
    np.testing.assert_array_equal(download(gpu, actual.iou_predictions), expected.iou_predictions)
    assert actual.low_res_masks.__cuda_array_interface__["stream"] is None  # it is computed


def test_logits_of_a_cpu_are_numpy_arrays(on_cpu: Predictor, image: Pixels) -> None:
    on_cpu.set_image(image)
    actual, expected = on_cpu.predict_on_device(PROMPTS), on_cpu.predict(prompts=PROMPTS)
    np.testing.assert_array_equal(actual.low_res_masks, expected.low_res_masks)


def test_logits_are_refused_once_they_are_overwritten_or_freed(predictor: Predictor, image: Pixels) -> None:
    predictor.set_image(image)
    first = predictor.predict_on_device(PROMPTS).low_res_masks
    second = predictor.predict_on_device(PROMPTS).low_res_masks
    with pytest.raises(BackendError, match=r"overwritten or freed: .* copy it to keep it"):
        _ = first.__cuda_array_interface__
    predictor.close()
    with pytest.raises(BackendError, match="overwritten or freed"):
        _ = second.__cuda_array_interface__


def test_more_prompts_than_the_engine_holds_cannot_stay_on_the_device(
    predictor: Predictor, image: Pixels
) -> None:
    predictor.set_image(image)
    with pytest.raises(BackendError, match="at most 8 prompts' answers on the device, found 9"):
        predictor.predict_on_device([Prompt(BOX)] * 9)
    assert len(predictor.predict(prompts=[Prompt(BOX)] * 9).masks) == 9


def test_work_on_the_callers_stream_is_not_waited_for(
    cached: Bundle, on_cpu: Predictor, gpu: FakeGpu, image: Pixels
) -> None:
    predictor = Predictor.from_bundle(cached, "tensorrt", stream=OTHERS_STREAM)
    tensor, geometry = tensor_of(predictor, image)
    foreign = ForeignArray.of(gpu, tensor)
    predictor.set_tensor(foreign, geometry)
    logits = predictor.predict_on_device(PROMPTS).low_res_masks
    assert work(gpu) == []
    assert logits.__cuda_array_interface__["stream"] == OTHERS_STREAM
    assert np.isnan(download(gpu, logits)).all()
    gpu.finish(gpu.streams[OTHERS_STREAM])
    on_cpu.set_image(image)
    expected = on_cpu.predict(prompts=PROMPTS)
    np.testing.assert_array_equal(download(gpu, logits), expected.low_res_masks)


def test_many_calls_queued_on_the_callers_stream_each_have_their_own_numbers(
    cached: Bundle, on_cpu: Predictor, gpu: FakeGpu, image: Pixels
) -> None:
    predictor = Predictor.from_bundle(cached, "tensorrt", stream=OTHERS_STREAM)
    seen: list[np.ndarray] = []
    expected = []
    for picture in (image, image // 2, image // 3):
        predictor.set_image(picture)
        on_cpu.set_image(picture)
        for prompts in (PROMPTS, PROMPTS[1:], PROMPTS[:1]):
            scores = predictor.predict_on_device(prompts).iou_predictions
            logits = predictor.predict_on_device(prompts).low_res_masks.__cuda_array_interface__
            gpu.enqueue(OTHERS_STREAM, Work("reader", partial(read_later, gpu, logits, seen)))
            expected.append(on_cpu.predict(prompts=prompts).low_res_masks)
            with pytest.raises(BackendError, match="overwritten"):
                _ = scores.address
    gpu.finish(gpu.streams[OTHERS_STREAM])
    for actual, required in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(actual, required)


def read_later(gpu: FakeGpu, interface: dict[str, Any], seen: list[np.ndarray]) -> None:
    """Queues a kernel of the caller's."""
    seen.append(download(gpu, SimpleNamespace(__cuda_array_interface__=interface)))


def test_a_stream_of_zero_is_the_default_one(cached: Bundle, gpu: FakeGpu, image: Pixels) -> None:
    predictor = Predictor.from_bundle(cached, "tensorrt", stream=0)
    predictor.set_image(image)
    assert predictor.predict_on_device(PROMPTS).low_res_masks.__cuda_array_interface__["stream"] == 1


def test_two_threads_with_sessions_give_the_single_threaded_masks(
    predictor: Predictor, on_cpu: Predictor, gpu: FakeGpu, tensorrt: FakeTensorRt
) -> None:
    pictures = [
        np.random.default_rng(seed).integers(0, 256, (90 + seed, 120, 3), np.uint8) for seed in range(24)
    ]

    def segment(session: Predictor, picture: Pixels) -> bytes:
        session.set_image(picture)
        prediction = session.predict(points=[(60, 40)])
        return prediction.low_res_masks.tobytes() + prediction.iou_predictions.tobytes()

    expected = [segment(on_cpu, picture) for picture in pictures]
    sessions = [predictor.new_session(), predictor.new_session()]
    assert len(tensorrt._contexts) == 9  # three graphs, three sessions
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(lambda i: [segment(sessions[i], p) for p in pictures[i::2]], range(2))
    actual = [answer for pair in zip(*halves, strict=True) for answer in pair]
    assert actual == expected


def test_a_session_frees_what_is_its_own_and_ends_with_its_predictor(
    predictor: Predictor, gpu: FakeGpu, tensorrt: FakeTensorRt, image: Pixels
) -> None:
    before = gpu.live()
    with predictor.new_session() as session:
        session.set_image(image)
    assert gpu.live() == before
    predictor.set_image(image)
    other = predictor.new_session()
    predictor.close()
    assert not any(gpu.live().values())
    assert not tensorrt._contexts
    with pytest.raises(BackendError, match="closed"):
        other.set_image(image)
    with pytest.raises(BackendError, match="closed"):
        predictor.new_session()


def test_a_session_of_a_cpu_leaves_its_predictor_open(on_cpu: Predictor, image: Pixels) -> None:
    on_cpu.new_session().close()
    on_cpu.set_image(image)
    assert on_cpu.predict(box=BOX).masks.any()


@pytest.mark.parametrize("end", [lambda predictor: predictor.close(), lambda predictor: None])
def test_a_predictor_that_ends_under_its_work_waits_for_it(
    cached: Bundle, gpu: FakeGpu, image: Pixels, end: Callable[[Predictor], None]
) -> None:
    predictor = Predictor.from_bundle(cached, "tensorrt", stream=OTHERS_STREAM)
    predictor.set_image(image)
    predictor.predict_on_device(PROMPTS)
    assert work(gpu) == []
    end(predictor)
    del predictor
    assert work(gpu)[-1] == "run low_res_masks+iou_predictions"


def test_an_image_that_fails_leaves_no_picture(
    predictor: Predictor, tensorrt: FakeTensorRt, image: Pixels
) -> None:
    predictor.set_image(image)
    tensorrt._refused.add("execute_async_v3")
    with pytest.raises(BackendError, match=r"image_encoder: tensorrt 10.3.0 failed to run .*a test"):
        predictor.set_tensor(*tensor_of(predictor, image // 2))
    tensorrt._refused.clear()
    with pytest.raises(ImageError, match="no picture yet"):
        predictor.predict(box=BOX)
    predictor.set_image(image)
    assert predictor.predict(box=BOX).masks.any()


def test_a_geometry_of_another_model_is_refused(predictor: Predictor, image: Pixels) -> None:
    tensor, _ = tensor_of(predictor, image)
    with pytest.raises(ImageError, match="expected one for 64 pixels, found 128"):
        predictor.set_tensor(tensor, Geometry((96, 128), (96, 128), 128))


def test_auto_is_tensorrt_where_a_gpu_answers_and_every_graph_is_cached(cached: Bundle, gpu: FakeGpu) -> None:
    assert pick_for_bundle("auto", cached) == (
        "tensorrt",
        "auto: the bundle's engines for Fake GPU sm86 are cached",
    )
    assert pick_for_bundle("onnxruntime", cached) == ("onnxruntime", "as asked")
    gpu.fail("cudaGetDeviceCount", error="cudaErrorInsufficientDriver")
    assert pick_for_bundle("auto", cached)[0] == "onnxruntime"
    next(bundle_folder(cached.hash).glob("*_gle.engine")).unlink()
    assert pick_for_bundle("auto", cached)[0] == "onnxruntime"


def test_without_a_gpu_one_line_says_so(cached: Bundle, gpu: FakeGpu) -> None:
    gpu.fail("cudaGetDeviceCount", error="cudaErrorNoDevice")
    with pytest.raises(BackendError, match=r"^no GPU here \(cudaErrorNoDevice: .*\); choose") as caught:
        Predictor.from_bundle(cached, "tensorrt")
    assert "\n" not in str(caught.value)


def test_a_missing_engine_leaves_nothing_open(cached: Bundle, gpu: FakeGpu) -> None:
    next(bundle_folder(cached.hash).glob("*_mask_decoder.engine")).unlink()
    with pytest.raises(BackendError, match="glesam-build"):
        Predictor.from_bundle(cached, "tensorrt")
    assert not any(gpu.live().values())
