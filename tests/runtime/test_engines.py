"""One contract that every backend and FunctionEngine pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from fake_tensorrt import plan_of
from onnx import parser
from tiny_bundle import IMAGE_SIZE, SpyEngine

from glesam_runtime import BackendError, Bundle
from glesam_runtime.bundle.spec import GraphSpec, TensorSpec, bundle_contract
from glesam_runtime.engines import ONNX_BACKENDS, TENSORRT, Engine, open_engine, pick_backend
from glesam_runtime.engines.base import Tensors
from glesam_runtime.engines.function import FunctionEngine
from glesam_runtime.engines.onnxruntime import OnnxRuntimeEngine
from glesam_runtime.engines.tensorrt.engine import TensorRtEngine

DECODER = bundle_contract(IMAGE_SIZE)["mask_decoder"]
GLE = bundle_contract(IMAGE_SIZE)["gle"]
"""The graph for tests of a single input and output."""


def zeros(feeds: Tensors) -> dict[str, Any]:
    prompts = len(feeds["point_coords"])
    return {
        "low_res_masks": np.zeros((prompts, 4, 16, 16), np.float32),
        "iou_predictions": np.zeros((prompts, 4), np.float32),
    }


OpenGraph = Callable[[Path, GraphSpec], Engine]


def opener(backend: str, request: pytest.FixtureRequest) -> OpenGraph:
    """Returns a backend's function that opens a graph; TensorRT's uses the fakes of it and of CUDA."""
    if backend != "tensorrt":
        return partial(open_engine, backend)
    library = request.getfixturevalue("tensorrt")._library
    return lambda path, spec: TensorRtEngine.from_plan(library, plan_of(path), spec, path)


NORMED_SUM = """
<ir_version: 8, opset_import: ["" : 18]>
sum (float[1,8,64] a, float[1,8,64] b) => (float[1,8,64] y) <float[64] weight, float[64] bias>
{ s = Add (a, b)
  y = LayerNormalization (s, weight, bias) }
