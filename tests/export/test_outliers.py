"""fp16 where a naive fp16 export breaks: activations and attention scores as large as real models have them.

Graphs run in ONNX's reference evaluator, where numpy rounds the result of every operator to the type that the
graph states. ONNX Runtime on x86 computes fp16 graphs in fp32 between casts, and would hide every overflow.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from onnx.reference import ReferenceEvaluator
from tiny_model import STYLES, Style, random_model
from torch import Tensor, nn

from glesam.model import GleSam
from glesam_calib.graph import precision
from glesam_calib.graph.precision import HALF_MAX, lower_precision
from glesam_export.graphs import Graph, graphs
from glesam_export.rewrites.static_gle import shared_copy
from glesam_export.to_onnx import onnx_from_graph, quiet_exporter

MASSIVE = 1400.0
"""What residual channels of SAM's encoders reach."""
NECK_SCALE = 40
"""Brings the neck's first convolution to about 19,000: no norm of the neck changes its answer by it."""
CELLS = 8
TOLERANCE = {"fp16": 0.005, "bf16": 0.015}
"""Largest relative error of the answer: ten of fp16's rounding errors (5e-4), four of bf16's (4e-3).

More would let a bf16 encoder without its LayerNormalization islands pass (0.02).
"""


@pytest.fixture(scope="module")
def massive() -> GleSam:
    """Two residual channels of the encoder carry +-1,400 from the first block to a neck of large values."""
    model = random_model("sd15")
    with torch.no_grad():
        model.image_encoder.pos_embed[..., 3] += MASSIVE
        model.image_encoder.pos_embed[..., 17] -= MASSIVE
        model.image_encoder.neck[0].weight *= NECK_SCALE
    return model


@pytest.fixture(scope="module", params=STYLES)
def large_scores(request: pytest.FixtureRequest) -> GleSam:
    """Every self-attention of the U-Net has scores beyond 65,504 before they are scaled, but not after."""
    style: Style = request.param
    model = random_model(style)
    z = embeddings()
    for attention in self_attentions(model.gle.unet):
        largest = max(record_scores(model, attention, z))
        factor = (1.5 * HALF_MAX / largest) ** 0.5
        with torch.no_grad():
            for layer in (attention.to_q, attention.to_k):
                for parameter in (layer.base_layer.weight, layer.lora_B["default"].weight):
                    parameter *= factor
    return model


def self_attentions(unet: nn.Module) -> Iterator[Attention]:
    for name, module in unet.named_modules():
        if name.endswith("attn1"):
            yield module


def record_scores(model: GleSam, attention: Attention, z: Tensor) -> list[float]:
    """The largest |q . k| of a self-attention while GLE runs, before the scale."""
    actual: list[float] = []

    def look(module: Attention, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        x = args[0] if args else kwargs["hidden_states"]
        q, k = (p(x).unflatten(2, (module.heads, -1)).transpose(1, 2) for p in (module.to_q, module.to_k))
        actual.append(float((q @ k.transpose(2, 3)).abs().max()))

    handle = attention.register_forward_pre_hook(look, with_kwargs=True)
    with torch.no_grad():
        model.enhance(z)
    handle.remove()
    return actual


def embeddings() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 256, CELLS, CELLS, generator=generator)


def image() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(1, 3, 64, 64, generator=generator)


def run(model: ir.Model, feed: Tensor) -> np.ndarray:
    proto = ir.to_proto(model)
    (name,) = (value.name for value in proto.graph.input)
    with np.errstate(all="ignore"):
        (answer,) = ReferenceEvaluator(proto).run(None, {name: feed.numpy()})
    return np.asarray(answer, np.float64)


def exported(model: GleSam, name: str, feed: Tensor) -> onnx.ModelProto:
    (graph,) = (graph for graph in graphs(model) if graph.name == name)
    fed = Graph(name, graph.module, {next(iter(graph.example)): feed}, graph.outputs, {})
    return ir.to_proto(onnx_from_graph(fed))


@pytest.fixture(scope="module")
def massive_graph(massive: GleSam) -> onnx.ModelProto:
    return exported(massive, "image_encoder", image())


@pytest.fixture(scope="module")
def large_scores_graph(large_scores: GleSam) -> onnx.ModelProto:
    return exported(large_scores, "gle", embeddings())


def naive(module: nn.Module, feed: Tensor, monkeypatch: pytest.MonkeyPatch) -> ir.Model:
    """The module as it stands, every float of it in fp16."""
    with quiet_exporter():
        program = torch.onnx.export(module, (feed,), dynamo=True, opset_version=18, verbose=False)
    assert program is not None
    monkeypatch.setattr(precision, "find_islands", lambda _: {})
    lower_precision(program.model, "fp16")
    return program.model


def error(actual: np.ndarray, expected: Tensor) -> float:
    """Relative; infinite where anything is not finite."""
    if not np.isfinite(actual).all():
        return float("inf")
    target = expected.numpy().astype(np.float64)
    return float(np.linalg.norm(actual - target) / np.linalg.norm(target))


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_the_encoder_withstands_massive_activations(
    massive: GleSam, massive_graph: onnx.ModelProto, kind: str
) -> None:
    with torch.no_grad():
        expected = massive.encode(image())
    model = ir.from_proto(massive_graph)
    lower_precision(model, kind)
    assert error(run(model, image()), expected) < TOLERANCE[kind]


def test_the_massive_activations_are_there_and_break_a_naive_export(
    massive: GleSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    encoder = massive.image_encoder
    handles = [
        layer.register_forward_hook(lambda _, __, output: seen.append(float(output.abs().max())))
        for layer in (encoder.blocks[-1], encoder.neck[0])
    ]
    with torch.no_grad():
        expected = massive.encode(image())
    for handle in handles:
        handle.remove()
    residual, neck = seen
    assert 1300 < residual < 1500
    assert 15_000 < neck < HALF_MAX
    model = naive(massive.image_encoder, image(), monkeypatch)
    assert error(run(model, image()), expected) > 0.1


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_gle_withstands_scores_beyond_half_before_scaling(
    large_scores: GleSam, large_scores_graph: onnx.ModelProto, kind: str
) -> None:
    z = embeddings()
    with torch.no_grad():
        expected = large_scores.enhance(z)
    model = ir.from_proto(large_scores_graph)
    lower_precision(model, kind)
    skip = large_scores.gle.skip_scale * z.numpy().astype(np.float64)
    correction = torch.from_numpy(expected.numpy() - skip)
    assert error(run(model, z) - skip, correction) < TOLERANCE[kind]


def test_the_scores_are_beyond_half_and_break_a_naive_export(
    large_scores: GleSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The naive export scales the scores after their product, as diffusers' first attention does."""
    z = embeddings()
    for attention in self_attentions(large_scores.gle.unet):
        largest = max(record_scores(large_scores, attention, z))
        assert attention.scale * largest < HALF_MAX < largest
    with torch.no_grad():
        expected = large_scores.enhance(z)
    usual = shared_copy(large_scores.gle)
    usual.unet.set_attn_processor(AttnProcessor())
    model = naive(usual, z, monkeypatch)
    assert error(run(model, z), expected) == float("inf")
