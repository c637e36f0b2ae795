"""Each stage trains what it should, learns, and the whole recipe can be killed and resumed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import RECIPE, STAGES, small_config, small_model
from torch import Tensor, nn
from typer.testing import CliRunner

from glesam.cli.train import app
from glesam.data.batches import Batch, BatchPlan, SamplePool, make_batch
from glesam.data.datasets import load_datasets
from glesam.data.in_memory import in_memory
from glesam.data.shapes import random_scene
from glesam.gle import build_base_unet, load_base_weights
from glesam.model import GleSam
from glesam.training.decoder_stage import decoder_losses
from glesam.training.gle_stage import base_losses, embeddings_of, gle_losses
from glesam.training.loop import Losses
from glesam.training.recipe import Run, train_decoder, train_gle, train_model
from glesam.training.sam_stage import sam_losses
from glesam.training.shapes_stage import attend_by_place, coded_embeddings, shape_batches, shape_losses
from glesam.training.watch import Lines, Moment

PLAN = BatchPlan(size=2, image_size=64, seed=0, objects_per_image=2, with_degraded=True)


@pytest.fixture(scope="module")
def pool(data: Path) -> SamplePool:
    return SamplePool(in_memory(load_datasets(data)))


@pytest.fixture(scope="module")
def batch(pool: SamplePool) -> Batch:
    return make_batch(pool, PLAN, 0)


def descends(losses: Callable[[], Losses], trained: list[nn.Parameter], lr: float, steps: int = 12) -> bool:
    """Whether a few steps on one batch, always with the same chance, lower the loss."""
    optimizer = torch.optim.Adam(trained, lr=lr)
    values = []
    for _ in range(steps):
        torch.manual_seed(1)
        loss = losses()["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    return values[-1] < 0.97 * values[0]


def with_gradient(module: nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if p.grad is not None and bool(p.grad.any())}


def test_the_shapes_stage_trains_the_decoder_and_learns() -> None:
    model = small_model()
    attend_by_place(model)
    (batch,) = shape_batches(64, 4, 0, range(1))
    assert descends(lambda: shape_losses(model, batch), list(model.mask_decoder.parameters()), 1e-3)
    assert not any(name.startswith("gle.") for name in with_gradient(model))


def test_the_sam_stage_trains_encoder_prompts_and_decoder_and_learns(batch: Batch) -> None:
    model = small_model().train()
    parts = [model.image_encoder, model.prompt_encoder, model.mask_decoder]
    trained = [p for part in parts for p in part.parameters()]
    assert descends(lambda: sam_losses(model, batch), trained, 1e-3)
    found = with_gradient(model)
    assert {name.split(".")[0] for name in found} == {"image_encoder", "prompt_encoder", "mask_decoder"}
    encoder = {f"image_encoder.{name}" for name, _ in model.image_encoder.named_parameters()}
    assert encoder <= found
    heads = {name for name in found if "output_hypernetworks_mlps" in name}
    assert any("mlps.0" in name for name in heads)


def test_the_base_stage_trains_the_base_unet_alone_and_learns(batch: Batch) -> None:
    model = small_model().eval()
    torch.manual_seed(0)
    base = build_base_unet(model.config.gle.unet)
    assert descends(lambda: base_losses(model, base, batch), list(base.parameters()), 3e-3)
    assert with_gradient(model) == set()
    assert with_gradient(base) >= {"conv_in.weight", "conv_out.weight", "time_embedding.linear_1.weight"}


def test_the_gle_stage_trains_lora_alone_and_learns(batch: Batch) -> None:
    model = small_model().eval()
    for name, parameter in model.gle.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_B" in name:  # zero at the start, so that A has no gradient yet
            nn.init.normal_(parameter, std=0.02)
    model.gle.get_buffer("text_embedding").normal_()
    lora = [p for name, p in model.gle.named_parameters() if "lora_" in name]
    assert descends(lambda: gle_losses(model, batch), lora, 3e-3)
    found, adapted = with_gradient(model), {n for n, _ in model.named_parameters() if "lora_" in n}
    assert found <= adapted
    alone = {n for n in adapted - found if ".mid_block." not in n or not re.search("attn1.to_[qk]", n)}
    assert not alone, "only the mid block's single cell has nothing to attend to but itself"


def test_the_decoder_stage_reaches_neither_encoder_nor_gle_and_learns(batch: Batch) -> None:
    model = small_model().eval()
    decoder = list(model.mask_decoder.parameters())
    assert descends(lambda: decoder_losses(model, batch), decoder, 1e-3)
    assert {name.split(".")[0] for name in with_gradient(model)} <= {"mask_decoder", "prompt_encoder"}


def test_the_base_losses_are_gles_own_before_any_lora_is_trained(batch: Batch) -> None:
    """The sum over channels in `base_losses` is CRE's repetition."""
    model = small_model().eval().double()
    model.gle.get_buffer("text_embedding").normal_()
    torch.manual_seed(0)
    base = build_base_unet(model.config.gle.unet).double()
    double = Batch(*(x.double() if x.is_floating_point() else x for x in vars(batch).values()))
    torch.manual_seed(5)
    expected = base_losses(model, base, double)["loss"]
    load_base_weights(model.gle.unet, base.float())
    torch.manual_seed(5)
    torch.testing.assert_close(gle_losses(model, double)["loss"], expected, rtol=1e-6, atol=0)


