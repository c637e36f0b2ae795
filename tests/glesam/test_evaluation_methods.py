"""The two baselines, and the evaluation of every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from glesam.data.sample import Sample
from glesam.evaluation.evaluate import Task, evaluate
from glesam.evaluation.methods import Candidates, FilledBox, GrabCut, Image, Method, Segmentation
from glesam.evaluation.prompts import ObjectPrompt, PromptedPicture, draw_picture
from glesam.evaluation.score import RowName, Score, Skipped
from glesam_runtime.degradation.lqseg import degrade_level


def sample(dataset: str = "set", name: str = "a", ragged: int = 0) -> Sample:
    """A red disc of radius 20 on noisy blue, 96 x 80; its box is 41 px wide and high."""
    rows, columns = np.mgrid[:80, :96]
    disc = (rows - 40) ** 2 + (columns - 48) ** 2 <= 20**2
    image = np.where(disc[..., None], [200, 30, 30], [30, 30, 160]) + np.random.default_rng(ragged).integers(
        0, 20, (80, 96, 3)
    )
    return Sample(dataset, name, image.astype(np.uint8), [disc])


@dataclass(frozen=True)
class Remembering:
    """A method that keeps its pictures and segments nothing."""

    row = RowName("", "remembering")
    images: list[Image]

    def __call__(self, image: Image, prompts: Sequence[ObjectPrompt]) -> Segmentation:
        self.images.append(image)
        return Segmentation(np.zeros((len(prompts), *image.shape[:2]), bool))


class Failing:
    """A method that fails on pictures whose first pixel is bright."""

    row = RowName("", "failing")

    def __call__(self, image: Image, prompts: Sequence[ObjectPrompt]) -> Segmentation:
        if image[0, 0, 0] > 140:
            raise ValueError("too bright\nand more of it")
        return Segmentation(np.ones((len(prompts), *image.shape[:2]), bool))


def task(*methods: Method, **changes: object) -> Task:
    return replace(Task(methods, ("clean",), "box", 0), **changes)  # type: ignore[arg-type]


def scores_of(one: Sample, work: Task) -> list[Score]:
    (outcome,) = evaluate([draw_picture(one, 5, 0)], lambda _: one, work)
    assert not isinstance(outcome, Skipped)
    return outcome


def test_a_filled_box_scores_what_its_area_says() -> None:
    (score,) = scores_of(sample(), task(FilledBox()))
    assert score.metrics["iou"] == sample().masks[0].sum() / 41**2
    assert (score.objects, score.fallbacks) == (1, 0)


def test_grabcut_cuts_a_disc_out_by_its_colour() -> None:
    (score,) = scores_of(sample(), task(GrabCut()))
    assert score.metrics["iou"] > 0.95
    assert score.fallbacks == 0


def test_a_box_that_grabcut_fails_on_is_filled_and_counted() -> None:
    """The whole picture leaves it no background; a flat picture no foreground."""
    noisy, flat = sample().image, np.full((80, 96, 3), 7, np.uint8)
    disc, whole = ObjectPrompt(box=(28, 20, 69, 61)), ObjectPrompt(box=(0, 0, 96, 80))
    actual = GrabCut()(noisy, [disc, whole])
    assert actual.fallbacks == 1
    assert actual.masks[0].sum() < 41**2
    assert actual.masks[1].all()
    assert GrabCut()(flat, [disc]).fallbacks == 1


def test_grabcut_gives_the_same_mask_whatever_ran_before() -> None:
    picture, prompts = sample().image, [ObjectPrompt(box=(20, 10, 80, 70))]
    noise = np.random.default_rng(0).integers(0, 255, picture.shape).astype(np.uint8)
    first = GrabCut()(picture, prompts).masks
    GrabCut()(noise, prompts)
    assert np.array_equal(GrabCut()(picture, prompts).masks, first)


@pytest.mark.parametrize("baseline", [FilledBox(), GrabCut()])
def test_a_baseline_refuses_points(baseline: FilledBox | GrabCut) -> None:
    with pytest.raises(ValueError, match="need box prompts"):
        baseline(sample().image, [ObjectPrompt(points=((48, 40),))])


def test_each_level_is_the_pictures_own_degradation() -> None:
    seen: list[Image] = []
    one = sample()
    scores = scores_of(one, task(Remembering(seen), levels=("clean", "1", "3"), seed=5))
    assert [score.level for score in scores] == ["clean", "1", "3"]
    expected = [one.image, *(degrade_level(one.image, level, 5, "set/a") for level in (1, 3))]
    assert all(np.array_equal(image, other) for image, other in zip(seen, expected, strict=True))


def test_real_low_quality_pictures_are_evaluated_as_they_are_and_once() -> None:
    seen: list[Image] = []
    work = task(Remembering(seen), levels=("clean", "3"), real=frozenset({"underwater"}))
    (score,) = scores_of(sample("underwater"), work)
    assert score.level == "real"
    assert np.array_equal(seen[0], sample().image)


def test_a_metric_is_the_mean_over_a_pictures_objects() -> None:
    full, half = np.ones((8, 8), bool), np.zeros((8, 8), bool)
    half[:, :4] = True
    one = Sample("set", "a", np.zeros((8, 8, 3), np.uint8), [full, half])
    (score,) = scores_of(one, task(Failing()))
    assert score.objects == 2
    assert score.metrics["iou"] == (1 + 1 / 2) / 2
    assert score.metrics["pixel_accuracy"] == (1 + 1 / 2) / 2


class Guessing:
    """A method whose masks are empty, and whose candidates are the left half, all and nothing."""

    row = RowName("", "guessing")

    def __call__(self, image: Image, prompts: Sequence[ObjectPrompt]) -> Segmentation:
        shape = len(prompts), *image.shape[:2]
        left, everything, nothing = np.zeros(shape, bool), np.ones(shape, bool), np.zeros(shape, bool)
        left[:, :, : shape[2] // 2] = True
        predicted = np.array([[0.2, 0.9, 0.1], [0.2, 0.1, 0.9]], np.float32)
        candidates = Candidates(np.stack([left, everything, nothing], axis=1), predicted)
        return Segmentation(nothing, candidates=candidates)


def test_multimask_is_judged_for_each_object_by_itself() -> None:
    """The best are everything and the left half, the highest predicted everything and nothing."""
    full, half = np.ones((8, 8), bool), np.zeros((8, 8), bool)
    half[:, :4] = True
    one = Sample("set", "a", np.zeros((8, 8, 3), np.uint8), [full, half])
    guessing, box = scores_of(one, task(Guessing(), FilledBox()))
    assert guessing.metrics["iou"] == 0
    assert guessing.metrics["best_of_three"] == (1 + 1) / 2
    assert guessing.metrics["chosen"] == (1 + 0) / 2
    assert "best_of_three" not in box.metrics


def test_a_picture_that_one_method_fails_on_is_skipped_for_all() -> None:
    bright = replace(sample(name="bright"), image=sample().image + np.uint8(120))
    samples = {"a": sample(), "bright": bright}
    pictures = [draw_picture(one, 5, 0) for one in samples.values()]

    def read(picture: PromptedPicture) -> Sample:
        return samples[picture.name]

    whole, skipped = evaluate(pictures, read, task(FilledBox(), Failing()))
    assert isinstance(whole, list)
    assert skipped == Skipped("set/bright", "too bright")


def test_threads_change_no_score_and_no_order() -> None:
    samples = {str(i): sample(name=str(i), ragged=i) for i in range(6)}
    pictures = [draw_picture(one, 5, 0) for one in samples.values()]

    def scores(jobs: int) -> list[list[Score] | Skipped]:
        work = task(FilledBox(), GrabCut(), levels=("clean", "3"))
        return list(evaluate(pictures, lambda picture: samples[picture.name], work, jobs))

    assert scores(3) == scores(1)
