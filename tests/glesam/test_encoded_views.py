"""Views hold what the model makes of them once, and batches of them are functions of the step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tiny_training import trained_model
from torch import Tensor

from glesam.data.batches import BatchPlan, SamplePool, pad_to, to_tensor
from glesam.data.masks import MaskLayers
from glesam.model import GleSam
from glesam.training.encoded_views import EncodedViews, Mixture
from glesam.training.stage_losses import select_decoder
from glesam.training.view_encoder import ViewEncoder
from glesam.training.watch import Moment
from glesam_runtime.errors import CheckpointError

PLAN = BatchPlan(size=3, image_size=64, seed=7, objects_per_image=2, with_degraded=True, clean_share=0.5)
BOTH = Mixture(raw_share=0.2, mixed_share=0.6)
COUNT = 4


pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def frozen_model() -> GleSam:
    model = trained_model()
    select_decoder(model, train_iou_head=True)
    return model


def encode(views: EncodedViews, pool: SamplePool, model: GleSam | None = None) -> list[Moment]:
    """What was said of it."""
    moments: list[Moment] = []
    ViewEncoder(model or frozen_model(), pool, Accelerator(), moments.append, report_every=3).encode(views)
    return moments


@pytest.fixture(scope="module")
def views(pool: SamplePool, tmp_path_factory: pytest.TempPathFactory) -> EncodedViews:
    views = EncodedViews(tmp_path_factory.mktemp("views"), COUNT, PLAN, BOTH)
    encode(views, pool)
    return views


@torch.no_grad()
def expected(views: EncodedViews, pool: SamplePool, index: int) -> tuple[Tensor, Tensor]:
    """The raw and the enhanced embedding of a view, from the model."""
    model = frozen_model()
    _, degraded = views.draw(pool, index)
    raw = model.encode(model.normalize(to_tensor([pad_to(64, degraded, (127, 127, 127))])))
    return raw[0], model.enhance(raw)[0]


def test_a_file_holds_a_views_embeddings_and_its_objects(views: EncodedViews, pool: SamplePool) -> None:
    for index in range(COUNT):
        actual = load_file(views.path(index))
        raw, enhanced = expected(views, pool, index)
        assert not torch.allclose(raw, enhanced, atol=1e-2)
        torch.testing.assert_close(actual["raw"].float(), raw, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(actual["enhanced"].float(), enhanced, rtol=1e-3, atol=1e-3)
        view, _ = views.draw(pool, index)
        kept = MaskLayers(actual["layers"].numpy(), tuple(map(tuple, actual["places"].tolist())))
        assert len(kept) == len(view.masks) > 0
        assert all(np.array_equal(a, b) for a, b in zip(kept, view.masks, strict=True))


def test_views_differ_and_some_are_degraded(views: EncodedViews, pool: SamplePool) -> None:
    drawn = [views.draw(pool, index) for index in range(12)]
    assert len({view.image.tobytes() for view, _ in drawn}) == 12
    damaged = [not np.array_equal(view.image, degraded) for view, degraded in drawn]
    assert 2 <= sum(damaged) <= 10


def of_a_view(embedding: Tensor, known: list[tuple[Tensor, Tensor]]) -> tuple[int, float]:
    """Which view's embedding it is, and how much of the way from raw to enhanced it lies."""
    errors = []
    for raw, enhanced in known:
        step = enhanced - raw
        part = float(((embedding - raw) * step).sum() / step.square().sum())
        errors.append((float((embedding - raw - part * step).norm()), part))
    best = min(range(len(known)), key=lambda index: errors[index][0])
    assert errors[best][0] < 0.01 * float(embedding.norm())
    return best, errors[best][1]


