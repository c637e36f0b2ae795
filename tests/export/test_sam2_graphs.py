"""SAM 2's graphs in ONNX Runtime compute what the model computes, in the operators that a bundle may use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime  # noqa: TID251 - what it makes of a graph
import pytest
import torch
from torch import Tensor

from glesam.config import NoMemEmbed, tiny_sam2
from glesam.model import GleSam
from glesam.sam2 import stable_masks
from glesam_calib.graph.files import save_onnx
from glesam_export.graphs import graphs
from glesam_export.rewrites.static_stability import Stability
from glesam_export.rewrites.static_stability import stable_masks as graph_stable_masks
from glesam_export.to_onnx import onnx_from_graph


def test_masks_are_chosen_alike_where_scores_are_equal_and_areas_empty() -> None:
    torch.manual_seed(0)
    masks = torch.randint(-3, 4, (200, 4, 5, 5)) / 2.0
    masks[:20, 0], masks[20:40, 0] = -1, 1
    ious = torch.randint(0, 3, (200, 4)) / 2.0
    for threshold in (0.5, 0.75, 0.98):
        expected = stable_masks(masks, ious, 0.5, threshold)
        actual = graph_stable_masks(masks, ious, Stability(0.5, threshold))
        assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))


@pytest.mark.parametrize("place", ["before_gle", "after_gle"])
@torch.no_grad()
def test_onnx_runtime_computes_what_the_model_computes(tmp_path: Path, place: NoMemEmbed) -> None:
    torch.manual_seed(1)
    model = GleSam(tiny_sam2(place)).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1 or not parameter.any():
            parameter.add_(0.2 * torch.randn_like(parameter))
    sessions = {}
    for graph in graphs(model):
        path = tmp_path / f"{graph.name}.onnx"
        save_onnx(onnx_from_graph(graph), path)
        sessions[graph.name] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    image = torch.randn(1, 3, 64, 64)
    points = torch.tensor([[3.0, 5.0], [50.0, 41.0], [0.0, 0.0]])
    prompts = {
        "point_coords": torch.stack([points, points + 1, points + 2]),
        "point_labels": torch.tensor([[2, 3, -1]]).int().expand(3, -1),
        "mask_input": torch.randn(3, 1, 16, 16),
        "has_mask_input": torch.tensor([0.0, 1.0, 0.0]),
    }

    def run(name: str, feeds: dict[str, Tensor]) -> dict[str, Tensor]:
        session = sessions[name]
        outputs = session.run(None, {key: tensor.numpy() for key, tensor in feeds.items()})
        names = [output.name for output in session.get_outputs()]
        return {key: torch.from_numpy(array) for key, array in zip(names, outputs, strict=True)}

    encoded = run("image_encoder", {"image": image})
    assert list(encoded) == ["image_embeddings", "high_res_s0", "high_res_s1"]
    enhanced = run("gle", {"image_embeddings": encoded["image_embeddings"]})
    decoded = run(
        "mask_decoder", encoded | {"image_embeddings": enhanced["image_embeddings_enhanced"]} | prompts
    )
    expected = model(image, *prompts.values())
    for actual, other in zip(decoded.values(), expected, strict=True):
        assert float((actual - other).abs().max() / other.abs().max()) < 1e-4
    assert np.isfinite(decoded["low_res_masks"].numpy()).all()
