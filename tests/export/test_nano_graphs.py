"""nano's networks as graphs: exact rewrites, and in both precisions what PyTorch computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime  # noqa: TID251 - what it makes of a graph
import pytest
import torch
from tiny_model import random_nano
from torch import Tensor

from glesam.model import GleSam
from glesam.nano.encoder import NanoEncoder
from glesam_calib.graph.files import save_onnx
from glesam_calib.graph.precision import lower_precision
from glesam_export.rewrites.native_layers import for_export
from glesam_export.rewrites.static_encoder import static_encoder
from glesam_runtime.bundle.graph_rules import FLOAT_OPERATORS
from glesam_runtime.bundle.spec import bundle_contract
from glesam_runtime.engines import open_engine
from glesam_runtime.engines.base import Array
from glesam_runtime.prompts import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PADDING
from glesam_runtime.tools.parity import MIN_IOU, compare, mask_iou

Arrays = dict[str, Array]

S = 64
MAX_RELATIVE = {"fp32": 1e-5, "fp16": 1e-2}


@pytest.fixture(scope="module")
def narrow() -> GleSam:
    """Read only."""
    return random_nano()


@pytest.fixture(scope="module")
def folder(fp32_graphs: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both precisions of every graph: `<graph>-<precision>.onnx`."""
    root = tmp_path_factory.mktemp("nano")
    names = tuple(bundle_contract(S))
    exported = fp32_graphs("nano", *names)
    for name in names:
        model = ir.load(exported / f"{name}.onnx")
        save_onnx(model, root / f"{name}-fp32.onnx")
        lower_precision(model, "fp16")
        save_onnx(model, root / f"{name}-fp16.onnx")
    return root


@pytest.fixture(scope="module")
def image() -> Tensor:
    """A bright disc on a dark ground."""
    torch.manual_seed(1)
    y, x = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="ij")
    disc = ((x - 30) ** 2 + (y - 34) ** 2 < 16**2).float()
    return 2 * disc - 1 + 0.2 * torch.randn(1, 3, S, S)


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
    narrow: GleSam,
    image: Tensor,
    engine: Callable[[str, Arrays], Arrays],
    precision: str,
    prompts: int,
    kind: str,
) -> None:
    feeds = decoder_feeds(narrow.encode(image), prompts, *PROMPTS[kind])
    actual = engine("mask_decoder", feeds)
    masks, ious = narrow.decode(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    assert actual["low_res_masks"].shape == (prompts, 4, S // 4, S // 4)
    assert compare(actual["low_res_masks"], masks.numpy()).relative < MAX_RELATIVE[precision]
    assert compare(actual["iou_predictions"], ious.numpy()).relative < MAX_RELATIVE[precision]
    assert mask_iou(actual["low_res_masks"] > 0, masks.numpy() > 0) > MIN_IOU[precision]


@torch.no_grad()
def test_openvino_decodes_as_many_prompts_as_each_call_has(
    narrow: GleSam, folder: Path, image: Tensor
) -> None:
    spec = bundle_contract(S)["mask_decoder"]
    decode = open_engine("openvino", folder / "mask_decoder-fp32.onnx", spec)
    for prompts in (1, 3, 1, 2):
        feeds = decoder_feeds(narrow.encode(image), prompts, *PROMPTS["box"])
        masks, _ = narrow.decode(**{name: torch.from_numpy(value) for name, value in feeds.items()})
        assert compare(decode(feeds)["low_res_masks"], masks.numpy()).relative < MAX_RELATIVE["fp32"]


def test_encoder_and_gle_answer_as_pytorch_does(
    narrow: GleSam, image: Tensor, engine: Callable[[str, Arrays], Arrays], precision: str
) -> None:
    expected = narrow.encode(image)
    embeddings = engine("image_encoder", {"image": image.numpy()})["image_embeddings"]
    assert compare(embeddings, expected.numpy()).relative < MAX_RELATIVE[precision]
    enhanced = engine("gle", {"image_embeddings": expected.numpy()})["image_embeddings_enhanced"]
    assert compare(enhanced, narrow.enhance(expected).numpy()).relative < MAX_RELATIVE[precision]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160)])
@torch.no_grad()
def test_the_encoder_with_its_channels_last_is_exact(height: int, width: int) -> None:
    encoder = random_nano().double().image_encoder
    assert isinstance(encoder, NanoEncoder)
    exported = for_export(static_encoder(encoder, side=4))
    images = torch.randn(2, 3, height, width, dtype=torch.float64)
    expected = encoder(images)
    assert float((exported(images) - expected).abs().max() / expected.abs().max()) < 1e-12


