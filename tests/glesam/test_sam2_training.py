"""Stages 1 and 2 of a SAM 2: squashed pictures, high-resolution features beside GLE, one mask in training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny_training import SETTINGS, fresh_accelerate
from torch import Tensor
from typer.testing import CliRunner

from glesam.cli.train import app
from glesam.config import HighResDecoderConfig, NoMemEmbed, tiny_sam2
from glesam.data.augmentation import random_view
from glesam.data.batches import PADDING_LABEL, Batch, SamplePool, make_batch, to_tensor
from glesam.data.masks import MaskLayers
from glesam.model import GleSam
from glesam.official.decoder import load_decoder
from glesam.official.lora import load_lora
from glesam.sam2 import HighResDecoder
from glesam.training.encoded_views import EncodedViews, Mixture
from glesam.training.stage_config import DecoderStageConfig, StageConfig, parse_stage_config
from glesam.training.stage_losses import decoder_losses, encoded_losses, select_decoder
from glesam.training.stages import StageRun, ready, train_stage
from glesam.training.view_encoder import ViewEncoder
from glesam.training.watch import Lines
from glesam_runtime.errors import InputError
from glesam_runtime.preprocess import preprocess

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def sam2_model(no_mem_embed: NoMemEmbed = "before_gle") -> GleSam:
    """Random, and so that GLE changes its embeddings."""
    torch.manual_seed(0)
    model = GleSam(tiny_sam2(no_mem_embed))
    model.gle.get_buffer("text_embedding").normal_()
    for name, parameter in model.named_parameters():
        if "lora_B" in name or name.endswith("no_mem_embed"):
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()


def settings(stage: int, **values: object) -> StageConfig:
    return parse_stage_config(json.dumps({**SETTINGS, **values}), stage, "settings")


def run(pool: SamplePool, folder: Path, config: StageConfig, model: GleSam) -> GleSam:
    accelerator = Accelerator()
    prepared = ready(model, config, accelerator)
    train_stage(prepared, pool, config, StageRun(folder, accelerator, Lines(lambda _: None)))
    return prepared


def state(model: GleSam) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(before: dict[str, Tensor], model: GleSam) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.fixture(scope="module")
def batch(pool: SamplePool) -> Batch:
    return make_batch(pool, settings(2, clean_share=0.0).plan(tiny_sam2().sam), 0)


# --- pictures


def test_a_squashed_view_is_the_picture_as_the_runtime_resizes_it() -> None:
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (6, 10, 3)), np.ones((15, 20, 1))).astype(np.uint8)
    masks = MaskLayers.stacked([image[..., 0] > 100], image.shape[:2])
    expected = preprocess(image, 64, (0.0,) * 3, (1.0,) * 3, "squash")[0][0].transpose(1, 2, 0)
    view = random_view(image, masks, 64, (1.0, 1.0), 0.0, rng, squash=True)
    errors = [np.abs(expected[:, ::turn] - view.image).mean() for turn in (1, -1)]
    assert min(errors) < 1.5 < max(errors)
    mask = view.masks[0] if errors[0] < errors[1] else view.masks[0][:, ::-1]
    assert (mask != (expected[..., 0] > 100)).mean() < 0.05


@pytest.mark.parametrize("affine_share", [0.0, 1.0])
def test_squashed_views_are_square_and_keep_picture_and_masks_together(affine_share: float) -> None:
    rows, columns = np.mgrid[:90, :200]
    disc = (columns - 120) ** 2 + (rows - 40) ** 2 < 35**2
    image = np.repeat(disc[..., None].astype(np.uint8) * np.uint8(255), 3, axis=2)
    masks = MaskLayers.stacked([disc], disc.shape)
    rng = np.random.default_rng(1)
    for _ in range(25):
        view = random_view(image, masks, 64, (0.75, 1.5), affine_share, rng, squash=True)
        mask = view.masks[0]
        assert view.image.shape == (64, 64, 3)
        edge = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
        assert ((view.image[..., 0] >= 128) != mask).sum() < 0.6 * max(20, edge)


def test_batches_of_a_sam_2_have_no_padding(batch: Batch) -> None:
    assert batch.image.shape == batch.degraded.shape == (2, 3, 64, 64)
    assert not bool((batch.labels == PADDING_LABEL).any())
    for mask, coords, labels in zip(batch.masks, batch.point_coords, batch.point_labels, strict=True):
        assert all(
            mask[int(y), int(x)] == 1 for (x, y), label in zip(coords, labels, strict=True) if label == 1
        )


# --- stage 2


def test_the_high_resolution_features_are_the_degraded_pictures(batch: Batch) -> None:
    model = sam2_model()
    select_decoder(model, train_iou_head=False)

    def losses(batch: Batch) -> float:
        torch.manual_seed(0)
        return float(decoder_losses(model, batch)["loss"].detach())

    expected = losses(batch)
    assert losses(replace(batch, image=batch.image.flip(-1))) == expected
    enhance: Callable[..., object] = model.enhance
    model.enhance = lambda x: replace(enhance(x), high_res=clean)  # type: ignore
    clean = model.encode_features(model.normalize(batch.image)).high_res
    assert losses(batch) != expected


@pytest.mark.parametrize("place", ["before_gle", "after_gle"])
def test_stage_2_trains_the_decoder_but_for_what_is_not_computed(
    pool: SamplePool, tmp_path: Path, place: NoMemEmbed
) -> None:
    model = sam2_model(place)
    before = state(model)
    actual = changed(before, run(pool, tmp_path, settings(2), model))
    frozen = ("iou", "pred_obj_score_head", "no_mem_embed")
    assert all(name.startswith("mask_decoder.") for name in actual)
    assert not [name for name in actual if any(part in name for part in frozen)]
    assert actual >= {"mask_decoder.mask_tokens.weight", "mask_decoder.obj_score_token.weight"}
    assert {name for name in before if name.startswith("mask_decoder.output_")} <= actual


def test_training_takes_no_other_mask_for_mask_0(batch: Batch) -> None:
    """At a delta of 1 all of these masks are unstable, and the choice would be another mask's gradient."""
    model = sam2_model()
    decoder = model.mask_decoder
    assert isinstance(decoder, HighResDecoder)
    decoder.config = replace(decoder.config, stability_delta=1.0)
    select_decoder(model, train_iou_head=False)
    torch.manual_seed(0)
    actual = decoder_losses(model, batch)["iou"]
    model.disable_dynamic_multimask()
    torch.manual_seed(0)
    assert torch.equal(decoder_losses(model.eval(), batch)["iou"], actual)


