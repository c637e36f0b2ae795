"""SAM 2's parts compute what transformers' Sam2Model computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers.models.sam2.configuration_sam2 import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)
from transformers.models.sam2.modeling_sam2 import Sam2Model

from glesam.config import HieraEncoderConfig, NoMemEmbed, SamConfig, TwoWayDecoderConfig, tiny, tiny_sam2
from glesam.decoding import ImageFeatures
from glesam.model import GleSam
from glesam.official.sam2 import from_transformers
from glesam.sam2 import HighResDecoder, stable_masks
from glesam_runtime.errors import InputError

SIZE = 64
POINTS = [[[13.0, 40.0], [60.0, 3.0]], [[30.0, 30.0], [1.0, 2.0]], [[50.0, 9.0], [5.0, 60.0]]]
LABELS = [[1, 0], [1, 1], [0, 1]]
BOXES = [[4.0, 8.0, 50.0, 33.0], [0.0, 0.0, 64.0, 64.0]]


def transformers_model() -> Sam2Model:
    """A Sam2Model of `tiny_sam2`'s sizes, eager, every tensor random."""
    encoder = tiny_sam2().sam.encoder
    assert isinstance(encoder, HieraEncoderConfig)
    widths = [encoder.embed_dim << i for i in range(4)]
    backbone = Sam2HieraDetConfig(
        hidden_size=encoder.embed_dim,
        image_size=[SIZE, SIZE],
        window_positional_embedding_background_size=[encoder.background_size] * 2,
        blocks_per_stage=list(encoder.stages),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=list(encoder.window_sizes),
        global_attention_blocks=list(encoder.global_attn_indexes),
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )
    config = Sam2Config(
        vision_config=vision,
        prompt_encoder_config=Sam2PromptEncoderConfig(image_size=SIZE),
        mask_decoder_config=Sam2MaskDecoderConfig(mlp_dim=64),
    )
    config._attn_implementation = "eager"
    model = Sam2Model(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(noise * 0.3 if parameter.ndim == 1 else noise * parameter[0].numel() ** -0.5)
        if "norm" in name and name.endswith("weight"):
            parameter.add_(1)
    shared = model.shared_image_embedding.positional_embedding
    model.prompt_encoder.shared_embedding.positional_embedding = shared
    return model


@pytest.fixture(scope="module")
def theirs() -> Sam2Model:
    return transformers_model()


def ours(theirs: Sam2Model, no_mem_embed: NoMemEmbed = "before_gle") -> GleSam:
    """Our model with the tensors of transformers' own."""
    torch.manual_seed(0)
    model = GleSam(tiny_sam2(no_mem_embed)).eval().requires_grad_(False)
    tensors = from_transformers(theirs.state_dict(), no_mem_embed)
    own = model.state_dict()
    assert tensors.keys() == {name for name in own if not name.startswith("gle.")}
    model.load_state_dict(own | tensors)
    return model


@pytest.fixture(scope="module")
def model(theirs: Sam2Model) -> GleSam:
    return ours(theirs)


def image(n: int = 1) -> Tensor:
    return torch.randn(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))


def point_prompts() -> tuple[Tensor, Tensor]:
    """`POINTS` with the padding point that SAM 2 always adds."""
    coords = torch.cat([torch.tensor(POINTS), torch.zeros(3, 1, 2)], 1)
    return coords, torch.cat([torch.tensor(LABELS), -torch.ones(3, 1)], 1).int()


def box_prompts() -> tuple[Tensor, Tensor]:
    coords = torch.cat([torch.tensor(BOXES).reshape(2, 2, 2), torch.zeros(2, 1, 2)], 1)
    return coords, torch.tensor([[2, 3, -1]] * 2).int()


def no_masks(n: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(n, 1, 16, 16), torch.zeros(n)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max() / expected.abs().max()) < 1e-5


