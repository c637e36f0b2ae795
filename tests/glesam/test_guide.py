"""What a prompt tells about the picture, and the decoder that reads it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle
from torch.utils.flop_counter import FlopCounterMode

from glesam.config import ConvEncoderConfig, GuidedDecoderConfig, TwoWayDecoderConfig, nano, tiny
from glesam.decoding import decode
from glesam.model import GleSam
from glesam.nano.decoder import GuidedDecoder
from glesam.nano.drawn_prompts import box_mask, draw_prompts
from glesam.nano.encoder import colours
from glesam.nano.guide import CODES, FEATURES, RARE, UPSCALING, Guide, code_frequencies
from glesam.sam import TwoWayDecoder, build_mask_decoder, build_prompt_encoder
from glesam.sam_modules import MaskDecoder

SIZE = 128
POSITIONS = SIZE // 4
ENCODER = ConvEncoderConfig((8, 16, 16, 16), (4, 4, 4, 4), (1, 1, 1, 1), attention_blocks=1)
DECODER = GuidedDecoderConfig(64)

Prompt = tuple[Tensor, Tensor]


@pytest.fixture
def guided() -> GleSam:
    """With random weights where it starts at zero."""
    torch.manual_seed(0)
    config = tiny()
    model = GleSam(replace(config, sam=replace(config.sam, encoder=ENCODER, decoder=DECODER))).eval()
    for module in model.mask_decoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.1)
    return model


def boxes(*corners: tuple[float, float, float, float]) -> Prompt:
    coords = torch.tensor(corners).reshape(-1, 2, 2)
    return coords, torch.tensor([[2, 3]]).expand(len(corners), -1)


def points(*places: tuple[float, float]) -> Prompt:
    return torch.tensor(places).unsqueeze(1), torch.ones(len(places), 1, dtype=torch.int64)


def disc(x: float, y: float, radius: float) -> Tensor:
    """bool [POSITIONS, POSITIONS]."""
    centres = 4 * torch.arange(POSITIONS) + 2.0
    return (centres - x).square() + (centres - y).square().unsqueeze(1) < radius**2


def embeddings_of(mask: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """Embeddings of a noisy image in two colours, [1, 256, h, w]; what an encoder learns is zero."""
    image = torch.where(mask, inside[:, None, None], outside[:, None, None])
    image = image.repeat_interleave(4, 1).repeat_interleave(4, 2)
    seen = colours((image + 0.3 * torch.randn_like(image)).unsqueeze(0))
    return torch.cat([seen, torch.zeros(1, 256 - seen.shape[1], *seen.shape[2:])], dim=1)


def log_odds_of(z: Tensor, prompt: Prompt, rounds: int = 1) -> Tensor:
    """An untrained guide's, [N, POSITIONS, POSITIONS]; a round's probabilities are the prior of the next."""
    guide, shape = Guide(0), tuple(4 * side for side in z.shape[2:])
    box, prior = box_mask(*prompt, *shape).flatten(1), draw_prompts(*prompt, *shape).flatten(1).sigmoid()
    with torch.no_grad():
        fine = pixel_shuffle(z, UPSCALING)
        codes = guide.encode(fine, fine[:, :0])
        for _ in range(rounds):
            log_odds = guide.log_odds(prior, codes)
            prior = box * log_odds.sigmoid()
    return log_odds.reshape(-1, *shape)


def decoded(model: GleSam, z: Tensor, prompt: Prompt, mask: Tensor | None = None) -> Tensor:
    """low_res_masks; without a mask prompt its input is noise, which must not matter."""
    n, side = len(prompt[0]), 4 * z.shape[-1]
    mask_input = torch.randn(n, 1, side, side) if mask is None else mask
    with torch.no_grad():
        masks, _ = model.decode(z, *prompt, mask_input, torch.full((n,), float(mask is not None)))
    return masks


def iou(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_an_untrained_guide_cuts_an_object_out_of_its_box_by_colour(seed: int, rounds: int) -> None:
    torch.manual_seed(seed)
    mask = disc(56, 68, 30)
    z = embeddings_of(mask, torch.tensor([1.2, 0.2, -0.5]), torch.tensor([-0.8, -0.1, 0.6]))
    log_odds = log_odds_of(z, boxes((24, 36, 88, 100)), rounds)[0]
    assert iou(log_odds > 0, mask) > 0.9
    assert log_odds[mask].mean() > 0 > log_odds[~mask].mean()


def test_a_point_finds_every_position_of_its_colour() -> None:
    torch.manual_seed(0)
    mask = disc(30, 30, 20) | disc(96, 90, 22)
    z = embeddings_of(mask, torch.tensor([1.2, 0.2, -0.5]), torch.tensor([-0.8, -0.1, 0.6]))
    assert iou(log_odds_of(z, points((30, 30)))[0] > 0, mask) > 0.9


def test_nothing_is_marked_outside_a_box(guided: GleSam, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even what looks like the object, in the second round."""
    priors: list[Tensor] = []
    guide = guided.mask_decoder.guide
    plain = guide.log_odds
    monkeypatch.setattr(guide, "log_odds", lambda prior, codes: priors.append(prior) or plain(prior, codes))
    decoded(guided, torch.randn(1, 256, 4, 4), boxes((8, 8, 36, 36)))
    assert len(priors) == 2
    marked = priors[1].reshape(16, 16)
    assert (marked[9:] == 0).all()
    assert (marked[:, 9:] == 0).all()
    assert (marked[2:9, 2:9] > 0).all()