def test_views_of_a_picture_give_the_losses_of_the_picture(pool: SamplePool, tmp_path: Path) -> None:
    model, plan = sam2_model(), settings(2).plan(tiny_sam2().sam)
    select_decoder(model, train_iou_head=False)
    views = EncodedViews(tmp_path, 1, replace(plan, size=1), Mixture(), high_res=True)
    ViewEncoder(model, pool, Accelerator(), lambda _: None).encode(views)
    assert views.holds(0)
    assert not replace(views, high_res=False).holds(0)
    encoded, (_, degraded) = views.batch(0), views.draw(pool, 0)
    assert [list(x.shape) for x in encoded.high_res] == [[1, 32, 16, 16], [1, 64, 8, 8]]
    objects = encoded.masks, encoded.point_coords, encoded.point_labels
    pixels = to_tensor([degraded])
    whole = Batch(pixels, pixels, torch.zeros(1, 64, 64, dtype=torch.uint8), *objects)
    torch.manual_seed(0)
    expected = decoder_losses(model, whole)
    torch.manual_seed(0)
    for name, loss in encoded_losses(model, encoded).items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-2, atol=1e-3)


def test_stage_2_on_encoded_views_works_off_a_batch_in_parts(pool: SamplePool, tmp_path: Path) -> None:
    model = sam2_model()
    before = state(model)
    run(pool, tmp_path, settings(2, views=3, accumulation=2, mixed_share=0.5), model)
    assert "mask_decoder.output_upscaling.0.weight" in changed(before, model)
    assert len(list((tmp_path / "views").glob("*.safetensors"))) == 3


# --- dead masks


def chooses(model: GleSam) -> bool:
    decoder = model.config.sam.decoder
    assert isinstance(decoder, HighResDecoderConfig)
    assert model.mask_decoder.config == decoder
    return decoder.dynamic_multimask


@pytest.mark.parametrize(("share", "expected"), [(0.5, True), (0.0, False)])
def test_where_masks_1_to_3_fade_none_of_them_is_ever_chosen(
    pool: SamplePool, tmp_path: Path, share: float, expected: bool
) -> None:
    model = run(pool, tmp_path, settings(2, multimask_share=share), sam2_model())
    model.save_pretrained(tmp_path / "model")
    assert chooses(GleSam.from_pretrained(tmp_path / "model")) is expected


def test_a_checkpoint_with_dead_masks_never_answers_with_one(tmp_path: Path) -> None:
    model = sam2_model()
    with torch.no_grad():
        for parameter in model.mask_decoder.get_submodule("output_hypernetworks_mlps.2").parameters():
            parameter.mul_(1e-6)
    model.save_pretrained(tmp_path)
    assert chooses(model)
    assert not chooses(GleSam.from_pretrained(tmp_path))


# --- the command


def test_both_stages_write_a_checkpoint_and_the_official_files(data: Path, tmp_path: Path) -> None:
    model = sam2_model()
    model.save_pretrained(tmp_path / "0")
    for stage in (1, 2):
        (tmp_path / "settings.json").write_text(json.dumps({**SETTINGS, "steps": 1}))
        arguments = ["--data", data, "--stage", stage, "--config", tmp_path / "settings.json", "--threads", 1]
        arguments += ["--model", tmp_path / f"{stage - 1}", "--out", tmp_path / f"{stage}"]
        with fresh_accelerate():
            result = CliRunner().invoke(
                app, [str(x) for x in (*arguments, "--run", tmp_path / f"run{stage}")]
            )
        assert (result.exit_code, result.stderr) == (0, "")
    trained = GleSam.from_pretrained(tmp_path / "2")
    parts = {name.partition(".")[0] for name in changed(state(model), trained)}
    assert parts == {"gle", "mask_decoder"}
    load_lora(model, tmp_path / "1" / "pytorch_lora_weights.safetensors")
    load_decoder(model, tmp_path / "2" / "ft-decoder.pth")
    assert changed(state(trained), model) == set()


def test_an_image_size_without_whole_windows_is_refused() -> None:
    for stage in (1, 2):
        with pytest.raises(InputError, match="image_size 48: the hiera encoder takes multiples of 32 px"):
            ready(sam2_model(), settings(stage, image_size=48), Accelerator())
        config = settings(stage, image_size=96)
        assert isinstance(config, DecoderStageConfig) == (stage == 2)
        ready(sam2_model(), config, Accelerator())
