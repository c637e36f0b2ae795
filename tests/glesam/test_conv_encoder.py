"""The convolutional encoder: colours in front, then the learned features of every token."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, pixel_shuffle

from glesam.config import EMBEDDING_CHANNELS, ConvEncoderConfig
from glesam.nano.encoder import PLACE_FEATURES, ConvEncoder, SelfAttention, colours, place_features

COLOURS = 48


def encoder(attention_blocks: int = 1) -> ConvEncoder:
    """With running statistics and norms that are not 0 and 1."""
    torch.manual_seed(0)
    config = ConvEncoderConfig((8, 16, 16, 16), (4, 4, 4, 4), (1, 1, 1, 1), attention_blocks)
    made = ConvEncoder(config).requires_grad_(False)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in module.state_dict().values():
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5)
    return made.eval()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 64)])
def test_the_first_channels_are_the_colours_at_any_size(height: int, width: int) -> None:
    image = torch.randn(2, 3, height, width)
    embeddings = encoder()(image)
    assert embeddings.shape == (2, EMBEDDING_CHANNELS, height // 16, width // 16)
    assert torch.equal(embeddings[:, :COLOURS], colours(image))


def test_colours_are_means_of_4_by_4_pixels_that_pixel_shuffle_lays_out_again() -> None:
    image = torch.randn(2, 3, 64, 32)
    actual = colours(image)
    assert actual.shape == (2, COLOURS, 4, 2)
    assert torch.equal(pixel_shuffle(actual, 4), avg_pool2d(image, 4))
    row, column = 2 * 16 + 3 * 4, 1 * 16 + 2 * 4  # stride-4 position (3, 2) of token (2, 1)
    mean = image[1, 2, row : row + 4, column : column + 4].mean()
    torch.testing.assert_close(actual[1, 2 * 16 + 3 * 4 + 2, 2, 1], mean)


def test_the_learned_channels_read_every_stride() -> None:
    made, image = encoder(), torch.randn(1, 3, 64, 64)
    whole = made(image)
    for name in ("lateral4", "lateral8", "lateral16", "lateral32"):
        without = encoder()
        nn.init.zeros_(without.get_submodule(name).weight)
        assert not torch.allclose(without(image), whole, atol=1e-3), name


def test_one_picture_of_a_batch_does_not_change_another() -> None:
    made, images = encoder(), torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(made(images)[1:2], made(images[1:2]), rtol=1e-4, atol=1e-5)


def test_attention_treats_its_tokens_alike() -> None:
    torch.manual_seed(0)
    block, x = SelfAttention(32), torch.randn(2, 32, 3, 5)
    order = torch.randperm(15)

    def permuted(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.flatten(2)[..., order].reshape(tensor.shape)

    with torch.no_grad():
        torch.testing.assert_close(block(permuted(x)), permuted(block(x)), rtol=1e-4, atol=1e-5)


def test_attention_tells_every_cell_about_every_other() -> None:
    torch.manual_seed(0)
    block, x = SelfAttention(32), torch.randn(2, 32, 3, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(x)[0, :, 0, 0].sum(), x)
    assert (gradient[0].abs().amax(0) > 0).all()
    assert (gradient[1] == 0).all()


def test_attention_computes_what_torchs_encoder_layer_computes() -> None:
    torch.manual_seed(0)
    block = SelfAttention(32, heads=4, mlp_ratio=2).eval()
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0, "gelu", batch_first=True, norm_first=True).eval()
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


def test_an_encoder_has_as_many_attention_blocks_as_its_config_says() -> None:
    for blocks in (0, 2):
        made = encoder(blocks)
        assert sum(isinstance(module, SelfAttention) for module in made.modules()) == blocks
        assert made(torch.zeros(1, 3, 32, 32)).shape == (1, EMBEDDING_CHANNELS, 2, 2)


def test_every_cell_knows_its_place() -> None:
    features = place_features(6, 8)
    assert features.shape == (1, PLACE_FEATURES, 6, 8)
    tokens = features[0].flatten(1).T
    assert torch.cdist(tokens, tokens).fill_diagonal_(1).min() > 0.1
    torch.testing.assert_close(features[0, 0, 0], torch.linspace(-1, 1, 8))
    torch.testing.assert_close(features[0, PLACE_FEATURES // 2, :, 0], torch.linspace(-1, 1, 6))
    flat = encoder()(torch.zeros(1, 3, 256, 256))[0, COLOURS:]
    assert not torch.allclose(flat[:, 7, 6], flat[:, 7, 9], atol=1e-3)


def test_the_place_is_added_after_the_neck_too() -> None:
    made = encoder()
    for parameter in made.neck[-1].parameters():
        nn.init.zeros_(parameter)
    learned = made(torch.randn(2, 3, 64, 96))[:, COLOURS:]
    assert torch.equal(learned, made.place_embeddings(4, 6)[:, COLOURS:].expand_as(learned))
