"""RobustSAM computes what its authors' code computes, for N prompts at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from harness.original_robust_sam import FixedFourierBlock, decode_one, original, published_fourier_block
from tiny_robust_sam import assert_close, in_float64, picture, prompts, tiny_robust_sam
from torch import nn

from glesam.restorers.robust_features import FourierBlock, RobustImageFeatures, RobustMaskFeatures
from glesam.restorers.robust_sam import RobustSam


@pytest.fixture(scope="module")
def pair() -> tuple[RobustSam, Any]:
    """Ours and the authors', with the same weights, in float64."""
    ours = tiny_robust_sam()
    return in_float64(ours), in_float64(original(tiny_robust_sam()))


@torch.no_grad()
def test_the_published_fourier_block_returns_its_input_and_ours_does_not() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 12, 16, 16).double()
    published = published_fourier_block(6).double()
    assert torch.equal(published(x), x)
    ours = FourierBlock(12).double()
    ours.load_state_dict(published.state_dict(), strict=True)
    assert not torch.allclose(ours(x), x, rtol=0.1)
    assert_close(ours(x), FixedFourierBlock(published)(x))


@torch.no_grad()
def test_the_encoder_returns_the_embedding_and_the_first_global_block(pair: tuple[RobustSam, Any]) -> None:
    ours, theirs = pair
    embeddings, early = ours.encode(picture()).tensor_split([256], dim=1)
    expected, features = theirs.image_encoder(picture())
    assert_close(embeddings, expected)
    assert_close(early, features[0].permute(0, 3, 1, 2))
    assert len(features) == 2


@torch.no_grad()
@pytest.mark.parametrize(
    ("build", "name", "channels", "side"),
    [
        (lambda: RobustImageFeatures(32), "fourier_first_layer_features", 32, 8),
        (lambda: RobustImageFeatures(256), "fourier_last_layer_features", 256, 4),
        (RobustMaskFeatures, "fourier_mask_features", 32, 32),
    ],
)
def test_each_amfg_is_the_authors(
    pair: tuple[RobustSam, Any], build: Callable[[], nn.Module], name: str, channels: int, side: int
) -> None:
    ours, theirs = build().double().eval(), getattr(pair[1].mask_decoder, name)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, channels, side, side).double()
    assert_close(ours(x), theirs(x, clear=False))


@torch.no_grad()
def test_masks_of_prompts_at_once_are_the_authors_one_by_one(pair: tuple[RobustSam, Any]) -> None:
    """The image's part, computed once here, is computed for each prompt there."""
    ours, theirs = pair
    coords, labels, masks, has_mask = prompts()
    features = ours.encode(picture())
    embeddings, early = features.tensor_split([256], dim=1)
    actual, ious = ours.decode(ours.enhance(features), coords, labels, masks, has_mask)
    assert actual.shape == (3, 4, 16, 16)
    for i in range(3):
        mask = masks[i : i + 1] if has_mask[i] else None
        sparse, dense = theirs.prompt_encoder(points=None, boxes=coords[i].reshape(1, 4), masks=mask)
        expected, expected_ious = decode_one(theirs, embeddings, early.permute(0, 2, 3, 1), sparse, dense)
        assert expected.shape == (1, 16, 16, 16)
        assert_close(actual[i : i + 1], expected[:, :4])
        assert_close(ious[i : i + 1], expected_ious)
