"""LQSeg's degradation and its kernels."""

from __future__ import annotations

import math
from dataclasses import astuple
from importlib.resources import files

import cv2
import numpy as np
import pytest

from glesam_runtime.degradation import kernels
from glesam_runtime.degradation import lqseg as degradation
from glesam_runtime.degradation.kernels import (
    gaussian_like_kernel,
    random_blur_kernel,
    random_sinc_kernel,
    random_size,
    sinc_kernel,
)
from glesam_runtime.degradation.lqseg import (
    FINAL_SINC_PROBABILITY,
    FIRST,
    GREY_NOISE_PROBABILITY,
    JPEG_QUALITY,
    LEVEL_RATES,
    SECOND,
    TRAINING_RATES,
    WORKING_SIZE,
    degrade,
    degrade_level,
)

LEVELS = (1, 2, 4)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A photograph full of detail, uint8 [256, 256, 3]."""
    path = str(files("glesam_calib") / "photos" / "coffee.jpg")
    image = cv2.imread(path)
    assert image is not None
    return cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)


def test_the_levels_differ_in_their_rate_alone() -> None:
    assert LEVEL_RATES == {1: 1, 2: 2, 3: 4}
    assert sorted(TRAINING_RATES) == [1, 2, 3, 3, 4, 4, 4, 4]


@pytest.mark.parametrize("rate", LEVELS)
def test_a_seed_gives_one_picture_and_another_seed_another(picture: np.ndarray, rate: int) -> None:
    before = picture.copy()
    one, again = (degrade(picture, rate, np.random.default_rng(5)) for _ in range(2))
    other = degrade(picture, rate, np.random.default_rng(6))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(picture, before)
    assert not np.array_equal(one, other)


def test_a_named_picture_is_degraded_alike_whatever_ran_before(picture: np.ndarray) -> None:
    one = degrade_level(picture, 3, 7, "set/a")
    others = [degrade_level(picture, *which) for which in ((3, 7, "set/b"), (3, 8, "set/a"), (2, 7, "set/a"))]
    np.testing.assert_array_equal(degrade_level(picture, 3, 7, "set/a"), one)
    assert all(not np.array_equal(other, one) for other in others)


def test_the_levels_of_a_name_are_drawn_alike(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their blur, noise and compression come from the same random state."""
    seen: list[tuple[int, float]] = []

    def record(_: object, rate: int, rng: np.random.Generator) -> None:
        seen.append((rate, rng.random()))

    monkeypatch.setattr("glesam_runtime.degradation.lqseg.degrade", record)
    for level in (1, 2, 3):
        degrade_level(picture, level, 0, "name")
    assert [rate for rate, _ in seen] == [1, 2, 4]
    assert len({draw for _, draw in seen}) == 1


def test_an_unknown_level_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="level 4: expected one of 1, 2, 3"):
        degrade_level(picture, 4, 0, "name")


@pytest.mark.parametrize("rate", LEVELS)
def test_every_level_damages_the_picture_but_leaves_it_recognizable(picture: np.ndarray, rate: int) -> None:
    for seed in range(3):
        damaged = degrade(picture, rate, np.random.default_rng(seed))
        assert damaged.shape == picture.shape
        assert damaged.dtype == np.uint8
        assert np.abs(damaged.astype(int) - picture).mean() > 2
        assert np.corrcoef(damaged.ravel(), picture.ravel())[0, 1] > 0.7


def kept_detail(picture: np.ndarray, damaged: np.ndarray) -> float:
    """Correlation of the two pictures' fine structure (what a blur of 2 px takes away)."""
    fine = []
    for image in (picture, damaged):
        grey = image.astype(np.float32).mean(2)
        fine.append((grey - cv2.GaussianBlur(grey, (0, 0), 2)).ravel())
    return float(np.corrcoef(*fine)[0, 1])


def test_the_highest_rate_loses_most_detail(picture: np.ndarray) -> None:
    """On average, since the other random parts of a degradation matter more than its rate."""
    means = [
        np.mean([kept_detail(picture, degrade(picture, r, np.random.default_rng(s))) for s in range(12)])
        for r in LEVELS
    ]
    assert means[2] + 0.05 < min(means[:2])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (37, 61), (700, 3)])
def test_pictures_of_any_size_keep_it(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for seed in range(2):
        damaged = degrade(image, 4, np.random.default_rng(seed))
        assert damaged.shape == image.shape
        assert damaged.dtype == np.uint8


def test_every_kernel_sums_to_one_and_has_an_odd_size() -> None:
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(300):
        kernel = random_blur_kernel(rng, (0.2, 3.0))
        assert kernel.dtype == np.float32
        assert kernel.shape[0] == kernel.shape[1]
        assert np.isfinite(kernel).all()
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-6)  # none shifts the picture
        sizes.add(kernel.shape[0])
    assert sizes == set(range(7, 22, 2))
    assert {random_size(rng) for _ in range(200)} == sizes


@pytest.mark.parametrize("plateau", [False, True])
@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_a_round_kernel_is_the_same_from_every_side(beta: float, plateau: bool) -> None:
    kernel = gaussian_like_kernel(9, 2.0, 2.0, 0.7, beta, plateau=plateau)
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-7)
    np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-7)
    assert kernel.argmax() == 40