"""


@pytest.fixture(params=[*ONNX_BACKENDS, "tensorrt"])
def open_graph(request: pytest.FixtureRequest) -> OpenGraph:
    return opener(request.param, request)


@pytest.fixture(params=["function", *ONNX_BACKENDS, "tensorrt"])
def engine(request: pytest.FixtureRequest, bundle_path: Path) -> Iterator[Engine]:
    if request.param == "function":
        yield FunctionEngine(DECODER, zeros)
    else:
        with closing(opener(request.param, request)(bundle_path / "mask_decoder.onnx", DECODER)) as opened:
            yield opened


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


def test_a_session_answers_as_the_engine_does_and_ends_with_it(engine: Engine) -> None:
    session = engine.new_session()
    answers = [each(feeds()) for each in (engine, session)]
    for name in answers[0]:
        np.testing.assert_array_equal(answers[0][name], answers[1][name])
    engine.close()
    with pytest.raises(BackendError, match="closed"):
        session(feeds())


@pytest.mark.parametrize("backend", TENSORRT)
def test_tensorrt_runs_whole_bundles(bundle_path: Path, backend: str) -> None:
    with pytest.raises(BackendError, match="the engines of a bundle, not a single graph"):
        open_engine(backend, bundle_path / "gle.onnx", GLE)


def test_a_function_is_held_to_the_outputs_of_its_spec() -> None:
    engine = FunctionEngine(DECODER, lambda feeds: {"low_res_masks": np.zeros(1, np.float32)})
    with pytest.raises(BackendError, match="mask_decoder output: expected low_res_masks, iou_"):
        engine(feeds())


def test_a_spy_keeps_what_it_was_called_with() -> None:
    spy = SpyEngine(FunctionEngine(DECODER, zeros))
    spy(feeds(prompts=2))
    spy(feeds(prompts=3))
    assert [len(call["point_labels"]) for call in spy.calls] == [2, 3]


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
    bundle_path: Path, tmp_path: Path, open_graph: OpenGraph, change: Callable[[Any], object]
) -> None:
    model = onnx.load(bundle_path / "mask_decoder.onnx")
    change(model.graph)
    for node in model.graph.node:
        node.input[:] = [n.replace("image_embeddings", model.graph.input[0].name) for n in node.input]
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(BackendError, match=r"changed\.onnx: (in|out)puts must be") as caught:
        open_graph(tmp_path / "changed.onnx", DECODER)
    assert "\n" not in str(caught.value)


def test_a_graph_of_another_size_or_dtype_is_refused(bundle_path: Path, open_graph: OpenGraph) -> None:
    larger = bundle_contract(128)["mask_decoder"]
    with pytest.raises(BackendError, match=r"expected image_embeddings float32 \[1,256,8,8\], fou"):
        open_graph(bundle_path / "mask_decoder.onnx", larger)
    doubles = GraphSpec(
        "mask_decoder",
        (TensorSpec("image_embeddings", "float64", (1, 256, 4, 4)), *DECODER.inputs[1:]),
        DECODER.outputs,
    )
    with pytest.raises(BackendError, match="expected image_embeddings float64"):
        open_graph(bundle_path / "mask_decoder.onnx", doubles)


def test_a_file_that_is_no_graph_is_refused_in_one_line(tmp_path: Path, open_graph: OpenGraph) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(BackendError, match="cannot open this graph") as caught:
        open_graph(tmp_path / "broken.onnx", DECODER)
    assert "\n" not in str(caught.value)


def test_threads_that_share_an_engine_get_their_own_answers(bundle_path: Path, open_graph: OpenGraph) -> None:
    engine = open_graph(bundle_path / "gle.onnx", GLE)

    def is_answered(value: int) -> bool:
        embeddings = np.full((1, 256, 4, 4), value, np.float32)
        answers = [engine({"image_embeddings": embeddings}) for _ in range(20)]
        return all((answer["image_embeddings_enhanced"] == 1.5 * value).all() for answer in answers)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_answered, range(8)))


def test_an_answer_owns_its_memory_and_outlives_the_engine(bundle_path: Path, open_graph: OpenGraph) -> None:
    engine = open_graph(bundle_path / "gle.onnx", GLE)
    answer = engine({"image_embeddings": np.ones((1, 256, 4, 4), np.float32)})["image_embeddings_enhanced"]
    engine.close()
    assert answer.flags.owndata
    assert (answer == 1.5).all()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_auto_is_onnxruntime_and_says_why(precision: str) -> None:
    name, reason = pick_backend("auto", precision)
    assert name == "onnxruntime"
    assert reason.startswith("auto: ")


@pytest.mark.parametrize("name", ["directml", "tensorrt-llm", ""])
def test_an_unknown_backend_names_the_known_ones(name: str) -> None:
    with pytest.raises(BackendError, match="choose auto or onnxruntime or openvino"):
        pick_backend(name, "fp32")


def test_bf16_is_for_openvino() -> None:
    name, reason = pick_backend("auto", "bf16")
    assert (name, "bf16" in reason) == ("openvino", True)
    assert pick_backend("openvino", "bf16") == ("openvino", "as asked")


def test_onnxruntime_refuses_bf16_before_it_opens_anything(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"onnxruntime has no bf16 .* choose openvino"):
        open_engine("onnxruntime", tmp_path / "absent.onnx", DECODER, "bf16")


@pytest.mark.parametrize(
    ("backend", "cure"),
    [("onnxruntime", "pip install onnxruntime"), ("openvino", r"pip install 'glesam\[openvino\]'")],
)
def test_a_missing_library_is_one_line(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, cure: str
) -> None:
    monkeypatch.delitem(sys.modules, f"glesam_runtime.engines.{backend}", raising=False)
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(BackendError, match=rf"{backend} cannot be imported \(.*\); {cure}$") as caught:
        open_engine(backend, bundle_path / "gle.onnx", GLE)
    assert "\n" not in str(caught.value)


def test_auto_without_openvino_says_what_a_bf16_bundle_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match=r"openvino is not installed; pip install 'glesam\[openvino\]'"):
        pick_backend("auto", "bf16")


def test_onnxruntime_leaves_a_sum_and_its_norm_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's fusion of the two takes five times as long."""
    model = parser.parse_model(NORMED_SUM)
    for name in ("weight", "bias"):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(64, np.float32), name))
    onnx.save(model, tmp_path / "sum.onnx")
    real = onnxruntime.InferenceSession

    def session(path: Path, options: Any, **more: Any) -> Any:  # noqa: ANN401 - a foreign signature
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        return real(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    shape = (1, 8, 64)
    tensors = [TensorSpec(name, "float32", shape) for name in "aby"]
    open_engine(
        "onnxruntime", tmp_path / "sum.onnx", GraphSpec("sum", tuple(tensors[:2]), (tensors[2],)), "fp32"
    )
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert kinds == {"Add", "LayerNormalization"}


def test_onnx_runtime_reads_a_spec_from_the_graph_itself(tmp_path: Path) -> None:
    """Each open size has a name of its own: none is bound to that of another tensor."""
    tensors = "(uint8[1,3,h,w] a) => (uint8[1,3,h,w2] y)"
    text = f'<ir_version: 8, opset_import: ["" : 18]> g {tensors} {{ y = Concat <axis = 3> (a, a) }}'
    path = tmp_path / "graph.onnx"
    onnx.save(parser.parse_model(text), path)
    with closing(OnnxRuntimeEngine(path, None)) as engine:
        assert engine.spec.inputs == (TensorSpec("a", "uint8", (1, 3, "a_2", "a_3")),)
        assert engine.spec.outputs == (TensorSpec("y", "uint8", (1, 3, "y_2", "y_3")),)
        assert engine({"a": np.ones((1, 3, 2, 5), np.uint8)})["y"].shape == (1, 3, 2, 10)
        with pytest.raises(BackendError, match=r"expected a uint8 \[1,3,a_2,a_3\]"):
            engine({"a": np.ones((1, 4, 2, 5), np.uint8)})


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_open_engine_keeps_no_copy_of_the_file(bundle_path: Path, backend: str) -> None:
    bundle = Bundle.open(bundle_path)
    content = bundle.graph_content("image_encoder")
    before = sys.getrefcount(content.model)
    with closing(open_engine(backend, content, bundle.manifest.graphs["image_encoder"].spec)):
        after = sys.getrefcount(content.model)
    assert after == before
