"""Stages 1 and 2: what is trained and what is not, their options, and that runs go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from tiny_training import SETTINGS, trained_model
from torch import Tensor

from glesam.config import TwoWayDecoderConfig, tiny
from glesam.data.batches import PIXEL_MEAN, Batch, SamplePool, make_batch, pad_to, to_tensor
from glesam.model import GleSam
from glesam.training.encoded_views import EncodedViews, Mixture
from glesam.training.stage_config import DecoderStageConfig, StageConfig, parse_stage_config
from glesam.training.stage_losses import decoder_losses, encoded_losses, select_decoder
from glesam.training.stages import StageRun, ready, train_stage
from glesam.training.view_encoder import ViewEncoder
from glesam.training.watch import Lines
from glesam_runtime.errors import CheckpointError, InputError

CRITIC = {"distribution_matching": 1.0, "gan": 5e-3, "generator_every": 2}


VIEWS = {"views": 4, "raw_share": 0.25, "mixed_share": 0.25}


pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def settings(stage: int, **values: object) -> StageConfig:
    return parse_stage_config(json.dumps({**SETTINGS, **values}), stage, "settings")


class Killed(Exception):
    pass


def run(
    pool: SamplePool, folder: Path, config: StageConfig, *, model: GleSam | None = None,
    resume: bool = False, kill: int | None = None,
) -> GleSam:  # fmt: skip
    def line(text: str) -> None:
        if kill is not None and f" {kill}/" in text:
            raise Killed

    accelerator = Accelerator(mixed_precision=getattr(config, "mixed_precision", "no"))
    prepared = ready(model or trained_sam(), config, accelerator)
    train_stage(prepared, pool, config, StageRun(folder, accelerator, Lines(line), resume))
    return prepared


def state(model: GleSam) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def trained_sam() -> GleSam:
    """A small model with SAM's mask decoder, which the stages are for."""
    return trained_model(TwoWayDecoderConfig(64))


BEFORE = state(trained_sam())


@pytest.mark.parametrize("options", [{}, CRITIC, {"gradient_checkpointing": True}])
def test_stage_1_trains_the_adapters_alone(
    pool: SamplePool, tmp_path: Path, options: dict[str, object]
) -> None:
    actual = changed(BEFORE, state(run(pool, tmp_path, settings(1, **options))))
    assert actual
    assert all(name.startswith("gle.unet.") and ".default." in name for name in actual)


def test_stage_2_leaves_what_predicts_the_iou_alone_by_default(pool: SamplePool, tmp_path: Path) -> None:
    default = changed(BEFORE, state(run(pool, tmp_path / "a", settings(2))))
    assert all(name.startswith("mask_decoder.") and "iou" not in name for name in default)
    assert default >= {"mask_decoder.mask_tokens.weight", "mask_decoder.output_upscaling.0.weight"}
    requested = changed(BEFORE, state(run(pool, tmp_path / "b", settings(2, train_iou_head=True))))
    assert {name for name in requested if "iou" in name} >= {
        "mask_decoder.iou_token.weight", "mask_decoder.iou_prediction_head.layers.0.weight"
    }  # fmt: skip


def test_stage_2_on_encoded_views_trains_the_decoder_alone(pool: SamplePool, tmp_path: Path) -> None:
    actual = changed(BEFORE, state(run(pool, tmp_path, settings(2, **VIEWS))))
    assert all(name.startswith("mask_decoder.") and "iou" not in name for name in actual)
    assert actual >= {"mask_decoder.mask_tokens.weight", "mask_decoder.output_upscaling.0.weight"}
    assert len(list((tmp_path / "views").glob("*.safetensors"))) == 4


def test_views_of_a_picture_give_the_losses_of_the_picture(pool: SamplePool, tmp_path: Path) -> None:
    """Encoded before or within the step, the same objects have the same losses."""
    model, plan = trained_sam(), settings(2).plan(trained_sam().config.sam)
    select_decoder(model, train_iou_head=False)
    views = EncodedViews(tmp_path, 1, replace(plan, size=1), Mixture())
    ViewEncoder(model, pool, Accelerator(), lambda _: None).encode(views)
    encoded, (_, degraded) = views.batch(0), views.draw(pool, 0)
    pixels = to_tensor([pad_to(64, degraded, PIXEL_MEAN)])
    objects = encoded.masks, encoded.point_coords, encoded.point_labels
    batch = Batch(pixels, pixels, torch.zeros(1, 64, 64, dtype=torch.uint8), *objects)
    torch.manual_seed(0)
    expected = decoder_losses(model, batch)
    torch.manual_seed(0)
    for name, loss in encoded_losses(model, encoded).items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-2, atol=1e-3)