def test_a_clean_row_has_the_clean_pictures_embedding(pool: SamplePool) -> None:
    model = small_model().eval()
    clean_only = make_batch(pool, replace(PLAN, clean_share=1.0), 0)
    torch.testing.assert_close(*embeddings_of(model, clean_only))
    damaged, clean = embeddings_of(model, make_batch(pool, replace(PLAN, clean_share=0.0), 0))
    assert not any(torch.equal(a, b) for a, b in zip(damaged, clean, strict=True))


def test_shape_batches_are_a_function_of_the_step() -> None:
    first, again = (next(shape_batches(64, 3, 5, range(8, 9))) for _ in range(2))
    (_, second) = shape_batches(64, 3, 5, range(7, 9))
    for other in (again, second):
        assert all(torch.equal(a, b) for a, b in zip(vars(first).values(), vars(other).values(), strict=True))
    assert first.masks.shape == (12, 64, 64)
    assert not torch.equal(first.labels, next(shape_batches(64, 3, 5, range(7, 8))).labels)


def test_scenes_hold_a_background_and_several_shapes() -> None:
    scenes = [random_scene(64, np.random.default_rng(seed)) for seed in range(20)]
    assert all(scene.shape == (64, 64) and scene.dtype == np.uint8 for scene in scenes)
    assert np.mean([len(np.unique(scene)) for scene in scenes]) > 3
    assert max(int(scene.max()) for scene in scenes) < 16


def test_coded_embeddings_tell_labels_apart_and_are_normalized() -> None:
    labels = torch.zeros(1, 64, 64, dtype=torch.uint8)
    labels[:, :, 32:] = 5
    torch.manual_seed(0)
    coded = coded_embeddings(labels)
    assert coded.shape == (1, 256, 4, 4)
    left, right, far = coded[0, :, 0, 0], coded[0, :, 0, 3], coded[0, :, 3, 0]
    assert float(left @ far) / 256 > 0.7
    assert abs(float(left @ right)) / 256 < 0.3
    assert float(left.square().mean()) == pytest.approx(1, abs=0.01)


def state(model: GleSam) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(before: dict[str, Tensor], model: GleSam) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def silent(_: Moment) -> None:
    pass