def test_a_codes_frequency_is_that_among_the_marked_positions_which_have_it() -> None:
    codes = torch.eye(CODES)[[0, 0, 0, 1, 2]].unsqueeze(0)
    marked = torch.tensor([[[1.0, 0.5, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]]])
    frequencies = code_frequencies(marked, codes)
    expected = torch.zeros(1, 2, CODES)
    expected[0, 0, :2] = torch.tensor([1.5, 0.5]) / 3  # one position belongs to nobody
    torch.testing.assert_close(frequencies, expected)


def test_the_log_odds_of_a_code_are_the_logarithm_of_its_two_frequencies() -> None:
    codes = torch.eye(CODES)[[0, 0, 0, 1, 1]].unsqueeze(0)
    log_odds = Guide(0).log_odds(torch.tensor([[1.0, 1.0, 0.0, 0.5, 0.0]]), codes)[0]
    marked, rest = (torch.tensor([2.0, 0.5]) / 3.5 + RARE), (torch.tensor([1.0, 1.5]) / 3.5 + RARE)
    torch.testing.assert_close(log_odds, (marked / rest).log()[[0, 0, 0, 1, 1]])


def test_a_position_between_two_codes_has_the_mean_of_their_log_odds() -> None:
    codes = torch.eye(CODES)[[0, 0, 1, 1, 1]]
    codes = torch.cat([codes, (0.25 * codes[0] + 0.75 * codes[2]).unsqueeze(0)]).unsqueeze(0)
    log_odds = Guide(0).log_odds(torch.tensor([[1.0, 1.0, 0.0, 0.0, 1.0, 0.0]]), codes)[0]
    assert log_odds[0] > 0 > log_odds[2]
    torch.testing.assert_close(log_odds[5], 0.25 * log_odds[0] + 0.75 * log_odds[2])


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_log_odds_are_bounded_and_fit_fp16_at_nanos_size(fraction: float) -> None:
    torch.manual_seed(0)
    guide, features = Guide(2), torch.randn(1, FEATURES + 2, 128, 128)
    marked = torch.full((1, 128 * 128), fraction)
    with torch.no_grad():
        expected = guide.log_odds(marked, guide.encode(features[:, 2:], features[:, :2]))
        guide.half()
        actual = guide.log_odds(marked.half(), guide.encode(features[:, 2:].half(), features[:, :2].half()))
    assert expected.abs().max() <= -math.log(RARE) + 1e-5
    torch.testing.assert_close(actual.float(), expected, rtol=0, atol=0.1)


def test_codes_start_with_the_colours_alone() -> None:
    assert FEATURES == 16
    weight = Guide(5).codes.weight
    assert weight.shape[1] == FEATURES + 5
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


def test_the_loss_reaches_the_codes_the_rounds_and_the_encoder() -> None:
    torch.manual_seed(0)
    config = tiny()
    model = GleSam(
        replace(config, sam=replace(config.sam, encoder=ENCODER, decoder=DECODER))
    )  # not a weight touched
    prompt = boxes((4, 8, 50, 33), (20, 20, 40, 60))
    masks, _ = model.decode(
        model.encode(torch.randn(2, 3, 64, 64)), *prompt, torch.zeros(2, 1, 16, 16), torch.zeros(2)
    )
    masks.square().sum().backward()  # type: ignore[no-untyped-call]
    decoder = model.mask_decoder
    grid = decoder.own_cells
    learning = (
        decoder.guide.codes.weight, decoder.surroundings[0].weight, grid.steepness, grid.offset,
        grid.of_cues.weight, grid.of_picture.weight, decoder.cue_edges.weight, decoder.pooled.weight,
        *(block.body[-1].weight for block in grid.blocks),
        model.image_encoder.stem[0][0].weight,
    )  # fmt: skip
    assert all(parameter.grad.abs().max() > 0 for parameter in learning)
    assert decoder.guide.codes.weight.grad[:, 3:].abs().max() > 0  # the learned features may become codes


def test_a_plain_sam_has_segment_anythings_tensors_and_a_guided_one_sams_names() -> None:
    """Where parts are SAM's: training, official files and the runtime know them by these names."""
    sam = tiny().sam
    with torch.device("meta"):
        plain, own = (
            build_mask_decoder(sam),
            build_mask_decoder(replace(sam, decoder=DECODER)),
        )
    assert type(plain) is TwoWayDecoder
    assert isinstance(plain, MaskDecoder)
    assert type(own) is GuidedDecoder
    assert len(plain.state_dict()) == 120
    shared = {name for name, _ in plain.named_children()} & {name for name, _ in own.named_children()}
    assert shared == {
        "iou_token", "mask_tokens", "output_upscaling", "output_hypernetworks_mlps", "iou_prediction_head"
    }  # fmt: skip


def test_64_prompts_of_a_call_are_less_work_than_11_calls() -> None:
    """What the picture tells is worked out once; in SAM's decoder hardly anything is."""

    def operations(prompts: int, guided: bool) -> int:
        sam = replace(nano().sam, decoder=GuidedDecoderConfig(512) if guided else TwoWayDecoderConfig(512))
        parts = build_prompt_encoder(sam).eval(), build_mask_decoder(sam).eval()
        coords, labels = boxes(*[(8.0, 12.0, 300.0, 400.0)] * prompts)
        no_mask = torch.zeros(prompts, 1, 128, 128), torch.zeros(prompts)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            decode(*parts, torch.randn(1, 256, 32, 32), coords, labels, *no_mask)
        return int(counter.get_total_flops())

    assert operations(64, guided=True) < 11 * operations(1, guided=True) < 11 * 0.75e9
    assert operations(4, guided=False) > 3.5 * operations(1, guided=False)