def test_a_refused_checkpoint_is_refused_before_anything_is_encoded(pool: SamplePool, tmp_path: Path) -> None:
    run(pool, tmp_path, settings(2))
    with pytest.raises(CheckpointError, match="whose views was None, but now views is 4"):
        run(pool, tmp_path, settings(2, views=4))
    assert not (tmp_path / "views").exists()


def test_the_papers_decoder_has_3925472_parameters_to_train() -> None:
    with torch.device("meta"):
        config = tiny()
        model = GleSam(replace(config, sam=replace(config.sam, decoder=TwoWayDecoderConfig(2048))))
    select_decoder(model, train_iou_head=False)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 3_925_472


def fractions_that_shrank(model: GleSam) -> list[float]:
    """Fraction of smaller weights in each of the mask MLPs 1 to 3, among those well away from zero."""
    fractions = []
    for index in (1, 2, 3):
        mlp = f"mask_decoder.output_hypernetworks_mlps.{index}."
        names = [name for name in BEFORE if name.startswith(mlp)]
        now = torch.cat([state(model)[name].flatten() for name in names])
        then = torch.cat([BEFORE[name].flatten() for name in names])
        fractions.append(float((now.abs() < then.abs())[then.abs() > 0.02].float().mean()))
    return fractions


def test_masks_1_to_3_fade_in_the_authors_recipe_and_with_a_share_those_that_are_the_best_live(
    pool: SamplePool, tmp_path: Path
) -> None:
    """Adam's coupled decay moves weights without a gradient to zero by the whole rate, step after step."""
    alone = fractions_that_shrank(run(pool, tmp_path / "a", settings(2, multimask_share=0.0)))
    mixed = fractions_that_shrank(run(pool, tmp_path / "b", settings(2, multimask_share=0.5)))
    assert alone == [1, 1, 1]
    assert min(mixed) < 0.9


def test_without_enhancement_the_decoder_never_meets_gle(pool: SamplePool) -> None:
    model = trained_sam()
    config = settings(2, enhance=False)
    assert isinstance(config, DecoderStageConfig)
    batch = make_batch(pool, config.plan(model.config.sam), 0)
    loss = config.mask_loss(64)

    def losses(*, enhance: bool) -> float:
        torch.manual_seed(0)
        return float(decoder_losses(model, batch, loss, enhance=enhance)["loss"].detach())

    plain, enhanced = losses(enhance=False), losses(enhance=True)
    assert plain != enhanced
    for parameter in model.gle.parameters():
        torch.nn.init.normal_(parameter)
    assert losses(enhance=False) == plain
    assert losses(enhance=True) != enhanced


@pytest.mark.parametrize(
    ("stage", "options"),
    [(1, {}), (1, CRITIC), (2, {}), (2, {"feedback_share": 1.0, "mixed_precision": "bf16"}), (2, VIEWS)],
)
def test_a_stage_that_is_killed_and_resumed_ends_with_the_same_weights(
    pool: SamplePool, tmp_path: Path, stage: int, options: dict[str, object]
) -> None:
    config = settings(stage, **options)
    whole = state(run(pool, tmp_path / "whole", config))
    with pytest.raises(Killed):
        run(pool, tmp_path / "cut", config, kill=2)
    assert changed(whole, state(run(pool, tmp_path / "cut", config))) == set()


