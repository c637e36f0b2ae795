"""SAM's three parts compute what the segment-anything package computes."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from glesam.config import EMBEDDING_CHANNELS, nano, tiny
from glesam.model import GleSam
from glesam.sam_modules import ImageEncoderViT
from glesam.two_way import dead_mask_heads

PADDING = ((0.0, 0.0), -1)
POINT = ((13.0, 40.0), 1)
BACKGROUND = ((60.0, 3.0), 0)
BOX = [((4.0, 8.0), 2), ((50.0, 33.0), 3)]

Points = list[tuple[tuple[float, float], int]]


@pytest.fixture(scope="module")
def exact() -> GleSam:
    """In float64, with every embedding different from zero.

    SAM's positional encoding is float32 by decree; its input is exact in float32 for the whole pixels
    used here, and from there on it computes in float64 too.
    """
    torch.manual_seed(0)
    model = GleSam(tiny()).eval().requires_grad_(False).double()
    layer = model.prompt_encoder.pe_layer
    encode = layer._pe_encoding
    layer._pe_encoding = lambda coords: encode(coords.double())
    return model


def prompts(*rows: Points) -> tuple[Tensor, Tensor]:
    coords = torch.tensor([[point[0] for point in row] for row in rows], dtype=torch.float64)
    return coords, torch.tensor([[point[1] for point in row] for row in rows], dtype=torch.int32)


def embedding(n: int = 1) -> Tensor:
    return torch.randn(n, 256, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def ours(model: GleSam, coords: Tensor, labels: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    n = len(coords)
    has_mask = torch.full((n,), float(mask is not None), dtype=torch.float64)
    mask_input = torch.randn(n, 1, 16, 16, dtype=torch.float64) if mask is None else mask
    return model.decode(embedding(), coords, labels, mask_input, has_mask)


def sams(
    model: GleSam, multimask: bool, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None = None,
    masks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """PromptEncoder.forward and MaskDecoder.forward, as Sam.forward calls them."""
    sparse, dense = model.prompt_encoder(points=points, boxes=boxes, masks=masks)
    return model.mask_decoder(
        image_embeddings=embedding(),
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
    )


def assert_same(actual: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], masks: slice) -> None:
    """`expected` holds these masks alone, or all four."""
    for a, b in zip(actual, expected, strict=True):
        b = b[:, masks] if b.shape == a.shape else b
        torch.testing.assert_close(a[:, masks], b.double(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("multimask", "masks"), [(False, slice(0, 1)), (True, slice(1, 4))])
def test_points_are_decoded_as_sam_does(exact: GleSam, multimask: bool, masks: slice) -> None:
    rows = [[POINT, BACKGROUND], [BACKGROUND, POINT], [POINT, POINT]]
    coords, labels = prompts(*rows)
    padded = prompts(*([*row, PADDING] for row in rows))  # SAM adds this point by itself
    assert_same(ours(exact, *padded), sams(exact, multimask, (coords, labels)), masks)


@pytest.mark.parametrize(("multimask", "masks"), [(False, slice(0, 1)), (True, slice(1, 4))])
def test_a_box_is_two_points(exact: GleSam, multimask: bool, masks: slice) -> None:
    boxes = torch.tensor([[4.0, 8.0, 50.0, 33.0], [0.0, 0.0, 64.0, 64.0]], dtype=torch.float64)
    second: Points = [((0.0, 0.0), 2), ((64.0, 64.0), 3)]
    assert_same(ours(exact, *prompts(BOX, second)), sams(exact, multimask, None, boxes), masks)


def test_a_box_with_points_needs_no_padding_point(exact: GleSam) -> None:
    boxes = torch.tensor([[4.0, 8.0, 50.0, 33.0]], dtype=torch.float64)
    actual = ours(exact, *prompts([POINT, BACKGROUND, *BOX]))
    assert_same(actual, sams(exact, False, prompts([POINT, BACKGROUND]), boxes), slice(0, 1))


def test_a_mask_prompt_is_decoded_as_sam_does(exact: GleSam) -> None:
    mask = 4 * torch.randn(2, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    coords, labels = prompts([POINT], [BACKGROUND])
    padded = prompts([POINT, PADDING], [BACKGROUND, PADDING])
    expected = sams(exact, True, (coords, labels), masks=mask)
    assert_same(ours(exact, *padded, mask), expected, slice(1, 4))


def test_prompts_with_and_without_a_mask_share_a_batch(exact: GleSam) -> None:
    mask = 4 * torch.randn(2, 1, 16, 16, dtype=torch.float64)
    coords, labels = prompts([POINT, PADDING], [POINT, PADDING])
    together = exact.decode(embedding(), coords, labels, mask, torch.tensor([1.0, 0.0]).double())
    assert_same(
        (together[0][:1], together[1][:1]), ours(exact, coords[:1], labels[:1], mask[:1]), slice(None)
    )
    assert_same((together[0][1:], together[1][1:]), ours(exact, coords[1:], labels[1:]), slice(None))


def test_a_refined_mask_0_is_the_answer_to_itself_and_the_others_are_the_first_answers(exact: GleSam) -> None:
    coords, labels = prompts([POINT, PADDING], BOX)
    no_mask = torch.zeros(2, 1, 16, 16).double(), torch.zeros(2).double()
    first = ours(exact, coords, labels)
    second = ours(exact, coords, labels, first[0][:, :1])
    third = ours(exact, coords, labels, second[0][:, :1])
    for refinements, last in ((0, first), (1, second), (2, third)):
        actual = exact.decode(embedding(), coords, labels, *no_mask, refinements=refinements)
        assert_same(actual, last, slice(0, 1))
        assert_same(actual, first, slice(1, 4))
    assert not torch.allclose(first[0][:, 0], second[0][:, 0])


def test_each_prompt_may_have_an_embedding_of_its_own(exact: GleSam) -> None:
    coords, labels = prompts([POINT, PADDING], BOX)
    rest = torch.zeros(2, 1, 16, 16).double(), torch.zeros(2).double()
    pair = embedding(2)
    masks, ious = exact.decode(pair, coords, labels, *rest)
    for i in range(2):
        alone = [tensor[i : i + 1] for tensor in (pair, coords, labels, *rest)]
        assert_same((masks[i : i + 1], ious[i : i + 1]), exact.decode(*alone), slice(None))


def test_the_tiny_image_encoder_is_sams() -> None:
    encoder = GleSam(tiny()).image_encoder
    assert isinstance(encoder, ImageEncoderViT)
    assert [block.window_size for block in encoder.blocks] == [3, 0]
    assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, EMBEDDING_CHANNELS, 4, 4)


def test_nanos_image_encoder_has_sams_interface_at_any_multiple_of_32() -> None:
    encoder = GleSam(nano()).image_encoder.eval()
    for size in (64, 96):
        embeddings = encoder(torch.randn(2, 3, size, size))
        assert embeddings.shape == (2, EMBEDDING_CHANNELS, size // 16, size // 16)


def test_pictures_are_normalized_as_sam_does(model: GleSam) -> None:
    image = torch.tensor([123.675, 116.28, 103.53]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    std = torch.tensor([58.395, 57.12, 57.375]).reshape(3, 1, 1)
    torch.testing.assert_close(model.normalize(image + 2 * std), torch.full((1, 3, 2, 2), 2.0))


def test_the_whole_chain_is_its_four_parts(model: GleSam) -> None:
    image = torch.randn(1, 3, 64, 64)
    prompt = (*(x.float() if x.is_floating_point() else x for x in prompts(BOX)), torch.zeros(1, 1, 16, 16))
    with torch.no_grad():
        actual = model(image, *prompt, torch.zeros(1))
        plain = model.decode(model.encode(image), *prompt, torch.zeros(1))
        enhanced = model.decode(model.enhance(model.encode(image)), *prompt, torch.zeros(1))
    torch.testing.assert_close(actual, enhanced)
    assert not torch.equal(actual[0], plain[0])


def test_importing_sams_networks_leaves_the_real_package_to_others() -> None:
    """torchvision, which its __init__ needs and we do not, is played by a stub."""
    code = (
        "import sys, types\n"
        "import glesam.sam_modules\n"
        "assert 'segment_anything' not in sys.modules\n"
        "assert 'torchvision' not in sys.modules\n"
        "names = ('torchvision', 'torchvision.transforms', 'torchvision.transforms.functional',\n"
        "         'torchvision.ops', 'torchvision.ops.boxes')\n"
        "for name in names:\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "    sys.modules[name].__getattr__ = lambda attribute: None\n"
        "import segment_anything\n"
        "assert 'vit_b' in segment_anything.sam_model_registry\n"
        "from segment_anything.modeling import MaskDecoder\n"
        "assert MaskDecoder is glesam.sam_modules.MaskDecoder\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_heads_that_weight_decay_has_worn_down_are_dead(exact: GleSam) -> None:
    decoder = deepcopy(exact.mask_decoder)
    assert dead_mask_heads(decoder) == ()
    mlps = decoder.output_hypernetworks_mlps
    with torch.no_grad():
        mlps[1].layers[1].weight.mul_(1e-4)
        mlps[3].layers[2].weight.zero_()
        mlps[2].layers[0].weight.mul_(0.1)
    assert dead_mask_heads(decoder) == (1, 3)


def test_a_model_can_refine_more_often_without_a_second_set_of_weights(exact: GleSam) -> None:
    other = exact.with_refinements(2)
    assert (other.config.sam.refinements, exact.config.sam.refinements) == (2, 0)
    assert all(a is b for a, b in zip(other.parameters(), exact.parameters(), strict=True))
    with pytest.raises(ValueError, match="refinements -1: expected a whole number from 0"):
        exact.with_refinements(-1)
