"""TensorRT behind the Engine protocol, on fakes of CUDA and TensorRT: order, memory, threads, errors."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeGpu, ForeignArray
from fake_tensorrt import FakeTensorRt, ILogger, plan_of
from tiny_bundle import IMAGE_SIZE

from glesam_runtime import BackendError
from glesam_runtime.bundle.spec import bundle_contract
from glesam_runtime.engines import open_engine
from glesam_runtime.engines.tensorrt.engine import TensorRtEngine
from glesam_runtime.engines.tensorrt.library import python_logger

OpenGraph = Callable[..., TensorRtEngine]
CONTRACT = bundle_contract(IMAGE_SIZE)
RNG = np.random.default_rng(0)
EMBEDDINGS = RNG.normal(size=(1, 256, 4, 4)).astype(np.float32)


def decoder_feeds(prompts: int, points: int = 3) -> dict[str, Any]:
    return {
        "image_embeddings": EMBEDDINGS,
        "point_coords": RNG.uniform(0, 64, (prompts, points, 2)).astype(np.float32),
        "point_labels": RNG.integers(0, 2, (prompts, points)).astype(np.int32),
        "mask_input": RNG.normal(size=(prompts, 1, 16, 16)).astype(np.float32),
        "has_mask_input": RNG.integers(0, 2, prompts).astype(np.float32),
    }


@pytest.fixture
def open_graph(bundle_path: Path, gpu: FakeGpu, tensorrt: FakeTensorRt) -> Iterator[OpenGraph]:
    """Opens graphs by name, and closes them at the end."""
    with ExitStack() as opened:

        def open_graph(name: str) -> TensorRtEngine:
            path = bundle_path / f"{name}.onnx"
            engine = TensorRtEngine.from_plan(tensorrt._library, plan_of(path), CONTRACT[name], path)
            return opened.enter_context(closing(engine))

        yield open_graph


def assert_equal(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name])


@pytest.mark.parametrize("prompts", [1, 8, 9, 20])
def test_more_prompts_than_the_profile_has_are_answered_as_one_call(
    bundle_path: Path,
    open_graph: OpenGraph,
    prompts: int,
) -> None:
    feeds = decoder_feeds(prompts)
    whole = open_engine("onnxruntime", bundle_path / "mask_decoder.onnx", CONTRACT["mask_decoder"])(feeds)
    assert_equal(open_graph("mask_decoder")(feeds), whole)


ALLOCATIONS = ["cudaMalloc", "cudaMallocHost", "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags"]


@pytest.mark.parametrize("name", ["image_encoder", "mask_decoder"])
@pytest.mark.parametrize("function", ALLOCATIONS)
def test_memory_that_runs_out_while_opening_leaves_nothing_allocated(
    open_graph: OpenGraph, gpu: FakeGpu, name: str, function: str
) -> None:
    open_graph(name).close()
    for good in range(gpu.calls[function]):
        gpu.fail(function, after=good)
        with pytest.raises(BackendError, match=r"cudaErrorMemoryAllocation: .*\); free memory") as caught:
            open_graph(name)
        assert "\n" not in str(caught.value)
        assert not any(gpu.live().values())


def test_memory_that_runs_out_for_a_session_leaves_the_engine_working(
    open_graph: OpenGraph, gpu: FakeGpu, tensorrt: FakeTensorRt
) -> None:
    engine = open_graph("gle")
    before = gpu.live()
    gpu.fail("cudaMallocHost", after=1)
    with pytest.raises(BackendError, match="cudaErrorMemoryAllocation"):
        engine.new_session()
    tensorrt._refused.add("create_execution_context")
    with pytest.raises(BackendError, match=r"cannot make an execution context .*; free GPU memory"):
        engine.new_session()
    assert gpu.live() == before
    actual = engine({"image_embeddings": EMBEDDINGS})["image_embeddings_enhanced"]
    np.testing.assert_array_equal(actual, EMBEDDINGS * np.float32(1.5))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "deserialize_cuda_engine",
            r"decoder\.onnx: tensorrt 10\.3\.0 cannot open this graph's engine .*build",
        ),
        ("create_execution_context", "mask_decoder: TensorRT cannot make an execution context"),
        ("set_tensor_address", "mask_decoder: TensorRT refuses the address of low_res_masks"),
    ],
)
def test_what_tensorrt_refuses_while_opening_is_one_line_with_its_reason(
    open_graph: OpenGraph, gpu: FakeGpu, tensorrt: FakeTensorRt, function: str, message: str
) -> None:
    tensorrt._refused.add(function)
    with pytest.raises(BackendError, match=message) as caught:
        open_graph("mask_decoder")
    assert f"[fake.cpp::refuse] Error Code 3: a test refuses {function}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any(gpu.live().values())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("set_input_shape", r"mask_decoder: TensorRT refuses point_coords \[2, 3, 2\] \(.*build the engine"),
        ("set_tensor_address", "mask_decoder: TensorRT refuses the address of image_embeddings"),
        ("execute_async_v3", r"mask_decoder: tensorrt 10\.3\.0 failed to run the graph \(\[fake"),
    ],
)
def test_what_tensorrt_refuses_while_running_spoils_nothing(
    open_graph: OpenGraph, tensorrt: FakeTensorRt, function: str, message: str
) -> None:
    engine, feeds = open_graph("mask_decoder"), decoder_feeds(2)
    expected = engine(feeds)
    tensorrt._refused.add(function)
    with pytest.raises(BackendError, match=message):
        engine(decoder_feeds(2))
    tensorrt._refused.clear()
    assert_equal(engine(feeds), expected)


@pytest.mark.parametrize("function", ["cudaMemcpyAsync", "cudaEventRecord", "cudaStreamSynchronize"])
def test_an_error_of_cuda_while_running_carries_its_name(
    open_graph: OpenGraph, gpu: FakeGpu, function: str
) -> None:
    engine, feeds = open_graph("mask_decoder"), decoder_feeds(2)
    expected = engine(feeds)
    gpu.fail(function, error="cudaErrorIllegalAddress")
    with pytest.raises(BackendError, match=r"^CUDA cannot .* \(cudaErrorIllegalAddress: .*\); start again"):
        engine(decoder_feeds(2))
    assert_equal(engine(feeds), expected)


def test_more_points_than_the_profile_has_are_refused_with_the_limit(open_graph: OpenGraph) -> None:
    with pytest.raises(BackendError, match="at most 6 points per prompt, found 7; give fewer, or build"):
        open_graph("mask_decoder")(decoder_feeds(2, points=7))


def test_device_prompts_are_read_on_the_device_also_in_pieces(
    bundle_path: Path, open_graph: OpenGraph, gpu: FakeGpu
) -> None:
    feeds = decoder_feeds(20)
    whole = open_engine("onnxruntime", bundle_path / "mask_decoder.onnx", CONTRACT["mask_decoder"])(feeds)
    on_device = {name: ForeignArray.of(gpu, array) for name, array in feeds.items()}
    assert_equal(open_graph("mask_decoder")(on_device), whole)
    assert "HostToDevice" not in gpu.done


HALVES = np.zeros((1, 256, 4, 4), np.float16)
LARGER = np.zeros((1, 256, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("array", "changes", "message"),
    [
        (HALVES, {}, r"expected image_embeddings float32 .*found image_embeddings float16"),
        (LARGER, {}, r"found image_embeddings float32 \[1,256,8,8\]"),
        (EMBEDDINGS, {"strides": (16384, 4, 4096, 1024)}, r"in C order, found strides of .* make it cont"),
        (EMBEDDINGS, {"mask": "a mask"}, "masked or big-endian"),
        (EMBEDDINGS, {"typestr": ">f4"}, "masked or big-endian"),
        (EMBEDDINGS, {"typestr": "nonsense"}, "with the CUDA Array Interface 3"),
        (EMBEDDINGS, {"data": None}, "with the CUDA Array Interface 3"),
        (EMBEDDINGS, {"data": (4096, False)}, "address 0x1000 is not memory that a GPU reaches"),
        (EMBEDDINGS, {"data": (0, False)}, "address 0x0 is not memory that a GPU reaches"),
    ],
)
def test_device_arrays_that_do_not_fit_are_refused_in_one_line(
    open_graph: OpenGraph, gpu: FakeGpu, array: np.ndarray, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BackendError, match=message) as caught:
        open_graph("gle")({"image_embeddings": ForeignArray.of(gpu, array, **changes)})
    assert "\n" not in str(caught.value)


def test_strides_of_dimensions_of_size_one_do_not_matter(open_graph: OpenGraph, gpu: FakeGpu) -> None:
    foreign = ForeignArray.of(gpu, EMBEDDINGS, strides=(1, 64, 16, 4))
    actual = open_graph("gle")({"image_embeddings": foreign})["image_embeddings_enhanced"]
    np.testing.assert_array_equal(actual, EMBEDDINGS * np.float32(1.5))


def test_memory_that_has_another_address_on_the_gpu_is_refused(open_graph: OpenGraph, gpu: FakeGpu) -> None:
    """Host memory that a program has page-locked itself may have another address."""
    gpu.devices_view_is_off_by = 4096
    with pytest.raises(BackendError, match=r"address 0x[0-9a-f]+ is not memory that a GPU reaches"):
        open_graph("gle")({"image_embeddings": ForeignArray.of(gpu, EMBEDDINGS)})


def test_an_array_on_another_gpu_is_refused(open_graph: OpenGraph, gpu: FakeGpu) -> None:
    gpu.device_of_memory = 1
    with pytest.raises(BackendError, match="expected an array on GPU 0, where the engine is"):
        open_graph("gle")({"image_embeddings": ForeignArray.of(gpu, EMBEDDINGS)})


def test_a_cpu_refuses_device_arrays_in_one_line(bundle_path: Path, gpu: FakeGpu) -> None:
    engine = open_engine("onnxruntime", bundle_path / "gle.onnx", CONTRACT["gle"])
    with pytest.raises(BackendError, match=r"as a numpy array, for a CPU, found fake_cuda\.ForeignArray"):
        engine({"image_embeddings": ForeignArray.of(gpu, EMBEDDINGS)})


def test_tensorrts_log_is_pythons(tensorrt: FakeTensorRt, caplog: pytest.LogCaptureFixture) -> None:
    logger = python_logger(tensorrt)
    with caplog.at_level(logging.DEBUG, "glesam_runtime.tensorrt"):
        for severity in ILogger.Severity:
            logger.log(severity, severity.name)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "INTERNAL_ERROR"),
        ("ERROR", "ERROR"),
        ("WARNING", "WARNING"),
        ("INFO", "INFO"),
        ("DEBUG", "VERBOSE"),
    ]
    assert (logger.take_error(), logger.take_error()) == ("INTERNAL_ERROR", "it does not say why")


REAL = """
from pathlib import Path
from glesam_runtime import BackendError
from glesam_runtime.engines.tensorrt.compiled import deserialize
from glesam_runtime.engines.tensorrt.library import load_library
from glesam_runtime.bundle.spec import bundle_contract
try:
    deserialize(load_library("tensorrt-rtx"), b"x" * 4096, bundle_contract(64)["gle"], Path("gle.onnx"))
except BackendError as error:
    print(error)
"""


def test_tensorrt_for_rtx_without_a_driver_is_one_line() -> None:
    """Uses the real libraries in a process of its own, which could crash."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has no wheel here")
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith(("no GPU here (cudaError", "gle.onnx: tensorrt-rtx")), line