def test_image_features_are_those_of_transformers(theirs: Sam2Model, model: GleSam) -> None:
    features = model.encode_features(image(2))
    expected = theirs.get_image_embeddings(image(2))
    for actual, other in zip((*features.high_res, features.image_embeddings), expected, strict=True):
        assert_close(actual, other)
    assert [list(f.shape) for f in features.high_res] == [[2, 32, 16, 16], [2, 64, 8, 8]]
    assert torch.equal(model.encode(image(2)), features.image_embeddings)


@pytest.mark.parametrize("kind", ["points", "boxes"])
@pytest.mark.parametrize("multimask", [False, True])
def test_masks_are_those_of_transformers(
    theirs: Sam2Model, model: GleSam, kind: str, multimask: bool
) -> None:
    if kind == "points":
        prompts = {"input_points": torch.tensor([POINTS]), "input_labels": torch.tensor([LABELS]).int()}
        coords, labels = point_prompts()
    else:
        prompts, (coords, labels) = {"input_boxes": torch.tensor([BOXES])}, box_prompts()
    expected = theirs(pixel_values=image(), multimask_output=multimask, **prompts)
    masks, ious = model.decode(model.encode_features(image()), coords, labels, *no_masks(len(coords)))
    chosen = slice(1, 4) if multimask else slice(0, 1)
    assert_close(masks[:, chosen], expected.pred_masks[0])
    assert_close(ious[:, chosen], expected.iou_scores[0])


def test_unstable_masks_are_replaced_as_transformers_does(theirs: Sam2Model) -> None:
    """With a delta of 1, at which all of these random masks are unstable."""
    model, (coords, labels) = ours(theirs), point_prompts()
    features = model.encode_features(image())
    set_stability_delta(model, 1.0)
    masks, ious = model.decode(features, coords, labels, *no_masks(3))
    assert torch.equal(masks[:, 0], masks[torch.arange(3), 1 + ious[:, 1:].argmax(1)])
    decoder = theirs.mask_decoder
    delta, decoder.dynamic_multimask_stability_delta = decoder.dynamic_multimask_stability_delta, 1.0
    expected = theirs(
        pixel_values=image(),
        input_points=torch.tensor([POINTS]),
        input_labels=torch.tensor([LABELS]).int(),
        multimask_output=False,
    )
    decoder.dynamic_multimask_stability_delta = delta
    assert_close(masks[:, :1], expected.pred_masks[0])
    assert_close(ious[:, :1], expected.iou_scores[0])


def set_stability_delta(model: GleSam, delta: float) -> None:
    decoder = model.mask_decoder
    assert isinstance(decoder, HighResDecoder)
    decoder.config = replace(decoder.config, stability_delta=delta)


def test_a_mask_prompt_is_decoded_as_transformers_does(theirs: Sam2Model, model: GleSam) -> None:
    mask = 4 * torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(6))
    coords, labels = (prompt[:1] for prompt in point_prompts())
    expected = theirs(
        pixel_values=image(),
        input_points=torch.tensor([POINTS[:1]]),
        input_labels=torch.tensor([LABELS[:1]]).int(),
        input_masks=mask,
    )
    masks, _ = model.decode(model.encode_features(image()), coords, labels, mask, torch.ones(1))
    assert_close(masks[:, 1:], expected.pred_masks[0])


def test_prompts_of_several_images_are_decoded_image_by_image(model: GleSam) -> None:
    coords, labels = box_prompts()
    both = model.encode_features(image(2))
    masks, ious = model.decode(both, coords, labels, *no_masks(2))
    for i in range(2):
        alone = ImageFeatures(both.image_embeddings[i : i + 1], tuple(f[i : i + 1] for f in both.high_res))
        mask, iou = model.decode(alone, coords[i : i + 1], labels[i : i + 1], *no_masks(1))
        assert_close(masks[i : i + 1], mask)
        assert_close(ious[i : i + 1], iou)


