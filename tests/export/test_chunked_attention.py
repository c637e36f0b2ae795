"""Self-attention in chunks computes what it computes at once, in float64."""

from __future__ import annotations

import pytest
import torch
from tiny_model import STYLES, Style, random_model

from glesam_export.folds import fold_all
from glesam_export.rewrites import chunked_attention
from glesam_export.rewrites.chunked_attention import ChunkedAttention, chunked_self_attention


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("chunk", [1, 5, 16, 512])
@torch.no_grad()
def test_it_is_exact(style: Style, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that fit, one that is left over, and a single one."""
    monkeypatch.setattr(chunked_attention, "CHUNK", chunk)
    folded, _ = fold_all(random_model(style).double().gle)
    chunked = chunked_self_attention(folded)
    assert any(isinstance(module, ChunkedAttention) for module in chunked.modules())
    assert not any(isinstance(module, ChunkedAttention) for module in folded.modules())
    z = torch.randn(1, 256, 8, 8, dtype=torch.float64)
    expected = folded(z)
    assert float((chunked(z) - expected).abs().max() / expected.abs().max()) < 1e-13
