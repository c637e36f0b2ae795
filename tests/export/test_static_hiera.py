"""SAM 2's encoder in the form of its graph computes `glesam.sam2.HieraEncoder`, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from glesam.config import HieraEncoderConfig, NoMemEmbed, tiny_sam2
from glesam.sam2 import HieraEncoder
from glesam_export.rewrites.static_encoder import static_encoder
from glesam_runtime.errors import ConversionError


def encoder_of(place: NoMemEmbed, **changes: object) -> HieraEncoder:
    """With random weights: nothing that starts at zero or one stays there."""
    config = tiny_sam2(place).sam.encoder
    assert isinstance(config, HieraEncoderConfig)
    torch.manual_seed(0)
    encoder = HieraEncoder(replace(config, **changes)).double().eval().requires_grad_(False)  # type: ignore[arg-type]
    for parameter in encoder.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    return encoder


@pytest.mark.parametrize("place", ["before_gle", "after_gle"])
@pytest.mark.parametrize(
    "changes", [{}, {"window_sizes": (8, 4, 14, 7), "num_heads": 2}, {"top_down_levels": (3,)}]
)
@torch.no_grad()
def test_it_is_exact(place: NoMemEmbed, changes: dict[str, object]) -> None:
    encoder = encoder_of(place, **changes)
    image = torch.randn(1, 3, 64, 64).double()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    expected, outputs = encoder(image), static_encoder(encoder, 4)(image)
    assert len(outputs) == 3
    for one, other in zip(outputs, expected, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max() / other.abs().max()) < 1e-11
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


@pytest.mark.parametrize("levels", [(1, 2, 3), (0, 3)])
def test_a_neck_whose_finer_levels_do_not_stand_alone_is_refused(levels: tuple[int, ...]) -> None:
    encoder = encoder_of("before_gle", top_down_levels=levels)
    with pytest.raises(ConversionError, match=r"top_down_levels \[\d.*3\]: expected"):
        static_encoder(encoder, 4)