@pytest.mark.parametrize("name", ["backbone.blocks.0.depthwise.scale", "detail.bias", "mixers.0.up.bias"])
@torch.no_grad()
def test_what_the_rewrite_moves_matters_to_this_test(name: str) -> None:
    before, changed = (random_nano().image_encoder for _ in range(2))
    changed.state_dict()[name].mul_(1.5)
    x = torch.randn(1, 3, S, S)
    assert float((before(x) - changed(x)).abs().max()) > 1e-4


def test_the_callers_encoder_is_not_changed_and_its_tensors_are_shared() -> None:
    encoder = random_nano().image_encoder
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    exported = for_export(static_encoder(encoder, side=4))
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    own = {tensor.data_ptr() for tensor in encoder.parameters()}
    assert exported.get_parameter("attention.0.qkv.weight").data_ptr() in own
    assert exported.get_parameter("backbone.stem.bias").data_ptr() in own


def test_a_convolution_takes_in_its_norm_and_its_padding(folder: Path) -> None:
    """48 layers of the backbone, 3 of the details, 2 laterals and a 3 x 3 layer of each mixer."""
    kinds = Counter(node.op_type for node in onnx.load(folder / "image_encoder-fp32.onnx").graph.node)
    assert kinds["Conv"] == 48 + 3 + 2 + 2
    assert kinds["Clip"] == 1 + 15 + 16
    assert kinds.keys().isdisjoint({"Pad", "Cast", "Expand", "Shape", "BatchNormalization"})


def test_onnxruntime_runs_relu6_inside_the_convolutions(folder: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(folder / "image_encoder-fp32.onnx", options)
    assert "Clip" not in {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}


def test_the_only_casts_of_the_decoder_are_of_labels(folder: Path) -> None:
    model = onnx.load(folder / "mask_decoder-fp32.onnx").graph
    makers = {name: node.op_type for node in model.node for name in node.output}
    casts = [makers.get(node.input[0]) for node in model.node if node.op_type == "Cast"]
    assert casts == ["Equal"] * 4
    assert not {node.op_type for node in model.node} & {"Shape", "Expand", "Where"}


def test_every_operator_is_one_that_tensorrt_has(folder: Path) -> None:
    for path in folder.iterdir():
        nodes = onnx.load(path).graph.node
        assert {node.op_type for node in nodes} <= FLOAT_OPERATORS, path.name
        assert {node.domain for node in nodes} == {""}


def test_the_number_of_prompts_and_points_stays_open(folder: Path) -> None:
    graph = onnx.load(folder / "mask_decoder-fp16.onnx").graph
    first = {value.name: value.type.tensor_type.shape.dim[0].dim_param for value in graph.input}
    assert [name for name, dim in first.items() if dim != "num_prompts"] == ["image_embeddings"]
    assert {value.type.tensor_type.shape.dim[0].dim_param for value in graph.output} == {"num_prompts"}


def test_the_number_of_boxes_is_one_dimension_throughout(narrow: GleSam, folder: Path, image: Tensor) -> None:
    """One decoder call with 5 prompts of 4 points: other numbers than the exporter's example had."""
    spec = bundle_contract(S)["mask_decoder"]
    run = open_engine("onnxruntime", folder / "mask_decoder-fp32.onnx", spec)
    points = [*PROMPTS["points"][0], (20.0, 20.0, FOREGROUND)]
    feeds = decoder_feeds(narrow.encode(image), 5, points, False)
    masks, _ = narrow.decode(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    assert compare(run(feeds)["low_res_masks"], masks.numpy()).relative < MAX_RELATIVE["fp32"]


def test_the_first_layers_stay_in_fp32_in_bf16(folder: Path) -> None:
    model = ir.load(folder / "image_encoder-fp32.onnx")
    assert "early layers" in lower_precision(model, "bf16")
    kinds = {node.name: node.outputs[0].dtype for node in model.graph if node.op_type in ("Conv", "Clip")}
    early = {name for name, dtype in kinds.items() if dtype == ir.DataType.FLOAT}
    backbone = "image_encoder.backbone"
    convolutions = ("stem", "blocks.0.depthwise", "blocks.0.project", "blocks.1.depthwise")
    assert {f"{backbone}.{name}/Conv" for name in (*convolutions, "blocks.1.expand", "blocks.1.project")} == {
        name for name in early if name.endswith("/Conv")
    }
    assert len(early) == 6 + 4, "with their Clips"