def test_the_gle_stages_leave_sam_alone_and_the_decoder_stage_everything_else(
    pool: SamplePool, tmp_path: Path
) -> None:
    model = small_model().eval()
    before = state(model)
    train_gle(model, pool, Run(tmp_path, silent), RECIPE)
    assert all(name.startswith("gle.") for name in changed(before, model))
    base = torch.load(tmp_path / "base.pt", weights_only=True)["module"]["conv_in.weight"]
    assert torch.equal(model.gle.unet.conv_in.get_base_layer().weight, base.repeat(1, 64, 1, 1))
    assert all(bool(p.any()) for name, p in model.gle.named_parameters() if "lora_B" in name)
    before = state(model)
    train_decoder(model, pool, Run(tmp_path, silent), RECIPE.decoder)
    found = changed(before, model)
    assert found
    assert all(name.startswith("mask_decoder.") for name in found)


@pytest.fixture(scope="module")
def trained(pool: SamplePool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of an uninterrupted run."""
    model = small_model()
    run = tmp_path_factory.mktemp("run")
    train_model(model, pool, Run(run, silent), RECIPE)
    assert not model.training
    assert sorted(path.stem for path in run.iterdir()) == sorted(STAGES)
    return state(model)


@pytest.mark.parametrize("line", ["sam-small 2/2", "gle 2/2"])
def test_a_recipe_that_is_killed_and_resumed_ends_with_the_same_weights(
    trained: dict[str, Tensor], pool: SamplePool, tmp_path: Path, line: str
) -> None:
    def kill(reported: str) -> None:
        if reported.startswith(line):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(small_model(), pool, Run(tmp_path, Lines(kill)), RECIPE)
    resumed = small_model()
    train_model(resumed, pool, Run(tmp_path, silent), RECIPE)
    assert changed(trained, resumed) == set()


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--threads", "1"])
    return result.exit_code, result.stdout, result.stderr


def test_glesam_train_writes_a_checkpoint_that_loads(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glesam.training.session.nano", small_config)
    monkeypatch.setattr("glesam.training.session.NANO", RECIPE)
    out = tmp_path / "model"
    code, stdout, stderr = invoke("--data", data, "--run", tmp_path / "run", "--out", out)
    assert (code, stderr) == (0, "")
    assert [line.split()[0] for line in stdout.splitlines() if "2/2" in line] == list(STAGES)
    assert stdout.splitlines()[-1] == f"wrote {out}; next: glesam-export {out} --precision fp16"
    loaded = GleSam.from_pretrained(out)
    parts = {"sam": loaded.image_encoder, "gle": loaded.gle, "decoder": loaded.mask_decoder}
    for name, part in parts.items():
        checkpoint = torch.load(tmp_path / "run" / f"{name}.pt", weights_only=True)["module"]
        prefix = "image_encoder." if name == "sam" else ""
        found_in = {key: found for key, found in part.state_dict().items() if prefix + key in checkpoint}
        assert found_in.keys() == {k.removeprefix(prefix) for k in checkpoint if k.startswith(prefix)}
        for key, found in found_in.items():
            expected = checkpoint[prefix + key]
            assert torch.equal(found, expected.half().to(expected.dtype)), key


NO_DATA = {
    "no folder": "no such folder; expected one of data sets",
    "no set": "no pictures in ",
    "no label map": "it has no mask; expected ",
}


@pytest.mark.parametrize("damage", NO_DATA)
def test_glesam_train_without_its_data_is_one_line(data: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "data"
    if damage != "no folder":
        (folder / "bsds500").mkdir(parents=True)
    if damage == "no label map":
        for i in range(12):
            (folder / "bsds500" / f"{i}.jpg").write_bytes(next(data.rglob("*.jpg")).read_bytes())
    code, stdout, stderr = invoke("--data", folder, "--run", tmp_path / "run", "--out", tmp_path / "out")
    (line,) = stderr.splitlines()
    assert code == 2
    assert stdout == ""
    assert line.startswith("error: ")
    assert str(folder) in line
    assert NO_DATA[damage] in line
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "out").exists()
