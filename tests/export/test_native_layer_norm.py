"""SAM's LayerNorm2d as one native LayerNormalization."""

from __future__ import annotations

import torch
from tiny_model import random_model

from glesam.sam_modules import LayerNorm2d
from glesam_export.rewrites.native_layers import NativeLayerNorm2d, for_export


def test_the_native_norm_computes_what_sams_computes() -> None:
    torch.manual_seed(0)
    norm = LayerNorm2d(24, eps=1e-3).double()  # an eps that shows
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = 0.1 * torch.randn(3, 24, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(NativeLayerNorm2d(norm)(x), norm(x), rtol=1e-12, atol=1e-14)


def test_every_norm_is_replaced_in_a_copy_that_shares_the_models_tensors() -> None:
    encoder = random_model("sd15").image_encoder
    before = [type(module) for module in encoder.modules()]
    native = for_export(encoder)
    assert sum(isinstance(module, LayerNorm2d) for module in encoder.modules()) == 2
    assert not any(isinstance(module, LayerNorm2d) for module in native.modules())
    assert [type(module) for module in encoder.modules()] == before
    own = {name: tensor.data_ptr() for name, tensor in encoder.state_dict().items()}
    assert {name: tensor.data_ptr() for name, tensor in native.state_dict().items()} == own
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(native(x), encoder(x))
