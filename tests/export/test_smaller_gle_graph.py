"""A smaller GLE is exported as any other: a static graph of allowed operators that passes the parity gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_model import STYLES, Style, random_model

from glesam.config import tiny
from glesam.model import GleSam, checkpoint_files
from glesam.smaller_gle import Reduction, smaller_gle
from glesam_export.folds import fold_all
from glesam_export.pipeline import ExportOptions, export_bundle
from glesam_runtime import Predictor
from glesam_runtime.bundle.graph_rules import FLOAT_OPERATORS
from glesam_runtime.tools.measure import ImageSets

REDUCTIONS = (Reduction(1, 1, "none"), Reduction(1, 3, "resnet"))
"""With some attention left, and with none."""


def smaller(style: Style, reduction: Reduction) -> GleSam:
    """A tiny model of two layers per block, made smaller."""
    unet = replace(tiny(style).gle.unet, layers_per_block=2)
    return smaller_gle(random_model(style, unet=unet, timestep=200), reduction)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("reduction", REDUCTIONS, ids=["some attention", "none"])
@torch.no_grad()
def test_every_fold_of_a_smaller_gle_is_exact(style: Style, reduction: Reduction) -> None:
    gle = smaller(style, reduction).gle.double()
    z = torch.randn(2, 256, 8, 8, generator=torch.Generator().manual_seed(2)).double()
    folded, reports = fold_all(gle)
    torch.testing.assert_close(folded(z), gle(z), rtol=1e-9, atol=1e-9)
    assert len(reports) == 8


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=["some attention", "none"])
def test_its_bundle_passes_the_gate_with_a_static_graph(reduction: Reduction, tmp_path: Path) -> None:
    model = smaller("sd15", reduction)
    model.save_pretrained(tmp_path / "checkpoint")
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    sets: ImageSets = {"clean": [picture], "lq3": [picture[::-1].copy()]}
    files = checkpoint_files(tmp_path / "checkpoint")
    loaded = GleSam.from_pretrained(tmp_path / "checkpoint")
    assert loaded.config == model.config
    parity = export_bundle(loaded, files, tmp_path / "bundle", sets, ExportOptions(), lambda _: None)
    assert parity.graphs["gle"].relative < 1e-5
    graph = onnx.load(tmp_path / "bundle" / "gle.onnx").graph
    assert {node.op_type for node in graph.node} <= FLOAT_OPERATORS
    assert ("Softmax" in {node.op_type for node in graph.node}) == (reduction.levels_without_attention == 1)
    dims = [dim for value in (*graph.input, *graph.output) for dim in value.type.tensor_type.shape.dim]
    assert all(dim.dim_value > 0 for dim in dims), "no axis is dynamic"
    with Predictor.from_bundle(tmp_path / "bundle", "onnxruntime") as predictor:
        predictor.set_image(picture)
        assert predictor.predict(box=(5, 5, 40, 40)).masks.shape == (1, 48, 64)
