"""Each stage trains what it should, learns, and the whole recipe can be killed and resumed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import RECIPE, STAGES, fresh_accelerate, small_config, small_model, trained_model
from torch import Tensor, nn
from typer.testing import CliRunner

from glesam.cli.train import app
from glesam.config import GleSamConfig, tiny
from glesam.data.batches import Batch, BatchPlan, SamplePool, make_batch
from glesam.model import GleSam
from glesam.nano.recipe import Run, select_base, train_decoder, train_gle, train_model
from glesam.nano.sam_stage import EdgeHead, attend_by_place, coherence_loss, edge_loss, sam_losses
from glesam.training.loop import Losses
from glesam.training.mask_loss import no_masks, segmentation_losses
from glesam.training.stage_losses import decoder_losses, embeddings_of, gle_losses, select_lora
from glesam.training.watch import Lines, Moment

PLAN = BatchPlan(size=2, image_size=64, seed=0, objects_per_image=2, with_degraded=True)


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


def test_the_sam_stage_trains_encoder_prompts_and_decoder_and_learns(batch: Batch) -> None:
    model, edge_head = small_model().train(), EdgeHead()
    parts = [model.image_encoder, model.prompt_encoder, model.mask_decoder, edge_head]
    trained = [p for part in parts for p in part.parameters()]
    assert descends(lambda: sam_losses(model, edge_head, batch), trained, 1e-3)
    assert with_gradient(edge_head) == {"weight", "bias"}
    actual = with_gradient(model)
    assert {name.split(".")[0] for name in actual} == {"image_encoder", "prompt_encoder", "mask_decoder"}
    encoder = {f"image_encoder.{name}" for name, _ in model.image_encoder.named_parameters()}
    assert encoder <= actual
    heads = {name for name in actual if "output_hypernetworks_mlps" in name}
    assert any("mlps.0" in name for name in heads)


def test_the_edge_head_and_coherence_teach_the_encoder_alone(batch: Batch) -> None:
    """Neither needs a prompt: with them alone, embeddings come to tell labels and their edges."""
    model, edge_head = small_model().train(), EdgeHead()
    for loss in (coherence_loss, lambda z, labels: edge_loss(edge_head(z), labels)):
        model.zero_grad()

        def losses(loss: Callable[[Tensor, Tensor], Tensor] = loss) -> Losses:
            return {"loss": loss(model.encode(model.normalize(batch.image)), batch.labels)}

        assert descends(losses, [*model.image_encoder.parameters(), *edge_head.parameters()], 1e-3)
        assert {name.split(".")[0] for name in with_gradient(model)} == {"image_encoder"}
    assert with_gradient(edge_head) == {"weight", "bias"}


def test_an_edge_heads_outputs_are_the_positions_of_a_token_in_rows_and_columns() -> None:
    """Output 4 y + x of a token is its stride-4 position in row y, column x."""
    head = EdgeHead()
    nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.arange(16.0))
    edges = head(torch.zeros(1, 256, 2, 3))
    assert edges.shape == (1, 8, 12)
    assert torch.equal(edges[0, 4:, 8:], torch.arange(16.0).reshape(4, 4))


@pytest.mark.parametrize(("config", "expected"), [(tiny(), 5), (small_config(), 1)])
def test_prompts_and_image_attend_where_their_places_agree(config: GleSamConfig, expected: int) -> None:
    """SAM's decoder has two such attentions a layer and a last one, nano's one."""
    model = GleSam(config)
    attend_by_place(model)
    attentions = [m for m in model.mask_decoder.modules() if hasattr(m, "k_proj")]
    by_place = [a for a in attentions if torch.equal(a.q_proj.weight, a.k_proj.weight)]
    assert len(by_place) == expected
    rows = by_place[0].q_proj.weight
    torch.testing.assert_close(rows @ rows.T, 1.5**2 * torch.eye(len(rows)), rtol=0, atol=1e-5)


def test_the_base_stage_trains_the_unet_but_for_cres_convolutions_which_have_lora(batch: Batch) -> None:
    model = small_model().eval()
    model.gle.get_buffer("text_embedding").normal_()
    select_base(model)
    selected = {name for name, p in model.named_parameters() if p.requires_grad}
    cre = "gle.unet.conv_in.", "gle.unet.conv_out."
    lora_of_cre = {f"{conv}lora_{factor}.default.weight" for conv in cre for factor in "AB"}
    unet = {name for name, _ in model.named_parameters() if name.startswith("gle.unet.")}
    assert selected == lora_of_cre | {n for n in unet if "lora_" not in n and not n.startswith(cre)}
    trained = [p for p in model.parameters() if p.requires_grad]
    assert descends(lambda: gle_losses(model, batch), trained, 3e-3)
    assert with_gradient(model) <= selected
    assert with_gradient(model) >= lora_of_cre | {"gle.unet.time_embedding.linear_1.weight"}


def test_the_gle_stage_trains_lora_alone_and_learns(batch: Batch) -> None:
    model = trained_model()
    select_lora(model)
    lora = [p for p in model.parameters() if p.requires_grad]
    assert descends(lambda: gle_losses(model, batch), lora, 3e-3)
    actual, adapted = with_gradient(model), {n for n, _ in model.named_parameters() if "lora_" in n}
    assert actual <= adapted
    alone = {n for n in adapted - actual if ".mid_block." not in n or not re.search("attn1.to_[qk]", n)}
    assert not alone, "only the mid block's single token has nothing to attend to but itself"


def test_without_a_task_gle_minimizes_the_papers_squared_error_alone(batch: Batch) -> None:
    model = trained_model()
    damaged, clean = embeddings_of(model, batch)
    gamma = model.gle.gamma
    expected = (gamma * model.enhance(damaged) - gamma * clean).square().mean()
    losses = gle_losses(model, batch)
    torch.testing.assert_close(losses["loss"], expected)
    assert "iou" not in losses


def test_the_task_adds_what_the_frozen_decoder_makes_of_the_restored_embedding(batch: Batch) -> None:
    model = trained_model()
    select_lora(model)
    damaged, _ = embeddings_of(model, batch)
    torch.manual_seed(3)
    masks = segmentation_losses(model, model.enhance(damaged), batch)
    torch.manual_seed(3)
    losses = gle_losses(model, batch, task=0.25)
    torch.testing.assert_close(losses["loss"], gle_losses(model, batch)["loss"] + 0.25 * masks["loss"])
    assert torch.equal(losses["iou"], masks["iou"])
    masks["loss"].backward()
    assert any("lora_" in name for name in with_gradient(model))
    assert all("lora_" in name for name in with_gradient(model))


def test_prompts_picture_by_picture_are_each_answered_from_its_own_picture(batch: Batch) -> None:
    """Two embeddings with two prompts each: the second picture's masks do not depend on the first one."""
    model = trained_model()
    embeddings, _ = embeddings_of(model, batch)
    prompts = batch.point_coords, batch.point_labels
    together, _ = model.decode(embeddings, *prompts, *no_masks(embeddings, 4))
    second, _ = model.decode(embeddings[1:], *(x[2:] for x in prompts), *no_masks(embeddings, 2))
    torch.testing.assert_close(together[2:], second, rtol=1e-4, atol=1e-4)