def test_without_gle_both_places_of_no_mem_embed_give_the_same_masks(theirs: Sam2Model) -> None:
    coords, labels = box_prompts()
    before, after = ours(theirs, "before_gle"), ours(theirs, "after_gle")
    features = [m.encode_features(image()) for m in (before, after)]
    shift = theirs.no_memory_embedding.reshape(1, -1, 1, 1)
    assert_close(features[1].image_embeddings + shift, features[0].image_embeddings)
    plain = [
        m.decode(f, coords, labels, *no_masks(2))[0] for m, f in zip((before, after), features, strict=True)
    ]
    assert_close(plain[1], plain[0])
    enhanced = [m(image(), coords, labels, *no_masks(2))[0] for m in (before, after)]
    assert not torch.allclose(enhanced[1], enhanced[0], rtol=1e-3)


def test_gle_changes_the_embedding_alone(model: GleSam) -> None:
    features = model.encode_features(image())
    enhanced = model.enhance(features)
    assert torch.equal(enhanced.image_embeddings, model.enhance(features.image_embeddings))
    assert not torch.equal(enhanced.image_embeddings, features.image_embeddings)
    assert all(one is other for one, other in zip(enhanced.high_res, features.high_res, strict=True))


def test_an_unstable_mask_0_is_replaced_by_the_best_of_the_others() -> None:
    masks = torch.full((3, 4, 10, 10), -1.0)
    masks[0, 0], masks[1, 0] = 1.0, 0.01  # stable, unstable; the third is empty and stable
    masks[:, 2], masks[:, 3] = 2.0, 3.0
    ious = torch.tensor([[0.1, 0.2, 0.9, 0.3]]).expand(3, 4)
    actual, scores = stable_masks(masks, ious, 0.05, 0.98)
    assert torch.equal(actual[[0, 2]], masks[[0, 2]])
    assert torch.equal(actual[1, 0], masks[1, 2])
    assert torch.equal(actual[:, 1:], masks[:, 1:])
    assert torch.allclose(scores[:, 0], torch.tensor([0.1, 0.9, 0.1]))


def test_in_training_mask_0_stays(theirs: Sam2Model) -> None:
    model = ours(theirs)
    coords, labels = box_prompts()
    features = model.encode_features(image())
    set_stability_delta(model, 1.0)
    stable = model.decode(features, coords, labels, *no_masks(2))[0]
    trained = model.train().decode(features, coords, labels, *no_masks(2))[0]
    assert torch.equal(stable[:, 1:], trained[:, 1:])
    assert not torch.equal(stable[:, 0], trained[:, 0])


def test_a_checkpoint_of_it_is_read_again(theirs: Sam2Model, tmp_path: Path) -> None:
    model = ours(theirs, "after_gle")
    model.save_pretrained(tmp_path / "checkpoint")
    again = GleSam.from_pretrained(tmp_path / "checkpoint")
    assert again.config == model.config
    own, read = model.state_dict(), again.state_dict()
    assert own.keys() == read.keys() and all(torch.equal(own[name], read[name]) for name in own)
    prompts = (*box_prompts(), *no_masks(2))
    assert_close(again.requires_grad_(False)(image(), *prompts)[0], model(image(), *prompts)[0])


def test_missing_and_superfluous_high_resolution_features_are_refused(model: GleSam) -> None:
    prompts = (*box_prompts(), *no_masks(2))
    with pytest.raises(InputError, match="found 0 high-resolution features, expected 2; SAM 2's decoder"):
        model.decode(model.encode(image()), *prompts)
    with pytest.raises(InputError, match="found 2 high-resolution features, expected 0"):
        GleSam(tiny()).decode(model.encode_features(image()), *prompts)


def test_sam_2s_encoder_and_decoder_belong_together() -> None:
    sam2, sam = tiny_sam2().sam, tiny().sam
    with pytest.raises(InputError, match="decoder two_way on encoder hiera: expected SAM 2's decoder"):
        replace(sam2, decoder=TwoWayDecoderConfig())
    with pytest.raises(InputError, match="decoder two_way_high_res on encoder vit"):
        SamConfig("odd", 64, sam.encoder, sam2.decoder)


def test_the_decoder_is_sam_2s(model: GleSam) -> None:
    assert isinstance(model.mask_decoder, HighResDecoder)
