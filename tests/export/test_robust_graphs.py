"""The graphs of RobustSAM compute what the model computes: exact in float64, and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_robust_sam import CONFIG, assert_close, in_float64, picture, prompts, tiny_robust_sam
from torch import Tensor

from glesam.restorers.robust_sam import RobustSam
from glesam.sam_modules import LayerNorm2d
from glesam_calib.graph.files import save_onnx
from glesam_calib.graph.precision import lower_precision
from glesam_export.rewrites.half_spectrum import HalfSpectrum
from glesam_export.rewrites.static_robust import StaticFourierBlock, StaticRestorer
from glesam_export.rewrites.static_robust_decoder import RobustMasks, StaticRobustDecoder
from glesam_export.robust_graphs import robust_graphs
from glesam_export.to_onnx import onnx_from_graph
from glesam_runtime.bundle.graph_rules import check_graph_file
from glesam_runtime.bundle.spec import bundle_contract
from glesam_runtime.engines import open_engine
from glesam_runtime.engines.base import Engine

SIDE = 4
MAX_RELATIVE = {"fp32": 1e-4, "fp16": 2e-2}


@pytest.fixture(scope="module")
def exact() -> RobustSam:
    model: RobustSam = in_float64(tiny_robust_sam())
    # SAM computes the image tokens' places in float32, whatever its weights are.
    places = torch.stack(torch.meshgrid(2 * [(torch.arange(SIDE) + 0.5) / SIDE], indexing="xy"), dim=-1)
    layer: Any = model.prompt_encoder.pe_layer
    encoding = layer._pe_encoding(places).permute(2, 0, 1)
    layer.forward = lambda size: encoding
    return model


@pytest.fixture(scope="module")
def restored(exact: RobustSam) -> tuple[Tensor, Tensor]:
    """A picture's features, of `encode` and of `enhance`."""
    with torch.no_grad():
        features = exact.encode(picture())
        return features, exact.enhance(features)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (16, 16), (64, 64), (256, 256), (4, 12), (20, 8)])
@torch.no_grad()
def test_products_are_the_fourier_transform(height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width).double()
    transform = HalfSpectrum(height, width, torch.float64)
    rows, columns = torch.tensor(transform.column_order)[:, None], torch.tensor(transform.row_order)
    assert sorted(transform.column_order) == list(range(height))
    assert sorted(transform.row_order) == list(range(width // 2 + 1))
    expected = torch.fft.rfft2(x, norm="ortho")
    real, imaginary = transform(x)
    assert_close(real, expected.real[..., rows, columns])
    assert_close(imaginary, expected.imag[..., rows, columns])
    assert_close(transform.inverse(real, imaginary), x)
    other = torch.fft.rfft2(torch.randn_like(x), norm="ortho") * expected
    shuffled = other[..., rows, columns]
    assert_close(
        transform.inverse(shuffled.real, shuffled.imag),
        torch.fft.irfft2(other, s=x.shape[2:], norm="ortho"),
    )


@torch.no_grad()
def test_a_channel_of_zeros_has_the_phase_that_torch_gives_it(exact: RobustSam) -> None:
    block: Any = exact.mask_decoder.fourier_mask_features.fgm_block
    x = torch.randn(1, 64, 16, 16).double()
    x[:, 5] = 0
    assert_close(StaticFourierBlock(block, 16)(x), block(x))


@torch.no_grad()
def test_the_restorer_is_exact(exact: RobustSam, restored: tuple[Tensor, Tensor]) -> None:
    features, expected = restored
    assert_close(StaticRestorer(exact.mask_decoder, SIDE)(features), expected)


@torch.no_grad()
def test_the_decoder_is_exact(exact: RobustSam, restored: tuple[Tensor, Tensor]) -> None:
    decoder = StaticRobustDecoder(exact.prompt_encoder, exact.mask_decoder, SIDE)
    expected = exact.decode(restored[1], *prompts())
    for one, other in zip(decoder(restored[1], *prompts()), expected, strict=True):
        assert_close(one, other)


@torch.no_grad()
def test_the_last_convolution_and_the_masks_weights_change_places() -> None:
    layers = torch.nn.Sequential(LayerNorm2d(64), torch.nn.GELU(), torch.nn.Conv2d(64, 32, 3, padding=1))
    for tensor in layers.double().parameters():
        tensor.add_(torch.randn_like(tensor))
    weights, features = torch.randn(2, 4, 32).double(), torch.randn(2, 64, 8, 8).double()
    packed = torch.randn(1, 512, 2, 2).double()
    expected = weights @ (layers(features) + torch.nn.functional.pixel_shuffle(packed, 4)).flatten(2)
    assert_close(RobustMasks(*layers, 8)(weights, features, packed), expected.reshape(2, 4, 8, 8))


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Engine]:
    """Each graph in both precisions in ONNX Runtime, once the reader of bundles has accepted it."""
    folder = tmp_path_factory.mktemp("robust")
    model = tiny_robust_sam()
    contract = bundle_contract(CONFIG.sam.image_size, "robustsam", 32)
    opened = {}
    for graph in robust_graphs(model):
        onnx, spec = onnx_from_graph(graph), contract[graph.name]
        for precision in MAX_RELATIVE:
            path = folder / f"{graph.name}-{precision}.onnx"
            if precision == "fp16":
                islands = lower_precision(onnx, precision)
                assert ("fourier" in islands) == (graph.name != "image_encoder")
            save_onnx(onnx, path)
            sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
            check_graph_file(path.read_bytes(), spec, path.name, sizes)
            opened[precision, graph.name] = open_engine("onnxruntime", path, spec, precision, threads=1)
    return opened


@pytest.mark.parametrize("precision", MAX_RELATIVE)
@pytest.mark.parametrize("count", [1, 3])
@torch.no_grad()
def test_graphs_in_a_row_give_the_models_masks(
    engines: dict[tuple[str, str], Engine], count: int, precision: str
) -> None:
    image = picture().float()
    names = ("point_coords", "point_labels", "mask_input", "has_mask_input")
    inputs = dict(zip(names, (tensor[:count] for tensor in prompts()), strict=True))
    inputs = {name: t.float() if t.is_floating_point() else t for name, t in inputs.items()}
    encoded = engines[precision, "image_encoder"]({"image": image.numpy()})
    enhanced = engines[precision, "gle"](encoded)["image_embeddings_enhanced"]
    feeds = {"image_embeddings": enhanced} | {name: tensor.numpy() for name, tensor in inputs.items()}
    outputs = engines[precision, "mask_decoder"](feeds)
    expected = tiny_robust_sam()(image, **inputs)
    for one, other in zip(outputs.values(), expected, strict=True):
        assert one.shape == other.shape
        assert abs(one - other.numpy()).max() < MAX_RELATIVE[precision] * other.abs().max()
