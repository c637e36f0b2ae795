"""A model like nano, with a convolutional encoder and a guided decoder, as graphs in both precisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from tiny_model import guided_model
from torch import Tensor

from glesam.model import GleSam
from glesam_calib.graph.files import save_onnx
from glesam_calib.graph.precision import lower_precision
from glesam_export.graphs import graphs
from glesam_export.to_onnx import onnx_from_graph
from glesam_runtime.bundle.graph_rules import FLOAT_OPERATORS
from glesam_runtime.bundle.spec import bundle_contract
from glesam_runtime.engines import open_engine
from glesam_runtime.engines.base import Array
from glesam_runtime.prompts import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PADDING
from glesam_runtime.tools.parity import MIN_IOU, compare, mask_iou

Arrays = dict[str, Array]

S = 64
MAX_RELATIVE = {"fp32": 1e-5, "fp16": 5e-3}


@pytest.fixture(scope="module")
def guided() -> GleSam:
    return guided_model()


@pytest.fixture(scope="module")
def folder(guided: GleSam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both precisions of both graphs that a guided model changes: `<graph>-<precision>.onnx`."""
    root = tmp_path_factory.mktemp("guided")
    for graph in graphs(guided):
        if graph.name != "gle":
            model = onnx_from_graph(graph)
            save_onnx(model, root / f"{graph.name}-fp32.onnx")
            lower_precision(model, "fp16")
            save_onnx(model, root / f"{graph.name}-fp16.onnx")
    return root


@pytest.fixture(scope="module")
def embeddings(guided: GleSam) -> Tensor:
    """Embeddings of a bright disc on a dark ground."""
    torch.manual_seed(1)
    y, x = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="ij")
    disc = ((x - 30) ** 2 + (y - 34) ** 2 < 16**2).float()
    return guided.encode(2 * disc - 1 + 0.2 * torch.randn(1, 3, S, S))


@pytest.fixture
def engine(folder: Path, precision: str) -> Callable[[str, Arrays], Arrays]:
    """The exported graph of this name in `precision`."""

    def run(name: str, feeds: Arrays) -> Arrays:
        return open_engine("onnxruntime", folder / f"{name}-{precision}.onnx", bundle_contract(S)[name])(
            feeds
        )

    return run


def decoder_feeds(
    embeddings: Tensor, prompts: int, points: list[tuple[float, float, int]], with_mask: bool
) -> Arrays:
    """Each prompt a few pixels from the one before it."""
    rng = np.random.default_rng(0)
    coords = np.array([[(x + 3 * i, y + 2 * i) for x, y, _ in points] for i in range(prompts)], np.float32)
    smooth = cv2.GaussianBlur(rng.standard_normal((16, 16, prompts), np.float32), (0, 0), 2)
    return {
        "image_embeddings": embeddings.numpy(),
        "point_coords": coords,
        "point_labels": np.array([[label for *_, label in points]] * prompts, np.int32),
        "mask_input": 20 * smooth.reshape(16, 16, prompts).transpose(2, 0, 1)[:, None].copy(),
        "has_mask_input": np.full(prompts, with_mask, np.float32),
    }


PROMPTS = {
    "box": ([(12.0, 15.0, BOX_TOP_LEFT), (48.0, 53.0, BOX_BOTTOM_RIGHT)], False),
    "points": ([(30.0, 34.0, FOREGROUND), (5.0, 5.0, BACKGROUND), (0.0, 0.0, PADDING)], False),
    "mask": ([(30.0, 34.0, FOREGROUND), (0.0, 0.0, PADDING)], True),
}
"""(x, y, label) of each point, and whether the mask counts."""


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("prompts", [1, 3])
def test_prompts_of_every_kind_are_decoded_as_pytorch_does(
    guided: GleSam,
    embeddings: Tensor,
    engine: Callable[[str, Arrays], Arrays],
    precision: str,
    prompts: int,
    kind: str,
) -> None:
    feeds = decoder_feeds(embeddings, prompts, *PROMPTS[kind])
    actual = engine("mask_decoder", feeds)
    masks, ious = guided.decode(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    assert actual["low_res_masks"].shape == (prompts, 4, S // 4, S // 4)
    assert compare(actual["low_res_masks"], masks.numpy()).relative < MAX_RELATIVE[precision]
    assert compare(actual["iou_predictions"], ious.numpy()).relative < MAX_RELATIVE[precision]
    assert mask_iou(actual["low_res_masks"] > 0, masks.numpy() > 0) > MIN_IOU[precision]


def test_the_encoder_answers_as_pytorch_does(
    guided: GleSam, engine: Callable[[str, Arrays], Arrays], precision: str
) -> None:
    image = torch.randn(1, 3, S, S)
    actual = engine("image_encoder", {"image": image.numpy()})["image_embeddings"]
    assert compare(actual, guided.encode(image).numpy()).relative < MAX_RELATIVE[precision]


def test_weights_that_answer_twice_are_stored_once(guided: GleSam, folder: Path) -> None:
    """Mask 0 is refined: the decoder runs twice in one graph."""
    parts = (guided.prompt_encoder, guided.mask_decoder)
    largest = max((p for part in parts for p in part.parameters()), key=torch.Tensor.numel)
    stored = [tuple(tensor.dims) for tensor in onnx.load(folder / "mask_decoder-fp16.onnx").graph.initializer]
    same_size = [p for part in parts for p in part.parameters() if p.numel() == largest.numel()]
    assert sum(np.prod(dims) == largest.numel() for dims in stored) == len(same_size)


def test_every_operator_is_one_that_tensorrt_has(folder: Path) -> None:
    for path in folder.iterdir():
        nodes = onnx.load(path).graph.node
        assert {node.op_type for node in nodes} <= FLOAT_OPERATORS, path.name
        assert {node.domain for node in nodes} == {""}


def test_the_place_of_a_cell_is_a_constant_of_the_graph(folder: Path) -> None:
    """Sines of whole feature maps are worked out once, when exporting."""
    types = {node.op_type for node in onnx.load(folder / "image_encoder-fp32.onnx").graph.node}
    assert not types & {"Sin", "Cos", "Shape", "Expand"}
    decoder = [node.op_type for node in onnx.load(folder / "mask_decoder-fp32.onnx").graph.node]
    assert (decoder.count("Sin"), decoder.count("Cos")) == (1, 1), "of the prompts' places alone"


def test_the_number_of_prompts_and_points_stays_open(folder: Path) -> None:
    graph = onnx.load(folder / "mask_decoder-fp16.onnx").graph
    first = {value.name: value.type.tensor_type.shape.dim[0].dim_param for value in graph.input}
    assert [name for name, dim in first.items() if dim != "num_prompts"] == ["image_embeddings"]
    assert {value.type.tensor_type.shape.dim[0].dim_param for value in graph.output} == {"num_prompts"}
