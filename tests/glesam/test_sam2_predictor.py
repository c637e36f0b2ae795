"""The runtime's Predictor with SAM 2's networks finds the masks of transformers and SAM 2's own transform."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_sam2 import SIZE, ours, transformers_model
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.models.sam2.modeling_sam2 import Sam2Model

from glesam.config import tiny_sam2
from glesam.model import GleSam
from glesam.reference import reference_manifest, torch_engines
from glesam.two_way import dead_mask_heads
from glesam_runtime import Engines, Predictor, Prompt
from glesam_runtime.errors import BackendError
from glesam_runtime.preprocess import squash
from glesam_runtime.prompts import encode_prompts

HEIGHT, WIDTH = 90, 120
BOX = (12.0, 20.0, 100.0, 77.0)
POINTS = [(30.0, 40.0), (100.0, 20.0)]


@pytest.fixture(scope="module")
def theirs() -> Sam2Model:
    return transformers_model()


@pytest.fixture(scope="module")
def model(theirs: Sam2Model) -> GleSam:
    return ours(theirs)


def plain(model: GleSam) -> Predictor:
    """SAM 2 without GLE."""
    return Predictor(reference_manifest(model), replace(torch_engines(model), gle=None))


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def transformed() -> Tensor:
    """SAM 2's own transform: ToTensor, antialiased squash, Normalize."""
    image = torch.from_numpy(picture()).permute(2, 0, 1)[None].float() / 255
    image = interpolate(image, (SIZE, SIZE), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(x).reshape(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (image - mean) / std


def squashed(points: list[tuple[float, float]]) -> Tensor:
    return torch.tensor(points) * torch.tensor([SIZE / WIDTH, SIZE / HEIGHT])


def expected_masks(low_res: Tensor) -> np.ndarray:
    return (interpolate(low_res, (HEIGHT, WIDTH), mode="bilinear") > 0).numpy()


@pytest.mark.parametrize("multimask", [False, True])
def test_points_give_the_masks_of_transformers(theirs: Sam2Model, model: GleSam, multimask: bool) -> None:
    coords = squashed(POINTS)[None, None]
    answer = theirs(
        pixel_values=transformed(),
        input_points=coords,
        input_labels=torch.tensor([[[1, 0]]]).int(),
        multimask_output=multimask,
    )
    predictor = plain(model)
    predictor.set_image(picture())
    prediction = predictor.predict(points=POINTS[:1], background_points=POINTS[1:], multimask=multimask)
    expected = answer.pred_masks[0]
    actual = torch.from_numpy(prediction.low_res_masks).reshape(expected.shape)
    assert float((actual - expected).abs().max() / expected.abs().max()) < 1e-4
    np.testing.assert_allclose(prediction.iou_predictions.ravel(), answer.iou_scores.ravel(), rtol=1e-4)
    masks = expected_masks(expected)
    assert (prediction.masks.reshape(masks.shape) == masks).mean() > 0.999
    assert 0.02 < masks.mean() < 0.98


def test_a_box_and_a_mask_of_before_give_the_masks_of_transformers(theirs: Sam2Model, model: GleSam) -> None:
    """The logits of the first call go back in, limited to 32 as SAM 2's official predictor returns them."""
    box = {"input_boxes": torch.cat([squashed([BOX[:2]]), squashed([BOX[2:]])]).reshape(1, 1, 4)}
    first = theirs(pixel_values=transformed(), multimask_output=False, **box).pred_masks[0]
    scale = 64 / float(first.abs().max())
    again = theirs(
        pixel_values=transformed(),
        multimask_output=False,
        input_masks=(scale * first).clamp(-32, 32),
        **box,
    )
    predictor = plain(model)
    predictor.set_image(picture())
    prediction = predictor.predict(box=BOX)
    actual = torch.from_numpy(prediction.low_res_masks)
    assert float((actual - first[:, 0]).abs().max() / first.abs().max()) < 1e-4
    assert (prediction.masks == expected_masks(first)[:, 0]).mean() > 0.999
    refined = predictor.predict(box=BOX, mask_input=scale * prediction.low_res_masks[0])
    expected = again.pred_masks[0][:, 0]
    difference = (torch.from_numpy(refined.low_res_masks) - expected).abs().max()
    assert float(difference / expected.abs().max()) < 1e-3


def test_several_prompts_at_once_are_those_one_by_one(model: GleSam) -> None:
    predictor = plain(model)
    predictor.set_image(picture())
    prompts = [Prompt(box=BOX), Prompt(points=POINTS[:1], background_points=POINTS[1:])]
    together = predictor.predict(prompts=prompts)
    alone = [predictor.predict(prompts=[prompt]) for prompt in prompts]
    for row, prediction in enumerate(alone):
        np.testing.assert_allclose(together.low_res_masks[row], prediction.low_res_masks[0], atol=1e-4)


def test_gle_changes_the_embedding_alone(model: GleSam) -> None:
    engines = torch_engines(model)
    seen = []

    class Decoder:
        spec = engines.mask_decoder.spec

        def __call__(self, feeds: dict, on_device: bool = False) -> dict:
            seen.append(feeds)
            return engines.mask_decoder(feeds)

    for gle in (engines.gle, None):
        predictor = Predictor(
            reference_manifest(model),
            Engines(engines.image_encoder, gle, Decoder()),  # type: ignore[arg-type]
        )
        predictor.set_image(picture())
        predictor.predict(box=BOX)
    enhanced, plain_sam = seen
    for name in ("high_res_s0", "high_res_s1"):
        np.testing.assert_array_equal(enhanced[name], plain_sam[name])
    assert np.abs(enhanced["image_embeddings"] - plain_sam["image_embeddings"]).max() > 1e-3


def test_a_model_with_a_dead_mask_head_never_chooses_a_mask(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As the authors' decoders are, which were trained with one mask."""
    torch.manual_seed(4)
    model = GleSam(tiny_sam2()).eval()
    folder = tmp_path_factory.mktemp("dead")
    with torch.no_grad():
        model.mask_decoder.output_hypernetworks_mlps[2].layers[1].weight.mul_(1e-9)
    assert dead_mask_heads(model.mask_decoder) == (2,)
    model.save_pretrained(folder)
    read = GleSam.from_pretrained(folder)
    assert not read.config.sam.decoder.dynamic_multimask
    assert not read.mask_decoder.config.dynamic_multimask
    assert not reference_manifest(read).multimask
    assert reference_manifest(model).family == "sam2"


def test_a_decoder_without_a_high_resolution_feature_is_refused_in_one_line(model: GleSam) -> None:
    prompts = encode_prompts([Prompt(box=BOX)], squash((HEIGHT, WIDTH), SIZE), "sam2")
    features = {
        "image_embeddings": np.zeros((1, 256, 4, 4), np.float32),
        "high_res_s0": np.zeros((1, 32, 16, 16), np.float32),
    }
    with pytest.raises(
        BackendError, match="mask_decoder input: expected image_embeddings, high_res_s0, high_res_s1"
    ):
        torch_engines(model).mask_decoder(prompts.feeds(features))
