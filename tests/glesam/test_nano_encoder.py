"""nano's image encoder: four strides and attention behind SAM's interface."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glesam.config import EMBEDDING_CHANNELS, LiteEncoderConfig
from glesam.nano.encoder import ChannelNorm, GlobalAttention, Mixer, NanoEncoder
from glesam.sam_modules import LayerNorm2d


def encoder(attention_blocks: int = 1) -> NanoEncoder:
    """No layer is left at its start, where it does nothing."""
    torch.manual_seed(0)
    made = NanoEncoder(LiteEncoderConfig(attention_blocks=attention_blocks, mixers=1, mixer_channels=16))
    for parameter in made.requires_grad_(False).parameters():
        if not parameter.any():
            parameter.normal_(std=0.1)
    return made.eval()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 64)])
def test_embeddings_have_stride_16_at_any_multiple_of_32(height: int, width: int) -> None:
    embeddings = encoder()(torch.randn(2, 3, height, width))
    assert embeddings.shape == (2, EMBEDDING_CHANNELS, height // 16, width // 16)


def test_embeddings_read_every_stride() -> None:
    made, image = encoder(), torch.randn(1, 3, 64, 64)
    whole = made(image)
    c4, c8, *_ = made.backbone.channels
    stride4, colours = 16 * c4, 16 * (c4 + 3)
    for columns in (slice(0, stride4), slice(stride4, colours), slice(colours, colours + 4 * c8)):
        without = encoder()
        without.detail.weight[:, columns] = 0
        assert not torch.allclose(without(image), whole, atol=1e-3), columns
    for name in ("lateral16", "lateral32"):
        without = encoder()
        nn.init.zeros_(without.get_submodule(name).weight)
        assert not torch.allclose(without(image), whole, atol=1e-3), name


def test_one_image_of_a_batch_does_not_change_another() -> None:
    made, images = encoder(), torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(made(images)[1:2], made(images[1:2]), rtol=1e-4, atol=1e-4)


def test_the_channel_norm_is_sams() -> None:
    torch.manual_seed(0)
    ours, sams = ChannelNorm(32).double(), LayerNorm2d(32).double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    sams.load_state_dict(ours.state_dict())
    x = torch.randn(2, 32, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(x), sams(x), rtol=1e-12, atol=1e-12)


def attention() -> GlobalAttention:
    torch.manual_seed(0)
    block = GlobalAttention(32, heads=4, mlp_ratio=2).eval()
    for parameter in block.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return block


def test_attention_tells_every_position_about_every_other() -> None:
    block, x = attention(), torch.randn(2, 32, 3, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(x)[0, :, 0, 0].sum(), x)
    assert (gradient[0].abs().amax(0) > 0).all()
    assert (gradient[1] == 0).all()


def test_attention_computes_what_torchs_encoder_layer_computes() -> None:
    block = attention()
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0, "relu", batch_first=True, norm_first=True).eval()
    names = {
        "qkv.": "self_attn.in_proj_",
        "proj.": "self_attn.out_proj.",
        "mlp.0.": "linear1.",
        "mlp.2.": "linear2.",
    }
    state = block.state_dict()
    for own, torchs in names.items():
        state = {name.replace(own, torchs) if name.startswith(own) else name: t for name, t in state.items()}
    layer.load_state_dict(state)
    x = torch.randn(2, 32, 3, 5)
    with torch.no_grad():
        expected = layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [GlobalAttention(32), Mixer(32, 16)])
def test_a_new_block_is_the_identity(block: nn.Module) -> None:
    x = torch.randn(1, 32, 4, 6)
    torch.testing.assert_close(block(x), x)


def test_an_encoder_has_as_many_attention_blocks_as_its_config_says() -> None:
    for blocks in (0, 2):
        made = encoder(blocks)
        assert sum(isinstance(module, GlobalAttention) for module in made.modules()) == blocks
        assert made(torch.zeros(1, 3, 32, 32)).shape == (1, EMBEDDING_CHANNELS, 2, 2)
