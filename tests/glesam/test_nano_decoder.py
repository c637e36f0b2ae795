"""nano's mask decoder: prompts and images that do not meet, degenerate prompts, and gradients in bf16."""

from __future__ import annotations

import pytest
import torch
from tiny_model import NARROW_DECODER, random_nano
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, interpolate

from glesam.model import GleSam
from glesam.nano.decoder import CoarseBlock, MiddleBlock, NanoDecoder, weighted

PADDING, BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = -1, 0, 1, 2, 3
Points = list[tuple[float, float, int]]
Answer = tuple[Tensor, Tensor]
BOX: Points = [(8.0, 12.0, TOP_LEFT), (50.0, 33.0, BOTTOM_RIGHT), (0.0, 0.0, PADDING)]
POINTS: Points = [(30.0, 20.0, FOREGROUND), (5.0, 60.0, BACKGROUND), (0.0, 0.0, PADDING)]
BOTH: Points = [(30.0, 20.0, FOREGROUND), *BOX[:2]]
SIDE, MASK_SIDE = 4, 16


@pytest.fixture(scope="module")
def model() -> GleSam:
    return random_nano().double()


def embeddings(images: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(images, 256, SIDE, SIDE, dtype=torch.float64, generator=generator)


def decoded(model: GleSam, z: Tensor, prompts: list[Points], masks: Tensor | None = None) -> Answer:
    """Without masks the mask input is noise, which must not matter."""
    table = torch.tensor(prompts, dtype=torch.float64)
    noise = 5 * torch.randn(len(prompts), 1, MASK_SIDE, MASK_SIDE, dtype=torch.float64)
    has_mask = torch.full((len(prompts),), float(masks is not None), dtype=torch.float64)
    mask_input = noise if masks is None else masks
    return model.decode(z, table[..., :2], table[..., 2].to(torch.int32), mask_input, has_mask)


def assert_same(actual: Answer, expected: Answer) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_masks_and_ious_have_sams_shapes(model: GleSam) -> None:
    masks, ious = decoded(model, embeddings(), [BOX, POINTS, BOTH])
    assert masks.shape == (3, 4, MASK_SIDE, MASK_SIDE)
    assert ious.shape == (3, 4)


def test_prompts_at_once_are_prompts_one_by_one(model: GleSam) -> None:
    together = decoded(model, embeddings(), [BOX, POINTS, BOTH])
    for i, prompt in enumerate([BOX, POINTS, BOTH]):
        alone = decoded(model, embeddings(), [prompt])
        assert_same((together[0][i : i + 1], together[1][i : i + 1]), alone)
    assert not torch.allclose(together[0][0], together[0][1])


def test_images_at_once_are_images_one_by_one(model: GleSam) -> None:
    z = embeddings(2)
    together = decoded(model, z, [BOX, POINTS, BOTH, BOX])
    for i, prompts in enumerate([[BOX, POINTS], [BOTH, BOX]]):
        alone = decoded(model, z[i : i + 1], prompts)
        assert_same((together[0][2 * i : 2 * i + 2], together[1][2 * i : 2 * i + 2]), alone)


def test_padding_points_change_nothing(model: GleSam) -> None:
    for prompt in (BOX, POINTS):
        padded = [*prompt, (9.0, 9.0, PADDING), (0.0, 0.0, PADDING)]
        assert_same(decoded(model, embeddings(), [padded]), decoded(model, embeddings(), [prompt[:2]]))


def test_a_mask_input_counts_only_where_it_is_one(model: GleSam) -> None:
    noise = 5 * torch.randn(1, 1, MASK_SIDE, MASK_SIDE, dtype=torch.float64)
    without = decoded(model, embeddings(), [BOX])
    assert_same(decoded(model, embeddings(), [BOX]), without)
    assert not torch.allclose(decoded(model, embeddings(), [BOX], noise)[0], without[0])


@pytest.mark.parametrize(
    "prompt",
    [
        [(20.0, 20.0, TOP_LEFT), (20.0, 20.0, BOTTOM_RIGHT)],
        [(-200.0, -100.0, TOP_LEFT), (-90.0, -50.0, BOTTOM_RIGHT)],
        [(900.0, 10.0, TOP_LEFT), (30.0, 2.0, BOTTOM_RIGHT)],
        [(-1e6, 1e6, FOREGROUND)],
        [(0.0, 0.0, PADDING)],
    ],
    ids=["no area", "outside", "corners in the wrong order", "point far away", "nothing"],
)
def test_degenerate_prompts_have_finite_answers(prompt: Points) -> None:
    single = random_nano()
    table = torch.tensor([prompt])
    masks, ious = single.decode(
        embeddings().float(), table[..., :2], table[..., 2].int(), torch.zeros(1, 1, 16, 16), torch.zeros(1)
    )
    assert masks.isfinite().all()
    assert ious.isfinite().all()


@pytest.mark.parametrize("block", [CoarseBlock(16, 2, dilation=2), MiddleBlock(16)])
def test_a_new_block_is_the_identity(block: nn.Module) -> None:
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(block(x), x)


def test_kernels_weight_the_features_of_their_own_image() -> None:
    torch.manual_seed(0)
    kernels, features = torch.randn(6, 3, 5), torch.randn(2, 5, 4, 7)
    expected = torch.einsum("nkc,nchw->nkhw", kernels, features.repeat_interleave(3, 0))
    torch.testing.assert_close(weighted(kernels, features), expected)


def test_a_prompt_counts_in_every_mask(model: GleSam) -> None:
    masks, _ = decoded(model, embeddings(), [BOX, BOTH])
    assert ((masks[0] - masks[1]).abs().amax((1, 2)) > 1e-6).all()


SHIFT_INVARIANT = "scores.bias"
"""Softmax ignores what moves all scores alike: the gradient is 0 but for rounding."""


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_bf16_gradients_of_dilated_convolutions_agree_with_fp32_ones(dilation: int) -> None:
    """torch 2.13 computes those of the weights wrongly at this size and layout: cosines of about .1."""
    torch.manual_seed(0)
    block = CoarseBlock(64, 4, dilation)
    x = torch.randn(32, 64, 32, 32).contiguous(memory_format=torch.channels_last)
    nn.init.normal_(block.last.weight, std=0.1)

    def gradients(*, reduced: bool) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            loss = (block(x).float() - 1).square().mean()
        return gradients_of(loss, dict(block.named_parameters()))

    assert_aligned(gradients(reduced=True), gradients(reduced=False), 0.99)


def test_bf16_gradients_agree_with_fp32_ones_and_repeat() -> None:
    """Through the backbone, each of whose 48 layers has ReLU6's kinks, they agree less."""
    trained = random_nano()
    parts = nn.ModuleDict({"encoder": trained.image_encoder, "decoder": trained.mask_decoder}).train()
    parts.requires_grad_(True)
    trained.image_encoder.backbone.trained_from(3)
    named = {name: p for name, p in parts.named_parameters() if p.requires_grad}
    table = torch.tensor([BOX, POINTS, BOTH, BOX])
    prompt = table[..., :2], table[..., 2].int(), torch.zeros(4, 1, 16, 16), torch.zeros(4)
    image = interpolate(torch.randn(2, 3, 8, 8), scale_factor=8.0, mode="bilinear")

    def gradients(*, reduced: bool) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced, cache_enabled=False):
            masks, ious = trained.decode(trained.encode(image), *prompt)
            loss = (masks.float() - 1).square().mean() + (ious.float() - 1).square().mean()
        return gradients_of(loss, named)

    exact, once, again = (gradients(reduced=reduced) for reduced in (False, True, True))
    assert_aligned(again, once, 0.999)
    assert_aligned(once, {name: g for name, g in exact.items() if "backbone" not in name}, 0.9)
    assert_aligned(once, {name: g for name, g in exact.items() if "backbone" in name}, 0.3)


def gradients_of(loss: Tensor, named: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def assert_aligned(actual: dict[str, Tensor], expected: dict[str, Tensor], least: float) -> None:
    """Whether the cosine of each parameter's gradients is at least `least`."""
    for name, gradient in expected.items():
        if not name.endswith(SHIFT_INVARIANT):
            cosine = float(cosine_similarity(actual[name].flatten(), gradient.flatten(), dim=0))
            assert cosine > least, f"{name}: {cosine}"


def test_the_decoder_is_as_wide_as_its_config_says() -> None:
    assert NanoDecoder(NARROW_DECODER).own.weight.shape == (16 + 4, 8, 1, 1)
