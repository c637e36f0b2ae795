"""What a prompt tells about the picture: cues, and a decoder that reads them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from glesam.config import ConvEncoderConfig, tiny
from glesam.conv_encoder import colours
from glesam.drawn_prompts import box_limit, draw_prompts
from glesam.guide import CODES, CUES, FEATURES, RARE, UPSCALED_CHANNELS, Guide, log_share
from glesam.model import GleSam
from glesam.sam import build_mask_decoder
from glesam.sam_modules import MaskDecoder

SIZE = 128
SPOTS = SIZE // 4
ENCODER = ConvEncoderConfig((8, 16, 16, 16), (4, 4, 4, 4), (1, 1, 1, 1), attention_blocks=1)

Prompt = tuple[Tensor, Tensor]


@pytest.fixture
def guided() -> GleSam:
    """With random weights where the guide starts at zero."""
    torch.manual_seed(0)
    config = tiny()
    model = GleSam(replace(config, sam=replace(config.sam, encoder=ENCODER, guided=True))).eval()
    for module in model.mask_decoder.guide.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.1)
    return model


def boxes(*corners: tuple[float, float, float, float]) -> Prompt:
    coords = torch.tensor(corners).reshape(-1, 2, 2)
    return coords, torch.tensor([[2, 3]]).expand(len(corners), -1)


def points(*places: tuple[float, float]) -> Prompt:
    return torch.tensor(places).unsqueeze(1), torch.ones(len(places), 1, dtype=torch.int64)


def disc(x: float, y: float, radius: float) -> Tensor:
    """bool [SPOTS, SPOTS]."""
    centres = 4 * torch.arange(SPOTS) + 2.0
    return (centres - x).square() + (centres - y).square().unsqueeze(1) < radius**2


def embeddings_of(mask: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """Of a noisy picture in two colours, [1, 256, h, w]; what an encoder has learned is left out."""
    image = torch.where(mask, inside[:, None, None], outside[:, None, None])
    image = image.repeat_interleave(4, 1).repeat_interleave(4, 2)
    seen = colours((image + 0.3 * torch.randn_like(image)).unsqueeze(0))
    return torch.cat([seen, torch.zeros(1, 256 - seen.shape[1], *seen.shape[2:])], dim=1)


def cues_of(guide: Guide, z: Tensor, prompt: Prompt) -> Tensor:
    shape = tuple(4 * side for side in z.shape[2:])
    with torch.no_grad():
        return guide.cues(z, draw_prompts(*prompt, *shape), box_limit(*prompt, *shape))


def decoded(model: GleSam, z: Tensor, prompt: Prompt, mask: Tensor | None = None) -> Tensor:
    """low_res_masks; without a mask prompt its input is noise, which must not matter."""
    n, side = len(prompt[0]), 4 * z.shape[-1]
    mask_input = torch.randn(n, 1, side, side) if mask is None else mask
    with torch.no_grad():
        masks, _ = model.decode(z, *prompt, mask_input, torch.full((n,), float(mask is not None)))
    return masks


def iou(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("seed", range(3))
def test_an_untrained_guide_cuts_an_object_out_of_its_box_by_colour(seed: int) -> None:
    torch.manual_seed(seed)
    mask = disc(56, 68, 30)
    z = embeddings_of(mask, torch.tensor([1.2, 0.2, -0.5]), torch.tensor([-0.8, -0.1, 0.6]))
    found = cues_of(Guide(), z, boxes((24, 36, 88, 100)))[0]
    assert iou(found[-1] > 0.5, mask) > 0.9
    for ratio in found[:-1]:
        assert ratio[mask].mean() > 0 > ratio[~mask].mean()


def test_a_point_finds_every_spot_of_its_colour() -> None:
    torch.manual_seed(0)
    mask = disc(30, 30, 20) | disc(96, 90, 22)
    z = embeddings_of(mask, torch.tensor([1.2, 0.2, -0.5]), torch.tensor([-0.8, -0.1, 0.6]))
    assert iou(cues_of(Guide(), z, points((30, 30)))[0, 0] > 0, mask) > 0.9


def test_nothing_is_marked_outside_a_box() -> None:
    torch.manual_seed(0)
    mask = disc(30, 30, 20) | disc(96, 90, 22)  # a second object of the same colour
    z = embeddings_of(mask, torch.tensor([1.2, 0.2, -0.5]), torch.tensor([-0.8, -0.1, 0.6]))
    last = cues_of(Guide(), z, boxes((8, 8, 52, 52)))[0, -1]
    assert (last[13:] == 0).all()
    assert (last[:, 13:] == 0).all()
    assert iou(last > 0.5, disc(30, 30, 20)) > 0.9


def test_a_share_is_that_of_the_marked_spots_with_the_same_code() -> None:
    codes = torch.eye(CODES)[[0, 0, 0, 1, 2]].unsqueeze(0)
    marked = torch.tensor([[[1.0, 0.5, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]]])
    shares = log_share(marked, codes).exp() - RARE
    expected = torch.tensor([[0.5, 0.5, 0.5, 0.5 / 3, 0], [0, 0, 0, 0, 0]])  # one spot belongs to nobody
    torch.testing.assert_close(shares[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("logit", [-100.0, 0.0, 100.0])
def test_ratios_are_bounded_and_fit_fp16_at_nanos_size(logit: float) -> None:
    torch.manual_seed(0)
    guide, z = Guide(), torch.randn(1, 256, 32, 32)
    marked, limit = torch.full((1, 1, 128, 128), logit), torch.ones(1, 1, 128, 128)
    with torch.no_grad():
        expected = guide.cues(z, marked, limit)
        found = guide.half().cues(z.half(), marked.half(), limit.half())
    assert expected[:, :-1].abs().max() <= -math.log(RARE) / 3 + 1e-6
    assert expected[:, -1].min() >= 0
    assert expected[:, -1].max() <= 1
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.03)


def test_the_guide_starts_as_sams_decoder_would_read_it() -> None:
    torch.manual_seed(0)
    guide = Guide()
    z, dense, cues = torch.randn(1, 256, 4, 4), torch.randn(3, 256, 4, 4), torch.randn(3, CUES, 16, 16)
    assert torch.equal(guide.source(z, dense, cues), z + dense)
    assert guide.details(z, cues).shape == (3, UPSCALED_CHANNELS, 16, 16)


def test_codes_start_with_the_colours_alone() -> None:
    assert FEATURES == 16
    weight = Guide().codes.weight
    assert (weight[:, :3] != 0).all()
    assert (weight[:, 3:] == 0).all()


def test_prompts_of_several_pictures_are_decoded_as_picture_by_picture(guided: GleSam) -> None:
    z = torch.randn(2, 256, 4, 4)
    prompt = boxes((4, 8, 50, 33), (0, 0, 64, 64), (20, 20, 40, 60), (30, 2, 60, 20))
    together = decoded(guided, z, prompt)
    alone = [decoded(guided, z[i : i + 1], (prompt[0][2 * i :][:2], prompt[1][:2])) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[:2], decoded(guided, z[1:], (prompt[0][:2], prompt[1][:2])), atol=1e-2)


def test_one_picture_stands_for_every_prompt(guided: GleSam) -> None:
    z, prompt = torch.randn(1, 256, 4, 4), points((13, 40), (60, 3), (30, 30))
    repeated = decoded(guided, z.expand(3, -1, -1, -1), prompt)
    torch.testing.assert_close(decoded(guided, z, prompt), repeated, rtol=1e-4, atol=1e-5)


def test_a_mask_prompt_takes_the_drawn_prompts_place(guided: GleSam) -> None:
    z, prompt = torch.randn(1, 256, 4, 4), boxes((8, 12, 30, 40))
    drawn = decoded(guided, z, prompt)
    torch.testing.assert_close(decoded(guided, z, prompt, draw_prompts(*prompt, 16, 16)), drawn)
    assert not torch.allclose(decoded(guided, z, prompt, 5 * torch.randn(1, 1, 16, 16)), drawn, atol=1e-2)


def test_prompts_with_and_without_a_mask_may_be_mixed(guided: GleSam) -> None:
    z, prompt, mask = (
        torch.randn(1, 256, 4, 4),
        boxes((8, 12, 30, 40), (8, 12, 30, 40)),
        torch.randn(2, 1, 16, 16),
    )
    with torch.no_grad():
        mixed, _ = guided.decode(z, *prompt, mask, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(mixed[:1], decoded(guided, z, prompt, mask)[:1])
    torch.testing.assert_close(mixed[1:], decoded(guided, z, prompt)[1:])


def test_the_guide_changes_the_masks(guided: GleSam) -> None:
    z, prompt = torch.randn(1, 256, 4, 4), boxes((8, 12, 30, 40))
    with_guide = decoded(guided, z, prompt)
    del guided.mask_decoder.guide
    assert not torch.allclose(decoded(guided, z, prompt), with_guide, atol=1e-2)


def test_the_loss_reaches_the_codes_the_rounds_and_the_encoder() -> None:
    torch.manual_seed(0)
    config = tiny()
    model = GleSam(
        replace(config, sam=replace(config.sam, encoder=ENCODER, guided=True))
    )  # not a weight touched
    prompt = boxes((4, 8, 50, 33), (20, 20, 40, 60))
    masks, _ = model.decode(
        model.encode(torch.randn(2, 3, 64, 64)), *prompt, torch.zeros(2, 1, 16, 16), torch.zeros(2)
    )
    masks.square().sum().backward()  # type: ignore[no-untyped-call]
    guide = model.mask_decoder.guide
    learning = (
        guide.codes.weight, guide.steepness, guide.offset, guide.to_dense.weight, guide.detail[0].weight,
        *(block.body[-1].weight for block in guide.blocks),
        model.image_encoder.stem[0][0].weight,
    )  # fmt: skip
    assert all(parameter.grad.abs().max() > 0 for parameter in learning)
    assert guide.codes.weight.grad[:, 3:].abs().max() > 0  # the learned features may become codes


def test_a_plain_sam_has_segment_anythings_tensors_and_a_guided_one_adds_its_guide() -> None:
    sam = tiny().sam
    with torch.device("meta"):
        plain = build_mask_decoder(sam).state_dict()
        own = build_mask_decoder(replace(sam, guided=True)).state_dict()
    assert type(build_mask_decoder(sam)) is MaskDecoder
    assert len(plain) == 120
    assert plain.keys() < own.keys()
    parts = {name.split(".")[1] for name in own.keys() - plain.keys()}
    assert {name.split(".")[0] for name in own.keys() - plain.keys()} == {"guide"}
    assert parts == {"codes", "steepness", "offset", "to_dense", "detail", "blocks"}