def test_beta_1_is_a_gaussian_of_that_sigma() -> None:
    kernel = gaussian_like_kernel(21, 2.0, 2.0, 0.0, 1.0, plateau=False)
    expected = cv2.getGaussianKernel(21, 2.0, cv2.CV_64F)
    np.testing.assert_allclose(kernel, expected @ expected.T, atol=1e-7)


def test_a_plateau_has_the_formulas_ratios() -> None:
    kernel = gaussian_like_kernel(7, 1.5, 1.5, 0.0, 2.0, plateau=True)
    assert kernel[3, 5] / kernel[3, 3] == pytest.approx(1 / (1 + (4 / 2.25) ** 2), rel=1e-5)


def test_a_long_kernel_lies_along_its_angle() -> None:
    steps = np.arange(21) - 10
    x, y = np.meshgrid(steps, steps)
    for angle in (0.0, math.pi / 6, math.pi / 2, -math.pi / 4):
        kernel = gaussian_like_kernel(21, 3.0, 0.8, angle, 1.0, plateau=False)
        covariance = np.array([[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)])
        direction = np.linalg.eigh(covariance)[1][:, 1]
        assert abs(direction @ [math.cos(angle), math.sin(angle)]) == pytest.approx(1, abs=1e-3)


def test_a_sinc_kernel_keeps_low_and_stops_high_frequencies() -> None:
    cutoff = math.pi / 3
    response = np.abs(np.fft.fft2(sinc_kernel(21, cutoff), (128, 128)))
    frequency = np.abs(np.fft.fftfreq(128)) * 2 * math.pi
    radius = np.hypot(*np.meshgrid(frequency, frequency))
    assert response[radius < 0.6 * cutoff].min() > 0.8
    assert response[radius > 1.5 * cutoff].max() < 0.2


def test_a_random_sinc_kernel_is_round_and_rings() -> None:
    rng = np.random.default_rng(0)
    for kernel in [random_sinc_kernel(rng, size) for size in (7, 13, 21)]:
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(kernel, kernel.T, atol=1e-7)
        assert kernel.min() < 0


def test_the_stages_have_the_recipes_numbers() -> None:
    """The recipe's up/down/keep, scales, sigmas [px and 8-bit levels], shares and JPEG qualities."""
    assert astuple(FIRST) == (1.0, (0.2, 3.0), (0.1, 0.2, 0.7), (0.5, 1.5), (1, 30), (0.05, 3))
    assert astuple(SECOND) == (0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5))
    assert (WORKING_SIZE, JPEG_QUALITY, GREY_NOISE_PROBABILITY, FINAL_SINC_PROBABILITY) == (
        512,
        (30, 95),
        0.4,
        0.8,
    )


def test_kernels_are_drawn_as_often_as_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, bool]] = []

    def record(size: int, x: float, y: float, angle: float, beta: float, *, plateau: bool) -> np.ndarray:
        assert 0.2 <= min(x, y) <= max(x, y) <= 3
        assert (1 if plateau else 0.5) <= beta <= (2 if plateau else 4)
        drawn.append(("plateau" if plateau else "gaussian" if beta == 1 else "generalized", x == y))
        return np.ones((1, 1), np.float32)

    def sinc(rng: np.random.Generator, size: int) -> np.ndarray:
        drawn.append(("sinc", True))
        return np.ones((1, 1), np.float32)

    monkeypatch.setattr(kernels, "gaussian_like_kernel", record)
    monkeypatch.setattr(kernels, "random_sinc_kernel", sinc)
    rng, count = np.random.default_rng(0), 20_000
    for _ in range(count):
        random_blur_kernel(rng, (0.2, 3.0))
    expected = {
        ("sinc", True): 0.1,
        ("gaussian", True): 0.9 * 0.45,
        ("gaussian", False): 0.9 * 0.25,
        ("generalized", True): 0.9 * 0.12,
        ("generalized", False): 0.9 * 0.03,
        ("plateau", True): 0.9 * 0.12,
        ("plateau", False): 0.9 * 0.03,
    }
    for kind, share in expected.items():
        assert drawn.count(kind) / count == pytest.approx(share, abs=0.01), kind


class Chance:
    """A random generator whose draws follow a list."""

    def __init__(self, coins: list[float]) -> None:
        self.rng, self.coins = np.random.default_rng(0), iter(coins)

    def random(self) -> float:
        return next(self.coins)

    def __getattr__(self, name: str) -> object:
        return getattr(self.rng, name)


@pytest.mark.parametrize(
    ("coins", "expected"),
    [([0.4, 0.7], ["sinc", "jpeg"]), ([0.6, 0.7], ["jpeg", "sinc"]), ([0.4, 0.9], ["jpeg"])],
)
def test_the_last_sinc_and_jpeg_come_in_either_order(
    coins: list[float], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(degradation, "_jpeg", lambda x, rng: order.append("jpeg") or x)
    monkeypatch.setattr(degradation, "_filter", lambda x, kernel: order.append("sinc") or x)
    degradation._finish(np.zeros((8, 8, 3), np.float32), Chance(coins))  # type: ignore[arg-type]
    assert order == expected
