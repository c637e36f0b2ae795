"""TensorRT behind the Engine protocol, on fakes of CUDA and TensorRT: order, memory, threads, errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeGpu
from fake_tensorrt import FakeTensorRt, plan_of
from tiny_bundle import IMAGE_SIZE

from glesam_runtime.engines import open_engine
from glesam_runtime.engines.tensorrt.engine import TensorRtEngine
from glesam_runtime.spec import bundle_contract

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
def open_graph(bundle_path: Path, gpu: FakeGpu, tensorrt: FakeTensorRt) -> OpenGraph:
    def open_graph(name: str, stream: int | None = None) -> TensorRtEngine:
        path = bundle_path / f"{name}.onnx"
        return TensorRtEngine.from_plan(tensorrt._library, plan_of(path), CONTRACT[name], path, stream)

    return open_graph


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("prompts", [1, 8, 9, 20])
def test_more_prompts_than_the_profile_has_are_answered_as_one_call(
    bundle_path: Path,
    open_graph: OpenGraph,
    prompts: int,
) -> None:
    feeds = decoder_feeds(prompts)
    whole = open_engine("onnxruntime", bundle_path / "mask_decoder.onnx", CONTRACT["mask_decoder"])(feeds)
    assert_equal(open_graph("mask_decoder")(feeds), whole)