def test_a_batch_holds_embeddings_with_objects_and_prompts_of_their_own_view(
    views: EncodedViews, pool: SamplePool
) -> None:
    known = [expected(views, pool, index) for index in range(COUNT)]
    parts, met = [], set()
    for step in range(12):
        batch = views.batch(step)
        assert batch.image_embeddings.shape == (3, 256, 4, 4)
        assert batch.masks.shape == (6, 64, 64)
        assert batch.point_coords.shape == (6, 4, 2)
        assert batch.point_labels.shape == (6, 4)
        dtypes = [t.dtype for t in (batch.image_embeddings, batch.masks, batch.point_coords)]
        assert dtypes == [torch.float32] * 3
        assert batch.point_labels.dtype == torch.int32
        for row, embedding in enumerate(batch.image_embeddings):
            index, part = of_a_view(embedding, known)
            parts.append(part)
            met.add(index)
            view, _ = views.draw(pool, index)
            objects = {pad_to(64, mask, False).tobytes() for mask in view.masks}
            height, width = view.image.shape[:2]
            for k in (2 * row, 2 * row + 1):
                assert batch.masks[k].bool().numpy().tobytes() in objects
                x, y = batch.point_coords[k].T
                assert float(x.max()) <= width
                assert float(y.max()) <= height
    assert met == set(range(COUNT))
    raw, enhanced = (sum(abs(part - where) < 0.01 for part in parts) for where in (0, 1))
    assert 1 <= raw < enhanced + raw < len(parts)
    assert -0.01 < min(parts) <= max(parts) < 1.01


@pytest.mark.parametrize(("mixture", "kind"), [(Mixture(), "enhanced"), (Mixture(raw_share=1.0), "raw")])
def test_only_what_is_drawn_is_kept(
    views: EncodedViews, pool: SamplePool, tmp_path: Path, mixture: Mixture, kind: str
) -> None:
    alone = EncodedViews(tmp_path, COUNT, PLAN, mixture)
    encode(alone, pool)
    assert load_file(alone.path(0)).keys() == {kind, "layers", "places"}
    kept = {load_file(views.path(i))[kind].numpy().tobytes() for i in range(COUNT)}
    drawn = alone.batch(0).image_embeddings
    assert all(embedding.half().numpy().tobytes() in kept for embedding in drawn)


def test_a_row_is_the_same_whoever_asks_for_it_and_whatever_came_before(views: EncodedViews) -> None:
    whole = views.batch(5)
    views.batch(6)
    parts = [views.batch(5, rows) for rows in (range(0, 1), range(1, 3))]
    for name in ("image_embeddings", "masks", "point_coords", "point_labels"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name
    assert not torch.equal(views.batch(6).point_coords, whole.point_coords)


def test_killed_while_encoding_it_goes_on_with_what_is_missing(
    views: EncodedViews, pool: SamplePool, tmp_path: Path
) -> None:
    cut = replace(views, folder=tmp_path)

    def kill(moment: Moment) -> None:
        if moment.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ViewEncoder(frozen_model(), pool, Accelerator(), kill).encode(cut)
    (tmp_path / ".000002.safetensors.1.partial").write_bytes(b"half")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("0*")}
    assert len(before) == 2
    said = encode(cut, pool)
    assert [(m.step, m.steps, m.first, m.means) for m in said] == [(3, 4, 2, {}), (4, 4, 2, {})]
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in before.items())
    assert all(cut.path(i).read_bytes() == views.path(i).read_bytes() for i in range(COUNT))
    assert encode(cut, pool) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "of another size", "a dangling link"])
def test_a_file_that_is_no_view_is_encoded_anew(
    views: EncodedViews, pool: SamplePool, tmp_path: Path, damage: str
) -> None:
    some = replace(views, folder=tmp_path)
    encode(some, pool)
    path, whole = some.path(2), some.path(2).read_bytes()
    path.unlink()
    if damage == "a dangling link":
        path.symlink_to(tmp_path / "nowhere")
    elif damage == "foreign":
        save_file({"weight": torch.zeros(2)}, path)
    elif damage == "of another size":
        save_file(load_file(views.path(2)) | {"raw": torch.zeros(256, 3, 4)}, path)
    else:
        path.write_bytes(whole[: 1000 * (damage == "cut")])
    assert [moment.step for moment in encode(some, pool)] == [4]
    assert path.read_bytes() == whole
    assert path.is_file() and not path.is_symlink()


def test_views_that_nothing_says_whose_they_are_are_refused(
    views: EncodedViews, pool: SamplePool, tmp_path: Path
) -> None:
    some = replace(views, folder=tmp_path)
    encode(some, pool)
    (tmp_path / "views.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds encoded views, but no views\.json that says whose"):
        encode(replace(some, plan=replace(PLAN, seed=8)), pool)


