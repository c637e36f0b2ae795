"""One contract that every backend and the fake pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_bundle import IMAGE_SIZE

from glesam_runtime import BackendError
from glesam_runtime.engines import BACKENDS, KNOWN_BACKENDS, Engine, open_engine, pick_backend
from glesam_runtime.engines.base import Tensors
from glesam_runtime.engines.fake import FakeEngine
from glesam_runtime.spec import GraphSpec, TensorSpec, bundle_contract

DECODER = bundle_contract(IMAGE_SIZE)["mask_decoder"]


def fake_decoder(feeds: Tensors) -> dict[str, Any]:
    prompts = len(feeds["point_coords"])
    return {
        "low_res_masks": np.zeros((prompts, 4, 16, 16), np.float32),
        "iou_predictions": np.zeros((prompts, 4), np.float32),
    }


@pytest.fixture(params=["fake", *BACKENDS])
def engine(request: pytest.FixtureRequest, bundle_path: Path) -> Engine:
    if request.param == "fake":
        return FakeEngine(DECODER, fake_decoder)
    return open_engine(request.param, bundle_path / "mask_decoder.onnx", DECODER)


def feeds(prompts: int = 2, points: int = 3) -> dict[str, Any]:
    return {
        "image_embeddings": np.zeros((1, 256, 4, 4), np.float32),
        "point_coords": np.zeros((prompts, points, 2), np.float32),
        "point_labels": np.ones((prompts, points), np.int32),
        "mask_input": np.zeros((prompts, 1, 16, 16), np.float32),
        "has_mask_input": np.zeros(prompts, np.float32),
    }


def test_outputs_are_those_of_the_spec_for_any_number_of_prompts(engine: Engine) -> None:
    assert engine.spec == DECODER
    for prompts, points in [(1, 1), (2, 3), (5, 2)]:
        outputs = engine(feeds(prompts, points))
        assert outputs["low_res_masks"].shape == (prompts, 4, 16, 16)
        assert outputs["iou_predictions"].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.pop("mask_input"), "expected image_embeddings, point_coords"),
        (lambda f: f.update(extra=np.zeros(1)), "give exactly the named tensors"),
        (lambda f: f.update(point_labels=np.ones((2, 3))), "point_labels int32"),
        (lambda f: f.update(mask_input=np.zeros((2, 16, 16), np.float32)), "mask_input float32"),
        (lambda f: f.update(has_mask_input=np.zeros(7, np.float32)), "num_prompts = 2"),
    ],
)
def test_feeds_that_do_not_fit_are_refused_with_what_would(
    engine: Engine, change: Callable[[dict[str, Any]], object], expected: str
) -> None:
    wrong = feeds()
    change(wrong)
    with pytest.raises(BackendError, match=expected):
        engine(wrong)


def test_a_closed_engine_says_so_and_closes_twice(engine: Engine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(BackendError, match="closed"):
        engine(feeds())


def test_the_fake_is_held_to_its_outputs_and_records_its_calls() -> None:
    fake = FakeEngine(DECODER, lambda feeds: {"low_res_masks": np.zeros(1, np.float32)})
    with pytest.raises(BackendError, match="mask_decoder output: expected low_res_masks, iou_"):
        fake(feeds())
    assert len(fake.calls) == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "change",
    [
        lambda graph: graph.input[0].__setattr__("name", "embeddings"),
        lambda graph: graph.output.pop(),
        lambda graph: graph.input.add().CopyFrom(
            onnx.helper.make_tensor_value_info("orig_im_size", onnx.TensorProto.FLOAT, [2])
        ),
    ],
)
def test_a_graph_with_a_missing_tensor_is_refused(
    bundle_path: Path, tmp_path: Path, backend: str, change: Callable[[Any], object]
) -> None:
    model = onnx.load(bundle_path / "mask_decoder.onnx")
    change(model.graph)
    for node in model.graph.node:
        node.input[:] = [n.replace("image_embeddings", model.graph.input[0].name) for n in node.input]
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(BackendError, match=r"changed\.onnx: (in|out)puts must be") as caught:
        open_engine(backend, tmp_path / "changed.onnx", DECODER)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_of_another_size_or_dtype_is_refused(bundle_path: Path, backend: str) -> None:
    larger = bundle_contract(128)["mask_decoder"]
    with pytest.raises(BackendError, match=r"expected image_embeddings float32 \[1,256,8,8\], fou"):
        open_engine(backend, bundle_path / "mask_decoder.onnx", larger)
    doubles = GraphSpec(
        "mask_decoder",
        (TensorSpec("image_embeddings", "float64", (1, 256, 4, 4)), *DECODER.inputs[1:]),
        DECODER.outputs,
    )
    with pytest.raises(BackendError, match="expected image_embeddings float64"):
        open_engine(backend, bundle_path / "mask_decoder.onnx", doubles)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_that_is_no_graph_is_refused_in_one_line(tmp_path: Path, backend: str) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(BackendError, match="cannot open this graph") as caught:
        open_engine(backend, tmp_path / "broken.onnx", DECODER)
    assert "\n" not in str(caught.value)


def test_auto_picks_a_backend_of_this_build_and_says_why() -> None:
    name, reason = pick_backend("auto")
    assert name in BACKENDS
    assert reason.startswith("auto: ")


@pytest.mark.parametrize("name", [*sorted(set(KNOWN_BACKENDS) - set(BACKENDS)), "cuda", ""])
def test_a_backend_that_is_absent_names_those_that_are_there(name: str) -> None:
    with pytest.raises(BackendError, match="choose auto or onnxruntime"):
        pick_backend(name)
