"""What watchers show of a training run."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import trained_model

from glesam.data.batches import BatchPlan, SamplePool, make_batch
from glesam.training.pictures import TINT, evaluating, mask_pictures
from glesam.training.watch import PICTURES, All, Bar, Board, Lines, Moment


def moment(step: int, first: int = 0, **means: float) -> Moment:
    return Moment("gle", step, 10, first, means or None, step_s=0.25)


def test_a_line_is_written_where_there_is_something_to_report() -> None:
    lines: list[str] = []
    watch = All((Lines(lines.append),))
    for step in (1, 2):
        watch(moment(step))
    watch(moment(3, loss=0.5, iou=0.25))
    assert lines == ["gle 3/10  loss 0.5000  iou 0.2500  0.25 s/step"]


def test_steps_that_train_nothing_have_a_line_of_their_seconds_and_no_board(tmp_path: Path) -> None:
    lines: list[str] = []
    board = Board(tmp_path / "board", lambda: np.zeros((2, 8, 3), np.uint8), pictures_every=1)
    watch = All((Lines(lines.append), board))
    watch(Moment("views", 1, 2, 0, trains=False))
    watch(Moment("views", 2, 2, 0, {}, step_s=0.25, trains=False))
    assert lines == ["views 2/2  0.25 s/step"]
    assert not (tmp_path / "board").exists()


def test_the_bar_shows_the_stage_how_far_it_is_and_its_losses() -> None:
    shown: list[str] = []
    kept: list[str] = []
    watch = Bar(shown.append, kept.append)
    watch(moment(1))
    assert re.fullmatch(r"gle 1/10, \d+:\d\d left", shown[-1])
    watch(moment(4, loss=0.5))
    watch.shown = 0.0  # as if some time had passed
    watch(moment(5))
    assert re.fullmatch(r"gle 5/10, \d+:\d\d left  loss 0\.5000  0\.25 s/step", shown[-1])
    watch(moment(10, loss=0.25))
    assert kept == ["gle 10/10  loss 0.2500  0.25 s/step"]
    watch(Moment("decoder", 1, 20, 0))
    assert shown[-1].startswith("decoder 1/20, ")
    assert "loss" not in shown[-1]


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_the_board_has_scalars_and_pictures_of_the_run_that_counts(tmp_path: Path) -> None:
    drawn = np.full((2, 8, 3), 7, np.uint8)
    for first, loss in (
        (0, 1.0),
        (4, 2.0),
    ):  # the first run was killed after step 6, its checkpoint of step 4
        board = Board(tmp_path, lambda: drawn, pictures_every=3)
        for step in range(first + 1, 7 if first == 0 else 11):
            board(moment(step, first, loss=loss))
        for writer in board.writers.values():
            writer.close()
        time.sleep(1.1)  # files are read in the order of their names, which tell the second
    events = read(tmp_path / "gle")
    actual = [(e.step, e.value) for e in events.Scalars("loss")]
    assert actual == [(step, 1.0) for step in range(1, 5)] + [(step, 2.0) for step in range(5, 11)]
    images = events.Images(PICTURES)
    assert [image.step for image in images] == [3, 6, 9]
    assert (images[0].height, images[0].width) == (2, 8)


def test_pictures_are_input_degraded_truth_and_prediction(pool: SamplePool) -> None:
    plan = BatchPlan(2, 64, 0, objects_per_image=3, with_degraded=True, clean_share=0.0)
    batch = make_batch(pool, plan, 0)
    model = trained_model().train()
    model.gle.eval()
    modes = [part.training for part in model.modules()]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    statistics = {name: t.clone() for name, t in model.named_buffers()}
    sheet = mask_pictures(model, batch)
    assert sheet.shape == (128, 256, 3)
    assert sheet.dtype == np.uint8
    second = np.split(sheet[64:], 4, axis=1)
    clean, degraded = (x[1].permute(1, 2, 0).numpy() for x in (batch.image, batch.degraded))
    np.testing.assert_array_equal(second[0], clean)
    np.testing.assert_array_equal(second[1], degraded)
    truth = batch.masks[3].numpy() > 0
    np.testing.assert_array_equal(second[2][~truth], degraded[~truth])
    np.testing.assert_allclose(second[2][truth], (degraded[truth] + np.array(TINT)) / 2, atol=0.51)
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(t, statistics[name]) for name, t in model.named_buffers())


def test_modes_come_back_after_an_error() -> None:
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout().eval())
    with pytest.raises(RuntimeError), evaluating(model):
        assert not model[0].training
        raise RuntimeError
    assert [part.training for part in model] == [True, False]