def test_more_views_than_the_disk_has_room_for_are_refused_at_once(pool: SamplePool, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"1000000000 more views need about \d+\.\d GiB, .* are free; ask for fewer"
    ):
        encode(EncodedViews(tmp_path, 10**9, PLAN, BOTH), pool)
    assert [path.name for path in tmp_path.iterdir()] == ["views.json"]


def test_a_view_that_cannot_be_written_is_named(
    views: EncodedViews, pool: SamplePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("glesam.tensor_output.save_file", full)
    with pytest.raises(OSError, match=r"cannot write .*000000.safetensors .*No space left.*free some space"):
        encode(replace(views, folder=tmp_path), pool)
    assert [path.name for path in tmp_path.iterdir()] == ["views.json"]


def test_more_views_and_other_prompts_go_on_from_those_that_are_there(
    views: EncodedViews, pool: SamplePool
) -> None:
    plan = replace(PLAN, size=2, objects_per_image=1, prompts="box")
    more = replace(views, count=COUNT + 1, plan=plan)
    said = encode(more, pool)
    assert [(m.step, m.steps) for m in said] == [(5, 5)]
    assert set(map(tuple, more.batch(0).point_labels.tolist())) == {(2, 3, -1, -1)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan": replace(PLAN, seed=8)}, "whose seed was 7, but now seed is 8"),
        ({"plan": replace(PLAN, scale=(1.0, 2.0))}, r"whose scale was \[0.75, 1.5\], but now scale is "),
        ({"mixture": Mixture()}, r"whose embeddings was \['raw', 'enhanced'\], but now "),
    ],
)
def test_views_drawn_otherwise_are_refused(
    views: EncodedViews, pool: SamplePool, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=f"views.json is of a run {message}"):
        encode(replace(views, **changes), pool)


def test_views_of_another_model_or_of_other_data_are_refused(views: EncodedViews, pool: SamplePool) -> None:
    other = frozen_model()
    with torch.no_grad():
        other.gle.unet.conv_in.base_layer.weight.mul_(1.01)
    with pytest.raises(CheckpointError, match="is of a run whose model was"):
        encode(views, pool, other)
    other = frozen_model()
    other.gle.get_buffer("text_embedding").mul_(2)
    with pytest.raises(CheckpointError, match="is of a run whose model was"):
        encode(views, pool, other)
    with pytest.raises(CheckpointError, match="is of a run whose data was"):
        encode(views, SamplePool(pool.datasets[:2]))
    trained = trained_model()
    select_decoder(trained, train_iou_head=False)
    with torch.no_grad():
        trained.mask_decoder.kernels.weight.mul_(1.01)
    assert encode(replace(views, count=1), pool, trained) == [], "views do not depend on the decoder"


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_identity_is_refused_in_one_line(pool: SamplePool, tmp_path: Path, text: str) -> None:
    (tmp_path / "views.json").write_text(text)
    with pytest.raises(CheckpointError, match="expected what glesam-train writes beside encoded views"):
        encode(EncodedViews(tmp_path, COUNT, PLAN, BOTH), pool)


def test_a_damaged_file_and_an_embedding_that_float16_cannot_hold_are_named(
    views: EncodedViews, pool: SamplePool, tmp_path: Path
) -> None:
    damaged = replace(views, folder=tmp_path, count=1)
    damaged.path(0).write_bytes(views.path(0).read_bytes()[:100])
    with pytest.raises(CheckpointError, match=f"cannot read tensors from {damaged.path(0)}"):
        damaged.batch(0)
    view, _ = views.draw(pool, 0)
    with pytest.raises(ValueError, match="view 3: its raw embedding exceeds what float16 holds"):
        damaged.write(3, view, {"raw": torch.full((256, 4, 4), 1e5)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.safetensors"]


def test_nothing_is_encoded_for_a_run_that_has_ended(pool: SamplePool, tmp_path: Path) -> None:
    views = EncodedViews(tmp_path / "views", COUNT, PLAN, BOTH)
    encoder = ViewEncoder(frozen_model(), pool, Accelerator(), lambda _: None)
    assert list(encoder.batches(views)(range(3, 3))) == []
    assert not views.folder.exists()
    (batch,) = encoder.batches(views)(range(3, 4))
    assert torch.equal(batch.image_embeddings, views.batch(3).image_embeddings)
    assert json.loads((views.folder / "views.json").read_text())["data"] == pool.fingerprint()