def test_checkpointing_changes_memory_and_not_weights(pool: SamplePool, tmp_path: Path) -> None:
    plain = state(run(pool, tmp_path / "a", settings(1, **CRITIC)))
    recomputed = state(run(pool, tmp_path / "b", settings(1, gradient_checkpointing=True, **CRITIC)))
    for name, tensor in plain.items():
        torch.testing.assert_close(recomputed[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("stage", "options"), [(1, CRITIC), (2, {"feedback_share": 0.5})])
def test_a_batch_in_parts_gives_the_weights_of_a_batch_in_one(
    pool: SamplePool, tmp_path: Path, stage: int, options: dict[str, object]
) -> None:
    whole = state(run(pool, tmp_path / "a", settings(stage, batch_size=4, optimizer="adamw", **options)))
    parts = settings(stage, batch_size=4, optimizer="adamw", accumulation=2, **options)
    actual = state(run(pool, tmp_path / "b", parts))
    for name, tensor in whole.items():
        # AdamW's first steps are +-lr whatever the gradient, so that noise around 0 shows: a few lr
        assert float((actual[name].float() - tensor.float()).abs().mean()) < 2e-5, name


def test_bf16_trains_the_decoder_although_a_mask_is_fed_back(pool: SamplePool, tmp_path: Path) -> None:
    """autocast would reuse the copies of weights that the first answer made without gradients."""
    config = settings(2, feedback_share=1.0, mixed_precision="bf16", optimizer="adamw")
    actual = changed(BEFORE, state(run(pool, tmp_path, config)))
    assert {name for name in actual if "self_attn" in name and "weight" in name}
    assert "mask_decoder.output_upscaling.0.weight" in actual


def test_new_adapters_have_their_rank_and_start_at_the_base(pool: SamplePool, tmp_path: Path) -> None:
    config = settings(1, lora_rank=2, gamma=1.5)
    model = ready(trained_sam(), config, Accelerator())
    gle = model.config.gle
    assert (gle.lora_rank, gle.lora_alpha, gle.gamma, model.gle.gamma) == (2, 2.0, 1.5, 1.5)
    adapters = {name: p for name, p in model.gle.named_parameters() if "lora_" in name}
    assert all(not bool(p.any()) for name, p in adapters.items() if "lora_B" in name)
    assert all(2 in p.shape for p in adapters.values())
    kept = {name: t for name, t in state(model).items() if "lora_" not in name}
    assert all(torch.equal(t, BEFORE[name]) for name, t in kept.items())
    train_stage(model, pool, config, StageRun(tmp_path, Accelerator(), Lines(lambda _: None)))
    assert any(bool(p.any()) for name, p in adapters.items() if "lora_B" in name)


def test_a_gle_without_adapters_gets_them_or_is_refused() -> None:
    config = tiny()
    whole = GleSam(replace(config, gle=replace(config.gle, lora_rank=0))).eval()
    for parameter in whole.gle.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    with pytest.raises(InputError, match="this model has none; set lora_rank"):
        ready(whole, settings(1), Accelerator())
    adapted = ready(whole, settings(1, lora_rank=2), Accelerator()).eval()
    assert any("lora_" in name for name, _ in adapted.named_parameters())
    embedding = torch.randn(1, 256, 4, 4)
    assert torch.equal(adapted.enhance(embedding), whole.enhance(embedding))


def test_another_gamma_keeps_the_adapters() -> None:
    model = ready(trained_sam(), settings(1, gamma=1.5), Accelerator())
    assert changed(BEFORE, state(model)) == set()


@pytest.mark.parametrize(
    ("options", "resume", "message"),
    [
        ({"lr": 2e-3}, False, "whose lr was 0.001, but now lr is 0.002; choose another folder"),
        ({"lr": 2e-3}, True, "whose lr was 0.001, but now lr is 0.002"),
        ({"steps": 5}, False, "whose steps was 3, but now steps is 5"),
        ({"gan": 5e-3}, True, "whose gan was 0.0, but now gan is 0.005"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    pool: SamplePool, tmp_path: Path, options: dict[str, object], resume: bool, message: str
) -> None:
    run(pool, tmp_path, settings(1))
    before = (tmp_path / "stage1.pt").read_bytes()
    with pytest.raises(CheckpointError, match=message):
        run(pool, tmp_path, settings(1, **options), resume=resume)
    assert (tmp_path / "stage1.pt").read_bytes() == before


def test_a_checkpoint_of_another_model_is_refused(pool: SamplePool, tmp_path: Path) -> None:
    run(pool, tmp_path, settings(2))
    other = trained_sam()
    with torch.no_grad():
        other.gle.unet.conv_in.base_layer.weight.mul_(1.01)
    with pytest.raises(CheckpointError, match="is of a run whose model was"):
        run(pool, tmp_path, settings(2), model=other)


def test_a_resumed_run_may_have_more_steps_and_is_then_the_longer_run(
    pool: SamplePool, tmp_path: Path
) -> None:
    run(pool, tmp_path / "a", settings(1, steps=2))
    longer = settings(1, steps=4, save_every=2)
    resumed = run(pool, tmp_path / "a", longer, resume=True)
    assert changed(state(run(pool, tmp_path / "b", longer)), state(resumed)) == set()


def test_settings_that_do_not_fit_processes_or_model_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"batch_size 3, .* is not a multiple of 1 processes x accumulation 2"
    ):
        ready(trained_sam(), settings(1, batch_size=3, accumulation=2), Accelerator())
    with pytest.raises(ValueError, match="image_size 96: this model's ViT encoder takes 64 px alone"):
        ready(GleSam(tiny()), settings(1, image_size=96), Accelerator())
    with pytest.raises(
        ValueError, match="image_size 80: the efficientnet_lite encoder takes multiples of 32 px"
    ):
        ready(trained_model(), settings(1, image_size=80), Accelerator())


def test_a_gle_whose_level_head_is_untrained_is_refused_where_it_would_learn_nothing() -> None:
    config = trained_model().config
    model = GleSam(replace(config, gle=replace(config.gle, adaptive=True)))
    with pytest.raises(InputError, match=r"its level head untrained, .*train the head first"):
        ready(model, settings(1), Accelerator())
    assert ready(model, settings(2), Accelerator())
    model.gle.level_head.level.bias.data.fill_(1.0)
    assert ready(model, settings(1), Accelerator())