def test_the_decoder_stage_reaches_neither_encoder_nor_gle_and_learns(batch: Batch) -> None:
    model = small_model().eval()
    decoder = list(model.mask_decoder.parameters())
    assert descends(lambda: decoder_losses(model, batch), decoder, 1e-3)
    assert {name.split(".")[0] for name in with_gradient(model)} <= {"mask_decoder", "prompt_encoder"}


def test_a_clean_row_has_the_clean_pictures_embedding(pool: SamplePool) -> None:
    model = small_model().eval()
    clean_only = make_batch(pool, replace(PLAN, clean_share=1.0), 0)
    torch.testing.assert_close(*embeddings_of(model, clean_only))
    damaged, clean = embeddings_of(model, make_batch(pool, replace(PLAN, clean_share=0.0), 0))
    assert not any(torch.equal(a, b) for a, b in zip(damaged, clean, strict=True))


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
    conv_in, conv_out = (conv.get_base_layer() for conv in (model.gle.unet.conv_in, model.gle.unet.conv_out))
    assert torch.equal(conv_in.weight, conv_in.weight[:, :4].repeat(1, 64, 1, 1)), "CRE"
    assert torch.equal(conv_out.weight, conv_out.weight[:4].repeat(64, 1, 1, 1)), "CRE"
    assert "gle.unet.time_embedding.linear_1.weight" in changed(before, model)
    assert all(bool(p.any()) for name, p in model.gle.named_parameters() if "lora_B" in name)
    before = state(model)
    train_decoder(model, pool, Run(tmp_path, silent), RECIPE.decoder)
    actual = changed(before, model)
    assert "mask_decoder.surroundings.1.running_mean" in actual
    assert all(name.startswith("mask_decoder.") for name in actual)


@pytest.fixture(scope="module")
def trained(pool: SamplePool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of an uninterrupted run."""
    model = small_model()
    run = tmp_path_factory.mktemp("run")
    train_model(model, pool, Run(run, silent), RECIPE)
    assert not model.training
    assert sorted(path.stem for path in run.iterdir()) == sorted([*STAGES, "views"])
    return state(model)


@pytest.mark.parametrize("line", ["sam-small 2/2", "gle 2/2", "views 3/3"])
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


def ended_with(checkpoint: Path) -> dict[str, Tensor]:
    """The weights that a stage handed on: the averaged ones where it had such."""
    state = torch.load(checkpoint, weights_only=True)
    actual = state["averaged"] or state["module"]
    return {name.removeprefix("module."): tensor for name, tensor in actual.items() if name != "n_averaged"}


def invoke(*arguments: object) -> tuple[int, str, str]:
    with fresh_accelerate():
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
        checkpoint = ended_with(tmp_path / "run" / f"{name}.pt")
        prefix = "image_encoder." if name == "sam" else ""
        found_in = {key: actual for key, actual in part.state_dict().items() if prefix + key in checkpoint}
        assert found_in.keys() == {k.removeprefix(prefix) for k in checkpoint if k.startswith(prefix)}
        for key, actual in found_in.items():
            expected = checkpoint[prefix + key]
            assert torch.equal(actual, expected.half().to(expected.dtype)), key


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
